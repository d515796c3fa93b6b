"""Static members (KIP-345, KIP-814): they keep their place over restarts, and only one of them has it."""

import pytest
from tests.kafka.groups.desk import SESSION_MS, Desk, Member

from riverport.kafka.groups.classic import State
from riverport.kafka.wire.errors import ErrorCode


def two(desk: Desk) -> list[Member]:
    """A leader and a follower, both static."""
    first = desk.join(instance_id="i-1")
    desk.advance(0)
    second = desk.join(instance_id="i-2")
    desk.rejoin(desk.told(first))
    members = [desk.told(first), desk.told(second)]
    desk.assign(members)
    return members


def test_a_static_member_needs_no_id_first_and_has_one_made_of_its_instance() -> None:
    desk = Desk()
    member = desk.join(instance_id="i-1")
    desk.advance(0)
    assert desk.told(member).id == "i-1-0001"


def test_a_follower_that_comes_back_without_an_id_gets_its_place_without_a_rebalance() -> None:
    desk = Desk()
    leader, follower = two(desk)
    back = desk.join(instance_id="i-2")
    assert back.generation == follower.generation
    assert back.id != follower.id
    assert back.answer.skip_assignment is False
    assert not back.answer.members
    assert desk.ask_sync(back).answer.assignment == f"for {follower.id}".encode()
    assert desk.heartbeat(leader) is ErrorCode.NONE
    assert desk.heartbeat(follower) is ErrorCode.FENCED_INSTANCE_ID
    assert desk.replayed().groups["g"].static == {"i-1": leader.id, "i-2": back.id}  # type: ignore[union-attr]


def test_a_leader_that_comes_back_is_told_to_skip_the_assignment() -> None:
    desk = Desk()
    leader, _ = two(desk)
    back = desk.join(instance_id="i-1")
    assert back.answer.skip_assignment is True
    assert back.answer.leader == back.id
    assert {one.group_instance_id for one in back.answer.members} == {"i-1", "i-2"}
    assert desk.ask_sync(back).answer.assignment == f"for {leader.id}".encode()


def test_a_leader_that_cannot_be_told_to_skip_is_told_that_another_leads() -> None:
    desk = Desk()
    leader, _ = two(desk)
    back = desk.join(instance_id="i-1", version=8)
    assert back.answer.leader == leader.id
    assert not back.answer.members
    assert desk.state is State.STABLE


def test_a_static_member_that_comes_back_with_other_topics_keeps_the_generation() -> None:
    # Its protocol is the same, so it gets the old assignment; the leader may find the topics at the next rebalance.
    desk = Desk()
    two(desk)
    back = desk.join(instance_id="i-2", protocols={"range": b"more"})
    assert back.generation == 2
    assert desk.state is State.STABLE


def test_a_static_member_that_changes_the_groups_protocol_starts_a_rebalance() -> None:
    desk = Desk()
    only = desk.join(instance_id="i-1", protocols={"a": b"", "b": b""})
    desk.advance(0)
    desk.assign([desk.told(only)])
    back = desk.join(instance_id="i-1", protocols={"b": b"", "a": b""})
    assert back.generation == 2
    assert desk.group().protocol == "b"


def test_a_static_member_that_comes_back_between_join_and_sync_starts_a_rebalance() -> None:
    desk = Desk()
    leader, follower = two(desk)
    desk.rejoin(leader)
    desk.rejoin(follower)
    waiting = desk.ask_sync(follower)
    back = desk.join(instance_id="i-2")
    assert waiting.code is ErrorCode.FENCED_INSTANCE_ID
    assert back.asked.answer is None
    desk.rejoin(desk.told(leader))
    assert desk.told(back).generation == leader.generation == 4


def test_the_old_member_is_fenced_when_its_join_is_parked() -> None:
    desk = Desk()
    leader, follower = two(desk)
    desk.rejoin(leader)
    back = desk.join(instance_id="i-1")
    assert leader.asked.code is ErrorCode.FENCED_INSTANCE_ID
    desk.rejoin(follower)
    assert desk.told(back).generation == 3


def test_every_request_of_a_member_that_was_replaced_is_fenced() -> None:
    desk = Desk()
    _, old = two(desk)
    desk.join(instance_id="i-2")
    assert desk.ask_join(old.id, instance_id="i-2").code is ErrorCode.FENCED_INSTANCE_ID
    assert desk.ask_sync(old).code is ErrorCode.FENCED_INSTANCE_ID
    assert desk.heartbeat(old) is ErrorCode.FENCED_INSTANCE_ID
    assert desk.leave((old.id, "i-2")) == [ErrorCode.FENCED_INSTANCE_ID]


def test_a_record_of_a_replaced_member_that_cannot_be_written_leaves_the_old_one_its_place() -> None:
    desk = Desk()
    _, old = two(desk)
    desk.append_error = ErrorCode.NOT_ENOUGH_REPLICAS
    asked = desk.ask_join(instance_id="i-2", protocols={"range": b"more"})
    assert asked.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert desk.heartbeat(old) is ErrorCode.NONE
    assert desk.group().members[old.id].protocols == (("range", b"any"),)
    assert len(desk.timers) == 2


def test_a_static_member_that_is_late_for_a_rebalance_stays_until_its_session_ends() -> None:
    desk = Desk()
    first = desk.join(instance_id="i-1", session_ms=1_000_000)
    desk.advance(0)
    desk.assign([desk.told(first)])
    new = desk.join(rebalance_ms=20_000)
    desk.advance(60_000)
    assert desk.told(new).generation == 2
    assert first.id in desk.group().members
    assert desk.told(new).answer.leader == new.id


def test_where_only_static_members_are_missing_the_rebalance_waits_on() -> None:
    desk = Desk()
    first = desk.join(instance_id="i-1", session_ms=1_000_000)
    desk.advance(0)
    desk.assign([desk.told(first)])
    new = desk.join()
    desk.leave((new.id or next(iter(desk.group().members.keys() - {first.id})), None))
    desk.advance(600_000)
    assert desk.state is State.PREPARING_REBALANCE
    assert desk.rejoin(first, session_ms=1_000_000).generation == 2


def test_an_administrator_removes_a_static_member_by_its_instance_id_alone() -> None:
    desk = Desk()
    leader, _ = two(desk)
    assert desk.leave(("", "i-2"), ("", "i-3")) == [ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID]
    assert list(desk.group().static) == ["i-1"]
    assert desk.heartbeat(leader) is ErrorCode.REBALANCE_IN_PROGRESS


def test_a_static_member_with_the_wrong_id_cannot_leave() -> None:
    desk = Desk()
    two(desk)
    assert desk.leave(("other", "i-1")) == [ErrorCode.FENCED_INSTANCE_ID]


@pytest.mark.parametrize("is_static", [True, False])
def test_a_session_ends_for_static_members_as_for_others(is_static: bool) -> None:
    desk = Desk()
    member = desk.join(instance_id="i-1" if is_static else None)
    desk.advance(0)
    desk.assign([desk.told(member)])
    desk.advance(SESSION_MS)
    assert desk.state is State.EMPTY
    assert not desk.group().static
