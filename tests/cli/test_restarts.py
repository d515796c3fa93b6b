"""What becomes of a node that ended."""

from riverport.cli.restarts import MOST_EARLY, MOST_WAIT_S, STEADY_S, GiveUp, Restarts, StartAgain

KILLED = -9


def lived(restarts: Restarts, at: float, seconds: float, status: int = KILLED) -> StartAgain | GiveUp:
    """A process that answered at once and ended after some time."""
    restarts.started()
    restarts.answered(at)
    return restarts.ended(at + seconds, status)


def test_who_dies_is_started_again_at_once() -> None:
    assert lived(Restarts(), 0, 1) == StartAgain(0)


def test_who_keeps_dying_waits_longer_each_time() -> None:
    restarts = Restarts()
    waits = [lived(restarts, n * 10, 1) for n in range(8)]
    assert waits[:4] == [StartAgain(0), StartAgain(0.25), StartAgain(0.5), StartAgain(1)]
    assert waits[-1] == StartAgain(MOST_WAIT_S)


def test_who_ran_steadily_begins_with_a_clean_slate() -> None:
    restarts = Restarts()
    assert lived(restarts, 0, 1) == StartAgain(0)
    assert lived(restarts, 10, 1) == StartAgain(0.25)
    assert lived(restarts, 20, STEADY_S) == StartAgain(0)
    assert restarts.count == 3


def test_who_refuses_its_first_start_has_said_why() -> None:
    restarts = Restarts()
    restarts.started()
    assert restarts.ended(1, 1) == GiveUp("it could not start")


def test_who_is_killed_before_it_answers_is_tried_again_but_not_for_ever() -> None:
    restarts = Restarts()
    decisions = []
    for n in range(MOST_EARLY):
        restarts.started()
        decisions.append(restarts.ended(n, KILLED))
    assert all(isinstance(decision, StartAgain) for decision in decisions[:-1])
    assert decisions[-1] == GiveUp(f"it ended {MOST_EARLY} times in a row before it answered")


def test_who_has_answered_before_may_fail_to_start_for_a_while() -> None:
    restarts = Restarts()
    lived(restarts, 0, 100)
    for n in range(MOST_EARLY - 1):
        restarts.started()
        assert isinstance(restarts.ended(101 + n, 1), StartAgain)
    lived(restarts, 200, 100)
    restarts.started()
    assert isinstance(restarts.ended(301, 1), StartAgain)
