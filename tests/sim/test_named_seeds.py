"""Seeds that once broke a promise, by what they broke it with."""

import pytest

from riverport.sim.plan import plan_of
from riverport.sim.run import run


@pytest.mark.parametrize("seed", [1001858, 1003309, 1003585, 1003610])
def test_a_consumer_is_not_sent_back_by_a_replica_that_leads_no_more(seed: int) -> None:
    """It had lost its log to a power cut, and answered OFFSET_OUT_OF_RANGE to who took it for the leader."""
    assert run(plan_of(seed)).violation is None


def test_a_leader_that_was_asleep_may_lead_the_past() -> None:
    """Paused when it became the leader, it wakes in its epoch while a later one has committed more."""
    assert run(plan_of(1010891)).violation is None


@pytest.mark.parametrize("seed", [1041737, 1044357, 1054178])
def test_no_power_is_cut_while_another_disk_is_about_to_fail(seed: int) -> None:
    """Its node gives up when it syncs next: two unclean ends are more than min.insync.replicas of 2 survives."""
    assert run(plan_of(seed)).violation is None


@pytest.mark.parametrize("seed", [1016210, 1032932])
def test_a_failed_start_is_looked_at_though_its_node_dies_first(seed: int) -> None:
    """The disk was full, and the power was lost before the supervisor came by."""
    assert run(plan_of(seed)).violation is None


def test_a_disk_that_was_full_twice_at_a_time_has_room_again() -> None:
    assert run(plan_of(1009813)).violation is None


@pytest.mark.parametrize("seed", [1017076, 1029423, 1038059])
def test_a_lost_packet_of_a_new_connection_does_not_cost_a_session(seed: int) -> None:
    """A broker waited ten seconds for it before it tried to reach the controller once more."""
    assert run(plan_of(seed)).violation is None


def test_a_run_ends_when_sessions_that_were_cut_off_have_ended_too() -> None:
    """Brokers were fenced after all had looked well, while it was asked what groups had committed."""
    assert run(plan_of(1038732)).violation is None


@pytest.mark.parametrize("seed", [1027297, 1033721, 1039441])
def test_a_commit_that_is_made_while_commits_are_asked_for_need_not_be_told(seed: int) -> None:
    """The group went on, and what it was acknowledged a moment later was missed in the answer."""
    assert run(plan_of(seed)).violation is None


def test_a_consumer_does_not_go_back_to_a_leader_of_an_older_epoch() -> None:
    """A broker that was cut off said that it still led, and knew nothing of the consumer's position."""
    assert run(plan_of(11000465)).violation is None
