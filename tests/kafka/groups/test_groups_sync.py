"""SyncGroup, Heartbeat, LeaveGroup and sessions: what members of a generation get, and how they go."""

import pytest
from tests.kafka.groups.desk import GROUP, REBALANCE_MS, SESSION_MS, Desk, Member

from riverport.kafka.groups.classic import State
from riverport.kafka.groups.turn import Timer, TimerKind
from riverport.kafka.wire.errors import ApiError, ErrorCode


def completing(desk: Desk, count: int = 2) -> list[Member]:
    """Members that know a new generation and have not asked for their assignment."""
    members = desk.stable(count)
    for one in members:
        desk.rejoin(one)
    for one in members:
        desk.told(one)
    assert desk.state is State.COMPLETING_REBALANCE
    return members


# --- SyncGroup


def test_followers_wait_for_the_leader_and_everybody_gets_its_own() -> None:
    desk = Desk()
    leader, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    assert waiting.answer is None
    asked = desk.ask_sync(leader, {leader.id: b"one", follower.id: b"two"})
    assert (asked.answer.assignment, waiting.answer.assignment) == (b"one", b"two")
    assert (asked.answer.protocol_type, asked.answer.protocol_name) == ("consumer", "range")
    assert desk.state is State.STABLE


def test_who_asks_a_stable_group_is_given_its_assignment_again() -> None:
    desk = Desk()
    members = desk.stable(2)
    for one in members:
        assert desk.ask_sync(one, {one.id: b"ignored"}).answer.assignment == f"for {one.id}".encode()


def test_members_that_the_leader_forgot_get_nothing() -> None:
    desk = Desk()
    leader, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    desk.ask_sync(leader, {leader.id: b"all", "nobody": b"lost"})
    assert (waiting.code, waiting.answer.assignment) == (ErrorCode.NONE, b"")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_instance_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation_id": 1}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation_id": 4}, ErrorCode.ILLEGAL_GENERATION),
        ({"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_name": "sticky"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_a_sync_that_fits_no_generation_is_refused(given: dict[str, object], code: ErrorCode) -> None:
    desk = Desk()
    _, follower = completing(desk)
    assert desk.ask_sync(follower, **given).code is code
    assert desk.state is State.COMPLETING_REBALANCE


def test_a_sync_during_the_phase_of_joining_sends_the_member_back_to_join() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.join()
    assert desk.ask_sync(member).code is ErrorCode.REBALANCE_IN_PROGRESS


def test_waiting_syncs_are_sent_back_when_a_member_joins() -> None:
    desk = Desk()
    _, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    desk.join()
    assert waiting.code is ErrorCode.REBALANCE_IN_PROGRESS


def test_an_assignment_that_cannot_be_written_counts_for_nobody() -> None:
    desk = Desk()
    leader, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    desk.append_error = ErrorCode.NOT_ENOUGH_REPLICAS
    asked = desk.ask_sync(leader, {leader.id: b"one", follower.id: b"two"})
    assert asked.code is waiting.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert desk.state is State.PREPARING_REBALANCE
    assert {one.assignment for one in desk.group().members.values()} == {b""}


def test_an_assignment_that_is_too_large_is_an_error_that_clients_do_not_retry() -> None:
    desk = Desk()
    member = desk.join()
    desk.advance(0)
    desk.append_error = ErrorCode.MESSAGE_TOO_LARGE
    assert desk.ask_sync(desk.told(member), {member.id: b"much"}).code is ErrorCode.UNKNOWN_SERVER_ERROR


def test_members_that_never_ask_for_their_assignment_are_out() -> None:
    desk = Desk()
    leader, silent = completing(desk)
    waiting = desk.ask_sync(leader, {leader.id: b"one"})
    assert waiting.code is ErrorCode.NONE
    while desk.state is State.STABLE:
        desk.advance(1_000)
        desk.heartbeat(silent)
        desk.heartbeat(leader)
    assert list(desk.group().members) == [leader.id]
    assert desk.elapsed_ms == REBALANCE_MS
    assert desk.state is State.PREPARING_REBALANCE


def test_a_leader_that_never_assigns_is_out_and_the_rest_join_again() -> None:
    desk = Desk()
    leader, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    while desk.state is State.COMPLETING_REBALANCE:
        desk.advance(1_000)
        desk.heartbeat(leader)
    assert waiting.code is ErrorCode.REBALANCE_IN_PROGRESS
    assert list(desk.group().members) == [follower.id]
    assert desk.rejoin(follower).answer.leader == follower.id


def test_no_sync_timer_is_left_when_everybody_has_its_assignment() -> None:
    desk = Desk()
    desk.stable(3)
    assert {timer.kind for timer in desk.timers} == {TimerKind.SESSION}


# --- Heartbeat and sessions


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, ErrorCode.NONE),
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_instance_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation_id": 0}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation_id": 2}, ErrorCode.ILLEGAL_GENERATION),
    ],
)
def test_heartbeat(given: dict[str, object], code: ErrorCode) -> None:
    desk = Desk()
    (member,) = desk.stable()
    assert desk.heartbeat(member, **given) is code


def test_heartbeats_between_join_and_sync_are_fine() -> None:
    desk = Desk()
    members = completing(desk)
    assert {desk.heartbeat(one) for one in members} == {ErrorCode.NONE}


def test_an_empty_group_knows_no_member() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.leave((member.id, None))
    assert desk.heartbeat(member) is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_member_that_is_silent_for_its_session_timeout_is_out() -> None:
    desk = Desk()
    lively, silent = desk.stable(2)
    for _ in range(9):
        desk.advance(1_000)
        assert desk.heartbeat(lively) is ErrorCode.NONE
    desk.advance(1_000)
    assert silent.id not in desk.group().members
    assert desk.heartbeat(lively) is ErrorCode.REBALANCE_IN_PROGRESS
    assert desk.elapsed_ms == SESSION_MS


def test_heartbeats_do_not_add_timers() -> None:
    desk = Desk()
    (member,) = desk.stable()
    for _ in range(50):
        desk.advance(3_000)
        desk.heartbeat(member)
    assert list(desk.timers) == [Timer(TimerKind.SESSION, GROUP, member.id)]


def test_a_member_whose_join_or_sync_is_parked_cannot_lose_its_session() -> None:
    desk = Desk()
    leader, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    for _ in range(5):
        desk.advance(SESSION_MS - 1)
        desk.heartbeat(leader)
    assert waiting.answer is None
    desk.ask_sync(leader, {follower.id: b"two"})
    assert waiting.answer.assignment == b"two"
    desk.advance(SESSION_MS - 1)
    assert desk.heartbeat(follower) is ErrorCode.NONE


def test_the_last_member_to_be_lost_leaves_an_empty_group() -> None:
    desk = Desk()
    desk.stable()
    desk.advance(SESSION_MS)
    group = desk.group()
    assert (group.state, group.generation, group.protocol, group.leader) == (State.EMPTY, 2, None, None)
    assert not desk.timers
    assert desk.replayed().groups[GROUP].is_empty


# --- LeaveGroup


def test_a_member_that_leaves_makes_the_others_join_again() -> None:
    desk = Desk()
    leader, follower = desk.stable(2)
    assert desk.leave((leader.id, None)) == [ErrorCode.NONE]
    assert desk.heartbeat(follower) is ErrorCode.REBALANCE_IN_PROGRESS
    assert desk.rejoin(follower).answer.leader == follower.id


def test_leaving_ends_a_rebalance_that_waited_for_the_member() -> None:
    desk = Desk()
    first, second = desk.stable(2)
    new = desk.join()
    desk.rejoin(first)
    desk.leave((second.id, None))
    assert desk.told(first).generation == desk.told(new).generation == 3


def test_each_of_several_leaving_members_has_an_answer_of_its_own() -> None:
    desk = Desk()
    (member,) = desk.stable()
    assert desk.leave((member.id, None), ("other", None)) == [ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID]
    assert desk.state is State.EMPTY


def test_an_unknown_group_answers_for_each_member() -> None:
    assert Desk().leave(("a", None), ("b", "i"), group="other") == [ErrorCode.UNKNOWN_MEMBER_ID] * 2


def test_leaving_without_a_group_id_is_refused_as_a_whole() -> None:
    with pytest.raises(ApiError) as caught:
        Desk().leave(("a", None), group="")
    assert caught.value.code is ErrorCode.INVALID_GROUP_ID


def test_a_member_that_leaves_while_its_join_is_parked_is_told() -> None:
    desk = Desk()
    leader, follower = desk.stable(2)
    desk.rejoin(leader)
    desk.leave((leader.id, None))
    assert leader.asked.code is ErrorCode.UNKNOWN_MEMBER_ID
    assert follower.id in desk.group().members


def test_a_member_that_is_removed_while_its_sync_is_parked_is_told() -> None:
    desk = Desk()
    _, follower = completing(desk)
    waiting = desk.ask_sync(follower)
    desk.leave((follower.id, None))
    assert waiting.code is ErrorCode.UNKNOWN_MEMBER_ID


def test_the_member_that_has_been_there_longest_leads_after_the_leader_has_gone() -> None:
    desk = Desk()
    leader, second, third = desk.stable(3)
    desk.leave((leader.id, None))
    desk.rejoin(third)
    assert desk.rejoin(second).answer.leader == second.id
