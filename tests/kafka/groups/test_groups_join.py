"""JoinGroup and the phase of joining: who gets in, when a generation begins, who is left out."""

import pytest
from tests.kafka.groups.desk import GROUP, REBALANCE_MS, SESSION_MS, Desk

from riverport.kafka.groups.classic import State
from riverport.kafka.groups.config import NEW_MEMBER_JOIN_TIMEOUT_MS, GroupConfig
from riverport.kafka.groups.turn import Timer, TimerKind
from riverport.kafka.wire.errors import ErrorCode


def delayed(delay_ms: int = 3_000, **given: int) -> Desk:
    return Desk(GroupConfig(initial_rebalance_delay_ms=delay_ms, **given))


# --- who gets in


def test_a_dynamic_member_is_given_an_id_first_and_is_no_member_until_it_comes_back() -> None:
    desk = Desk()
    first = desk.ask_join()
    assert first.code is ErrorCode.MEMBER_ID_REQUIRED
    assert first.answer.member_id == "client-0001"
    assert desk.state is State.EMPTY
    assert not desk.group().members

    second = desk.ask_join(first.answer.member_id)
    desk.advance(0)
    assert second.code is ErrorCode.NONE
    assert second.answer.member_id == second.answer.leader == "client-0001"
    assert second.answer.generation_id == 1
    assert [one.member_id for one in second.answer.members] == ["client-0001"]


def test_clients_of_before_kip_394_are_members_at_once() -> None:
    desk = Desk()
    asked = desk.ask_join(version=3)
    desk.advance(0)
    assert asked.code is ErrorCode.NONE
    assert asked.answer.generation_id == 1


def test_version_0_has_no_rebalance_timeout_and_takes_the_session_timeout() -> None:
    desk = Desk()
    asked = desk.ask_join(version=0, rebalance_ms=-1)
    desk.advance(0)
    assert desk.group().members[asked.answer.member_id].rebalance_timeout_ms == SESSION_MS


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"group": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"session_ms": 5_999}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"session_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"member_id": "never heard of"}, ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_a_request_that_no_group_would_take_leaves_no_group(given: dict[str, object], code: ErrorCode) -> None:
    desk = Desk()
    assert desk.ask_join(**given).code is code  # type: ignore[arg-type]
    assert not desk.coordinator.groups
    assert not desk.batches


@pytest.mark.parametrize("given", [{"protocols": {}}, {"protocol_type": ""}])
def test_a_first_member_without_protocols_is_refused_and_the_group_is_known(given: dict[str, object]) -> None:
    # As in Apache Kafka: the group was made before the member was looked at.
    desk = Desk()
    asked = desk.ask_join(**given)  # type: ignore[arg-type]
    assert asked.code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert desk.state is State.EMPTY
    assert GROUP in desk.replayed().groups


@pytest.mark.parametrize("given", [{"protocols": {"sticky": b""}}, {"protocol_type": "connect"}, {"protocols": {}}])
def test_a_member_that_shares_no_protocol_with_the_group_is_refused(given: dict[str, object]) -> None:
    desk = Desk()
    (member,) = desk.stable()
    assert desk.ask_join(**given).code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # type: ignore[arg-type]
    assert desk.ask_join(member.id, **given).code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # type: ignore[arg-type]
    assert desk.state is State.STABLE


def test_an_empty_group_takes_members_of_another_protocol_type() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.leave((member.id, None))
    desk.stable(protocol_type="connect", protocols={"compatible": b""})
    assert desk.group().protocol_type == "connect"


def test_the_protocol_is_the_one_that_most_members_prefer_of_those_that_all_can_do() -> None:
    desk = Desk()
    everything = [{"a": b"1", "b": b"1"}, {"b": b"2", "a": b"2"}, {"c": b"3", "b": b"3", "a": b"3"}]
    members = [desk.join(protocols=everything[0])]
    desk.advance(0)
    desk.told(members[0])
    members += [desk.join(protocols=one) for one in everything[1:]]
    desk.rejoin(members[0], protocols=everything[0])
    for member in members:
        desk.told(member)
    assert desk.group().protocol == "b"
    leader = next(one for one in members if one.id == one.answer.leader)
    assert sorted(one.metadata for one in leader.answer.members) == [b"1", b"2", b"3"]


def test_an_append_that_fails_takes_the_new_group_back() -> None:
    desk = Desk()
    desk.append_error = ErrorCode.NOT_ENOUGH_REPLICAS
    assert desk.ask_join().code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert not desk.coordinator.groups
    assert not desk.timers


# --- ids that were handed out


def test_an_id_that_does_not_come_back_is_forgotten_after_the_session_timeout() -> None:
    desk = Desk()
    given = desk.ask_join().answer.member_id
    desk.advance(SESSION_MS)
    assert not desk.group().pending_join
    assert not desk.timers
    assert desk.ask_join(given).code is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_rebalance_waits_for_an_id_that_was_handed_out() -> None:
    desk = Desk()
    (member,) = desk.stable()
    given = desk.ask_join().answer.member_id
    desk.rejoin(member)
    assert desk.state is State.PREPARING_REBALANCE
    asked = desk.ask_join(given)
    assert asked.code is ErrorCode.NONE
    assert desk.told(member).generation == 2


def test_a_rebalance_goes_on_when_the_id_that_it_waits_for_expires() -> None:
    desk = Desk()
    (member,) = desk.stable(rebalance_ms=60_000)
    desk.ask_join(session_ms=6_000)
    desk.rejoin(member)
    desk.advance(5_999)
    assert member.asked.answer is None
    desk.advance(1)
    assert desk.told(member).generation == 2


def test_an_id_can_leave_before_it_was_used() -> None:
    desk = Desk()
    given = desk.ask_join().answer.member_id
    assert desk.leave((given, None)) == [ErrorCode.NONE]
    assert not desk.group().pending_join
    assert not desk.timers


# --- the initial delay (KIP-134)


def test_the_first_rebalance_waits_for_more_members() -> None:
    desk = delayed()
    first = desk.join()
    desk.advance(2_999)
    assert first.asked.answer is None
    desk.advance(1)
    assert desk.told(first).generation == 1


def test_the_initial_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() -> None:
    desk = delayed()
    members = [desk.join(rebalance_ms=7_000)]
    for _ in range(3):
        desk.advance(2_000)
        members.append(desk.join(rebalance_ms=7_000))
    desk.advance(999)
    assert {one.asked.answer for one in members} == {None}
    desk.advance(1)
    assert {desk.told(one).generation for one in members} == {1}


def test_an_initial_rebalance_does_not_end_early_when_everybody_is_there() -> None:
    desk = delayed()
    desk.join()
    second = desk.join()
    desk.advance(1)
    assert second.asked.answer is None


# --- rebalances


def test_a_new_member_makes_the_others_join_again() -> None:
    desk = Desk()
    (first,) = desk.stable()
    second = desk.join()
    assert desk.heartbeat(first) is ErrorCode.REBALANCE_IN_PROGRESS
    assert second.asked.answer is None
    desk.rejoin(first)
    desk.told(second)
    assert first.generation == second.generation == 2
    assert first.answer.leader == first.id
    assert not second.answer.members


def test_members_that_do_not_join_in_time_are_out() -> None:
    desk = Desk()
    first, late = desk.stable(2)
    desk.join()
    desk.rejoin(first)
    while desk.state is State.PREPARING_REBALANCE:
        desk.advance(1_000)
        desk.heartbeat(late)
    assert desk.elapsed_ms == REBALANCE_MS
    assert late.id not in desk.group().members
    assert desk.told(first).generation == 3
    assert desk.heartbeat(late) is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_leader_that_does_not_join_is_replaced() -> None:
    desk = Desk()
    leader, second = desk.stable(2)
    third = desk.join()
    desk.rejoin(second)
    while desk.state is State.PREPARING_REBALANCE:
        desk.advance(1_000)
        desk.heartbeat(leader)
    assert desk.told(second).answer.leader == second.id
    assert desk.told(third).answer.leader == second.id


def test_the_longest_rebalance_timeout_counts() -> None:
    desk = Desk()
    members = desk.stable(2, rebalance_ms=20_000)
    third = desk.join(rebalance_ms=40_000)
    assert desk.timers[Timer(TimerKind.JOIN, GROUP)] == 40_000
    for one in members:
        desk.rejoin(one, rebalance_ms=20_000)
    assert desk.told(third).generation == 3


def test_a_new_member_is_kept_without_heartbeats_for_five_minutes_and_no_longer() -> None:
    desk = Desk()
    (first,) = desk.stable(rebalance_ms=2 * NEW_MEMBER_JOIN_TIMEOUT_MS, session_ms=1_800_000)
    new = desk.join(rebalance_ms=2 * NEW_MEMBER_JOIN_TIMEOUT_MS)
    desk.advance(NEW_MEMBER_JOIN_TIMEOUT_MS - 1)
    assert new.asked.answer is None
    desk.advance(1)
    assert new.asked.code is ErrorCode.UNKNOWN_MEMBER_ID
    assert list(desk.group().members) == [first.id]


def test_a_member_that_asks_again_is_told_the_generation_that_it_is_in() -> None:
    desk = Desk()
    leader, follower = desk.stable(2)
    again = desk.ask_join(follower.id)
    assert (again.code, again.answer.generation_id) == (ErrorCode.NONE, 2)
    assert not again.answer.members
    assert desk.state is State.STABLE
    assert desk.heartbeat(leader) is ErrorCode.NONE


def test_a_leader_that_joins_a_stable_group_again_starts_a_rebalance() -> None:
    desk = Desk()
    leader, follower = desk.stable(2)
    desk.rejoin(leader)
    assert desk.state is State.PREPARING_REBALANCE
    desk.rejoin(follower)
    assert desk.told(leader).generation == 3


def test_a_leader_whose_answer_was_lost_is_told_again_who_the_members_are() -> None:
    desk = Desk()
    member = desk.join()
    desk.advance(0)
    desk.told(member)
    again = desk.ask_join(member.id)
    assert (again.code, again.answer.generation_id) == (ErrorCode.NONE, 1)
    assert [one.member_id for one in again.answer.members] == [member.id]


@pytest.mark.parametrize("in_sync", [True, False])
def test_changed_metadata_starts_a_rebalance(in_sync: bool) -> None:
    desk = Desk()
    leader, follower = desk.stable(2)
    if not in_sync:
        desk.rejoin(leader)
        desk.rejoin(follower)
        desk.told(leader)
        assert desk.state is State.COMPLETING_REBALANCE
    desk.rejoin(follower, protocols={"range": b"more"})
    assert desk.state is State.PREPARING_REBALANCE
    desk.rejoin(leader)
    assert {one.metadata for one in leader.answer.members} == {b"any", b"more"}


# --- group.max.size (KIP-389)


def test_a_full_group_takes_no_more_members() -> None:
    desk = delayed(0, max_size=2)
    members = desk.stable(2)
    asked = desk.ask_join()
    assert asked.code is ErrorCode.GROUP_MAX_SIZE_REACHED
    assert asked.answer.member_id == ""
    assert desk.state is State.STABLE
    assert {desk.heartbeat(one) for one in members} == {ErrorCode.NONE}


def test_who_comes_last_to_a_group_that_is_filling_up_is_refused() -> None:
    desk = delayed(3_000, max_size=2)
    given = [desk.ask_join().answer.member_id for _ in range(3)]
    asked = [desk.ask_join(one) for one in given]
    assert asked[2].code is ErrorCode.GROUP_MAX_SIZE_REACHED
    desk.advance(6_000)
    assert [one.code for one in asked[:2]] == [ErrorCode.NONE] * 2


def test_a_group_that_is_loaded_with_too_many_members_rebalances_and_keeps_those_that_come_first() -> None:
    desk = Desk()
    members = desk.stable(3)
    desk.config = GroupConfig(initial_rebalance_delay_ms=0, max_size=2)
    desk.restart()
    assert desk.state is State.PREPARING_REBALANCE
    asked = [desk.ask_join(one.id) for one in members]
    assert asked[2].code is ErrorCode.GROUP_MAX_SIZE_REACHED
    # As in Apache Kafka the refusal does not end the rebalance, its time does.
    desk.advance(REBALANCE_MS)
    assert [one.code for one in asked[:2]] == [ErrorCode.NONE] * 2
    assert asked[0].answer.generation_id == 4
