"""How far a log was committed when a leader began: what it must have, and what it cannot have."""

from riverport.sim.checkers import Committed


def test_a_leader_must_have_what_was_committed_before_its_epoch() -> None:
    known = Committed(end=8, ends={0: 4, 2: 8})

    assert known.before(3) == 8
    assert known.before(2) == 4


def test_a_leader_that_wakes_in_the_past_need_not_have_what_came_later() -> None:
    known = Committed(end=8, ends={0: 4, 2: 8})

    assert known.before(1) == 4
    assert known.before(0) == 0


def test_an_epoch_that_committed_less_than_an_older_one_hides_nothing() -> None:
    assert Committed(end=9, ends={0: 9, 1: 3}).before(2) == 9
