"""Groups as administrators see them: ListGroups, DescribeGroups, DeleteGroups."""

import pytest
from tests.kafka.groups.desk import GROUP, Desk
from tests.kafka.groups.test_groups_offsets import commit, fetched

from riverport.kafka.groups.classic import State
from riverport.kafka.groups.records import GroupRecord
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode


def listed(desk: Desk, states: set[str] | None = None, kinds: set[str] | None = None) -> dict[str, str]:
    return {one.group_id: one.group_state for one in desk.coordinator.listed(states or set(), kinds or set())}


def with_other_kinds(desk: Desk) -> Desk:
    """Beside a classic group one of consumers (KIP-848) and one of share consumers, as Apache Kafka leaves them."""
    for key in (
        m.ConsumerGroupMetadataKey("modern"),
        m.ConsumerGroupMemberMetadataKey("modern", "one"),
        m.ShareGroupMetadataKey("shared"),
    ):
        desk.coordinator.replay(GroupRecord(key, b"\x00\x00"), 0)
    return desk


# --- ListGroups


def test_groups_are_listed_in_their_states() -> None:
    desk = Desk()
    commit(desk, group_id="simple")
    (member,) = desk.stable()
    assert listed(desk) == {"simple": "Empty", GROUP: "Stable"}
    desk.join()
    assert listed(desk)[GROUP] == "PreparingRebalance"
    desk.rejoin(member)
    assert listed(desk)[GROUP] == "CompletingRebalance"


def test_groups_are_listed_by_state_and_type_in_any_case() -> None:
    desk = with_other_kinds(Desk())
    desk.stable()
    assert set(listed(desk)) == {GROUP, "modern", "shared"}
    assert set(listed(desk, {"stable"})) == {GROUP}
    assert set(listed(desk, {"empty", "dead"})) == {"modern", "shared"}
    assert set(listed(desk, None, {"consumer", "share"})) == {"modern", "shared"}
    assert listed(desk, {"stable"}, {"share"}) == {}
    assert listed(desk, {"no such state"}) == {}


# --- DescribeGroups


def test_a_stable_group_is_described_with_metadata_and_assignments() -> None:
    desk = Desk()
    members = desk.stable(2)
    described = desk.coordinator.describe(GROUP)
    assert (described.group_state, described.protocol_type, described.protocol_data) == ("Stable", "consumer", "range")
    assert [(one.member_id, one.client_id, one.client_host) for one in described.members] == [
        (one.id, "client", "/127.0.0.1") for one in members
    ]
    assert [(one.member_metadata, one.member_assignment) for one in described.members] == [
        (b"any", f"for {one.id}".encode()) for one in members
    ]


def test_during_a_rebalance_neither_protocol_nor_metadata_are_shown() -> None:
    desk = Desk()
    desk.stable()
    desk.join()
    described = desk.coordinator.describe(GROUP)
    assert (described.group_state, described.protocol_data) == ("PreparingRebalance", "")
    assert {one.member_metadata for one in described.members} == {b""}


@pytest.mark.parametrize("group", ["other", "modern", "shared"])
def test_only_classic_groups_are_described(group: str) -> None:
    desk = with_other_kinds(Desk())
    with pytest.raises(ApiError) as caught:
        desk.coordinator.describe(group)
    assert caught.value.code is ErrorCode.GROUP_ID_NOT_FOUND


# --- DeleteGroups


def delete(desk: Desk, group: str = GROUP) -> ErrorCode:
    try:
        answer = desk.perform(desk.coordinator.delete_group(desk.now, group))
    except ApiError as error:
        return error.code
    return ErrorCode(answer.error_code)


def test_an_empty_group_is_deleted_with_its_offsets() -> None:
    desk = Desk()
    commit(desk, "a")
    commit(desk, "b")
    assert delete(desk) is ErrorCode.NONE
    assert delete(desk) is ErrorCode.GROUP_ID_NOT_FOUND
    assert fetched(desk, "a")[0] == -1
    assert not desk.replayed().groups


@pytest.mark.parametrize("state", [State.STABLE, State.PREPARING_REBALANCE, State.COMPLETING_REBALANCE])
def test_a_group_with_members_is_not_deleted(state: State) -> None:
    desk = Desk()
    (member,) = desk.stable()
    if state is not State.STABLE:
        desk.join()
    if state is State.COMPLETING_REBALANCE:
        desk.rejoin(member)
    assert desk.state is state
    assert delete(desk) is ErrorCode.NON_EMPTY_GROUP


def test_a_deletion_that_cannot_be_written_leaves_the_group() -> None:
    desk = Desk()
    commit(desk)
    desk.append_error = ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert delete(desk) is ErrorCode.NOT_COORDINATOR
    assert fetched(desk)[0] == 1


def test_a_group_of_another_kind_is_deleted_with_all_its_records() -> None:
    desk = with_other_kinds(Desk())
    commit(desk, group_id="modern")
    assert delete(desk, "modern") is ErrorCode.NONE
    assert set(listed(desk)) == {"shared"}
    assert desk.end_offset == 4, "one commit, and tombstones for it, the member and the group"


def test_an_idle_consumer_group_gives_way_to_a_classic_one() -> None:
    desk = with_other_kinds(Desk())
    member = desk.join(group="modern")
    desk.advance(0)
    assert desk.told(member).generation == 1
    assert desk.coordinator.groups["modern"].kind == "classic"
    assert desk.ask_join(group="shared").code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_a_group_id_is_free_again_after_the_deletion() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.leave((member.id, None))
    delete(desk)
    assert desk.stable()[0].generation == 1
