"""Many runs, counted."""

from collections.abc import Iterator

from riverport.sim.campaign import Result, campaign


def test_a_campaign_that_is_interrupted_tells_what_it_has_found() -> None:
    def results() -> Iterator[Result]:
        yield Result(1, None, "", 10, 1.5)
        yield Result(2, "progress", "nothing happened", 20, 2.5)
        raise KeyboardInterrupt

    told: list[int] = []
    tally = campaign(results(), lambda _, result: told.append(result.seed))
    assert told == [1, 2]
    assert (tally.runs, tally.events, tally.simulated_s, tally.was_interrupted) == (2, 30, 4.0, True)
    assert [result.seed for result in tally.broken] == [2]
