"""Committed offsets: who may commit, what is fetched, what is deleted, what expires (KIP-211)."""

from typing import Any

import pytest
from tests.kafka.groups.desk import GROUP, Desk

from riverport.base.ids import ZERO_UUID
from riverport.kafka.groups.classic import State
from riverport.kafka.groups.commits import TopicCommit
from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.records import GroupRecord, offset_commit
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import end_txn_marker
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.codec import encode
from riverport.kafka.wire.errors import ApiError, ErrorCode

DAY_MS = 24 * 60 * 60 * 1000
WEEK_MS = 7 * DAY_MS
TOPIC_ID = bytes(range(16))


def commit(desk: Desk, topic: str = "t", offset: int = 1, **given: Any) -> ErrorCode:
    """Commit one offset of partition 0; the error of the request or of its one partition."""
    metadata, version = given.pop("metadata", ""), given.pop("version", 9)
    # No version of the request has both a retention time and leader epochs.
    leader_epoch = -1 if "retention_time_ms" in given else 5
    partition = m.OffsetCommitRequest.OffsetCommitRequestPartition(0, offset, leader_epoch, metadata)
    fields = {
        "group_id": GROUP, "generation_id_or_member_epoch": -1, "member_id": "", "group_instance_id": None,
        "retention_time_ms": -1, **given,
    }  # fmt: skip
    answers: list[Any] = []
    request = m.OffsetCommitRequest(**fields)
    topics = [TopicCommit(topic, TOPIC_ID, [partition], answers)]
    try:
        desk.perform(desk.coordinator.commit_offsets(desk.now, request, version, topics, m.OffsetCommitResponse()))
    except ApiError as error:
        return error.code
    (answer,) = answers
    return ErrorCode(answer.error_code)


def by(member: Any, **given: Any) -> dict[str, Any]:
    """The fields of a commit that say which member it comes from."""
    return {
        "generation_id_or_member_epoch": member.generation, "member_id": member.id,
        "group_instance_id": member.instance_id, **given,
    }  # fmt: skip


def fetched(
    desk: Desk, topic: str = "t", *, stable: bool = False, group: str = GROUP, topic_id: bytes = ZERO_UUID
) -> tuple[int, int, str, int]:
    (found,) = desk.coordinator.fetch_offsets(group, [(topic, topic_id, [0])], require_stable=stable)
    (one,) = found[1]
    return one.committed_offset, one.committed_leader_epoch, one.metadata, one.error_code


NOTHING = (-1, -1, "", 0)


def transactional_commit(desk: Desk, producer_id: int, offset: int, topic: str = "t") -> None:
    record = offset_commit(GROUP, topic, ZERO_UUID, 0, offset, -1, "", desk.now.wall_ms)
    new = [NewRecord(*record.encode(), timestamp=desk.now.wall_ms)]
    desk.coordinator.replay(record, desk.end_offset, producer_id)
    ids = {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": 0}
    desk.write(build_batch(new, base_offset=desk.end_offset, transactional=True, **ids), 1)


def end_transaction(desk: Desk, producer_id: int, *, committed: bool) -> None:
    desk.coordinator.replay_end(producer_id, committed=committed)
    desk.write(
        end_txn_marker(
            committed,
            coordinator_epoch=0,
            producer_id=producer_id,
            producer_epoch=0,
            timestamp=desk.now.wall_ms,
            base_offset=desk.end_offset,
        ),
        1,
    )


# --- OffsetCommit


def test_a_commit_without_a_group_makes_one_that_only_has_offsets() -> None:
    desk = Desk()
    assert commit(desk, offset=7, metadata="note") is ErrorCode.NONE
    assert fetched(desk) == (7, 5, "note", 0)
    assert desk.group().is_simple
    assert desk.coordinator.listed(set(), set())[0].protocol_type == ""


def test_the_last_commit_counts() -> None:
    desk = Desk()
    for offset in (7, 3):
        commit(desk, offset=offset)
    assert fetched(desk)[0] == 3


@pytest.mark.parametrize(("version", "code"), [(8, ErrorCode.ILLEGAL_GENERATION), (9, ErrorCode.GROUP_ID_NOT_FOUND)])
def test_a_generation_of_a_group_that_is_not_there_is_refused(version: int, code: ErrorCode) -> None:
    desk = Desk()
    assert commit(desk, generation_id_or_member_epoch=1, member_id="m", version=version) is code
    assert not desk.coordinator.groups


def test_members_commit_in_their_generation() -> None:
    desk = Desk()
    (member,) = desk.stable()
    assert commit(desk, **by(member)) is ErrorCode.NONE


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"generation_id_or_member_epoch": 0}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation_id_or_member_epoch": 2}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation_id_or_member_epoch": -1}, ErrorCode.ILLEGAL_GENERATION),
        ({"member_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_instance_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation_id_or_member_epoch": -1, "member_id": ""}, ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_nobody_else_moves_the_offsets_of_a_group_with_members(given: dict[str, Any], code: ErrorCode) -> None:
    desk = Desk()
    (member,) = desk.stable()
    assert commit(desk, **by(member, **given)) is code
    assert fetched(desk) == NOTHING


def test_a_replaced_static_member_commits_nothing() -> None:
    desk = Desk()
    old = desk.join(instance_id="i")
    desk.advance(0)
    desk.assign([desk.told(old)])
    desk.join(instance_id="i")
    assert commit(desk, **by(old)) is ErrorCode.FENCED_INSTANCE_ID


def test_members_commit_what_they_have_consumed_while_a_rebalance_begins() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.join()
    assert desk.state is State.PREPARING_REBALANCE
    assert commit(desk, **by(member)) is ErrorCode.NONE


def test_nothing_is_committed_between_join_and_sync() -> None:
    desk = Desk()
    member = desk.join()
    desk.advance(0)
    assert commit(desk, **by(desk.told(member))) is ErrorCode.REBALANCE_IN_PROGRESS


def test_a_commit_keeps_the_session_alive() -> None:
    desk = Desk()
    (member,) = desk.stable()
    for _ in range(3):
        desk.advance(9_000)
        commit(desk, **by(member))
    assert desk.heartbeat(member) is ErrorCode.NONE


def test_an_empty_group_takes_commits_from_outside() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.leave((member.id, None))
    assert commit(desk) is ErrorCode.NONE
    assert commit(desk, **by(member)) is ErrorCode.UNKNOWN_MEMBER_ID


def test_metadata_has_a_limit() -> None:
    desk = Desk(GroupConfig(offset_metadata_max_bytes=4))
    assert commit(desk, metadata="four") is ErrorCode.NONE
    assert commit(desk, offset=2, metadata="five!") is ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert fetched(desk)[0] == 1


def test_a_commit_that_cannot_be_written_changes_nothing() -> None:
    desk = Desk()
    commit(desk)
    desk.append_error = ErrorCode.NOT_ENOUGH_REPLICAS
    assert commit(desk, offset=2) is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert fetched(desk)[0] == 1


# --- OffsetFetch


def test_what_was_never_committed_is_minus_one_without_an_error() -> None:
    desk = Desk()
    assert fetched(desk) == NOTHING
    commit(desk)
    assert fetched(desk, "other") == NOTHING


def test_everything_of_a_group_is_fetched_without_naming_topics() -> None:
    desk = Desk()
    commit(desk, "a", 1)
    commit(desk, "b", 2)
    commit(desk, "c", 3, group_id="other")
    found = desk.coordinator.fetch_offsets(GROUP, None, require_stable=False)
    assert [(topic, one.committed_offset) for topic, (one,) in found] == [("a", 1), ("b", 2)]
    assert desk.coordinator.fetch_offsets("nobody", None, require_stable=True) == []


# --- transactions (KIP-447)


@pytest.mark.parametrize(("committed", "offset"), [(True, 9), (False, 1)])
def test_offsets_of_a_transaction_count_when_it_ends(committed: bool, offset: int) -> None:
    desk = Desk()
    commit(desk, offset=1)
    transactional_commit(desk, 100, 9)
    assert fetched(desk)[0] == 1
    assert fetched(desk, stable=True) == (-1, -1, "", ErrorCode.UNSTABLE_OFFSET_COMMIT)
    end_transaction(desk, 100, committed=committed)
    assert fetched(desk, stable=True)[0] == offset


def test_a_younger_commit_wins_over_a_transaction_that_ends_later() -> None:
    desk = Desk()
    transactional_commit(desk, 100, 9)
    commit(desk, offset=3)
    end_transaction(desk, 100, committed=True)
    assert fetched(desk)[0] == 3


def test_a_marker_ends_the_transaction_of_its_producer_only() -> None:
    desk = Desk()
    transactional_commit(desk, 100, 9, "a")
    transactional_commit(desk, 200, 8, "b")
    end_transaction(desk, 100, committed=True)
    assert fetched(desk, "a", stable=True)[0] == 9
    assert fetched(desk, "b", stable=True)[3] == ErrorCode.UNSTABLE_OFFSET_COMMIT


def test_a_deleted_topic_takes_the_offsets_of_open_transactions_along() -> None:
    desk = Desk()
    transactional_commit(desk, 100, 9)
    desk.perform(desk.coordinator.forget_topics(desk.now, {TOPIC_ID: "t"}))
    end_transaction(desk, 100, committed=True)
    assert fetched(desk, stable=True) == NOTHING
    assert desk.replayed().offsets.partitions_of(GROUP) == []


# --- OffsetDelete


def delete(desk: Desk, *topics: str, group: str = GROUP) -> list[ErrorCode]:
    of = m.OffsetDeleteRequest
    entries = [of.OffsetDeleteRequestTopic(one, [of.OffsetDeleteRequestPartition(0)]) for one in topics]
    answer = desk.perform(desk.coordinator.delete_offsets(desk.now, of(group, entries)))
    return [ErrorCode(one.error_code) for topic in answer.topics for one in topic.partitions]


def subscription(*topics: str) -> dict[str, bytes]:
    return {"range": b"\x00\x01" + encode(m.ConsumerProtocolSubscription(topics=list(topics)), 1)}


def test_offsets_of_topics_that_nobody_consumes_are_deleted() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols=subscription("a", "b"))
    for topic in "abc":
        commit(desk, topic, **by(member))
    assert delete(desk, "a", "c", "d") == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode.NONE, ErrorCode.NONE]
    assert fetched(desk, "a")[0] == 1
    assert fetched(desk, "c") == NOTHING


def test_nothing_is_deleted_where_members_do_not_say_what_they_consume() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols={"range": b""})
    commit(desk, **by(member))
    assert delete(desk, "t") == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC]


def test_an_empty_group_is_subscribed_to_nothing() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols=subscription("t"))
    commit(desk, **by(member))
    desk.leave((member.id, None))
    assert delete(desk, "t") == [ErrorCode.NONE]


@pytest.mark.parametrize(
    ("group", "code"),
    [("", ErrorCode.INVALID_GROUP_ID), ("other", ErrorCode.GROUP_ID_NOT_FOUND), (GROUP, ErrorCode.NON_EMPTY_GROUP)],
)
def test_offsets_that_cannot_be_deleted_at_all(group: str, code: ErrorCode) -> None:
    desk = Desk()
    desk.stable(protocol_type="connect")
    with pytest.raises(ApiError) as caught:
        delete(desk, "t", group=group)
    assert caught.value.code is code


# --- expiry


def expire(desk: Desk) -> None:
    desk.perform(desk.coordinator.expire(desk.now))


def test_each_offset_of_a_group_without_members_expires_by_its_own_age_and_the_group_with_the_last() -> None:
    desk = Desk()
    commit(desk, "old")
    desk.advance(DAY_MS)
    commit(desk, "young")
    desk.advance(WEEK_MS - DAY_MS - 1)
    expire(desk)
    assert fetched(desk, "old")[0] == 1
    desk.advance(1)
    expire(desk)
    assert fetched(desk, "old") == NOTHING
    assert fetched(desk, "young")[0] == 1
    desk.advance(DAY_MS)
    expire(desk)
    assert not desk.coordinator.groups
    assert not desk.replayed().groups


def test_offsets_of_an_empty_group_expire_by_the_time_since_it_became_empty() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols=subscription("t"), session_ms=1_800_000)
    commit(desk, **by(member))
    for _ in range(WEEK_MS // 1_700_000 + 1):
        desk.advance(1_700_000)
        desk.heartbeat(member)
    desk.leave((member.id, None))
    desk.advance(WEEK_MS - 1)
    expire(desk)
    assert fetched(desk)[0] == 1
    desk.advance(1)
    expire(desk)
    assert not desk.coordinator.groups


def test_the_time_since_a_group_became_empty_survives_a_restart() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols=subscription("t"))
    commit(desk, **by(member))
    desk.advance(5_000)
    desk.leave((member.id, None))
    desk.advance(WEEK_MS - 1)
    desk.restart()
    expire(desk)
    assert fetched(desk)[0] == 1
    desk.advance(1)
    expire(desk)
    assert not desk.coordinator.groups


def test_a_live_group_loses_offsets_of_topics_that_it_has_given_up_and_no_others() -> None:
    desk = Desk()
    (member,) = desk.stable(protocols=subscription("kept"), session_ms=1_800_000)
    commit(desk, "kept", **by(member))
    commit(desk, "given up", **by(member))
    for _ in range(WEEK_MS // 1_700_000 + 1):
        desk.advance(1_700_000)
        desk.heartbeat(member)
    expire(desk)
    assert fetched(desk, "kept")[0] == 1
    assert fetched(desk, "given up") == NOTHING
    assert desk.state is State.STABLE


@pytest.mark.parametrize(
    "given", [{"protocol_type": "connect"}, {"protocols": {"range": b""}}], ids=["another protocol", "unreadable"]
)
def test_nothing_expires_while_members_consume_what_cannot_be_known(given: dict[str, Any]) -> None:
    desk = Desk()
    (member,) = desk.stable(session_ms=1_800_000, **given)
    commit(desk, **by(member))
    for _ in range(WEEK_MS // 1_700_000 + 1):
        desk.advance(1_700_000)
        desk.heartbeat(member)
    expire(desk)
    assert fetched(desk)[0] == 1


def test_nothing_expires_during_a_rebalance() -> None:
    desk = Desk(GroupConfig(initial_rebalance_delay_ms=0, offsets_retention_ms=1_000))
    (member,) = desk.stable(protocols=subscription("kept"))
    commit(desk, "given up", **by(member))
    desk.join(protocols=subscription("kept"))
    desk.advance(5_000)
    expire(desk)
    assert fetched(desk, "given up")[0] == 1


def test_a_retention_that_the_client_asked_for_counts_instead() -> None:
    desk = Desk()
    commit(desk, "short", retention_time_ms=1_000)
    commit(desk, "long", retention_time_ms=2 * WEEK_MS)
    desk.restart()
    desk.advance(1_000)
    expire(desk)
    assert fetched(desk, "short") == NOTHING
    desk.advance(2 * WEEK_MS - 1_001)
    expire(desk)
    assert fetched(desk, "long")[0] == 1


def test_an_offset_that_a_transaction_is_about_to_replace_does_not_expire() -> None:
    desk = Desk()
    commit(desk)
    desk.advance(WEEK_MS)
    transactional_commit(desk, 100, 9)
    expire(desk)
    assert fetched(desk)[0] == 1
    end_transaction(desk, 100, committed=False)
    expire(desk)
    assert not desk.coordinator.groups


def test_a_group_without_offsets_goes_at_the_next_check() -> None:
    desk = Desk()
    (member,) = desk.stable()
    expire(desk)
    assert desk.coordinator.groups
    desk.leave((member.id, None))
    expire(desk)
    assert not desk.coordinator.groups


def test_an_idle_consumer_group_goes_with_its_last_offset_and_a_share_group_stays() -> None:
    desk = Desk()
    keys = [m.ConsumerGroupMetadataKey("modern"), m.ShareGroupMetadataKey("shared")]
    for key in keys:
        desk.coordinator.replay(GroupRecord(key, b"\x00\x00"), 0)
    commit(desk, group_id="modern")
    desk.advance(WEEK_MS - 1)
    expire(desk)
    assert fetched(desk, group="modern")[0] == 1
    desk.advance(1)
    expire(desk)
    assert list(desk.coordinator.groups) == ["shared"]
    assert fetched(desk, group="modern") == NOTHING


def test_a_deleted_topic_takes_its_offsets_along_in_every_group() -> None:
    desk = Desk()
    for group in ("g", "h"):
        commit(desk, "gone", group_id=group)
        commit(desk, "kept", group_id=group)
    desk.perform(desk.coordinator.forget_topics(desk.now, {TOPIC_ID: "gone"}))
    for group in ("g", "h"):
        assert fetched(desk, "gone", group=group) == NOTHING
        assert fetched(desk, "kept", group=group)[0] == 1
    assert desk.replayed().offsets.partitions_of("h") == [("kept", 0)]


def test_offsets_of_a_topic_that_had_the_name_before_are_none_for_who_asks_by_id() -> None:
    desk = Desk()
    commit(desk)
    other = bytes(16)[:-1] + b"\1"
    assert fetched(desk, topic_id=TOPIC_ID)[0] == 1
    assert fetched(desk, topic_id=other) == NOTHING
    assert fetched(desk)[0] == 1, "who asks by name cannot mean another"


def test_a_topic_that_is_deleted_late_leaves_the_offsets_of_the_next_of_its_name() -> None:
    desk = Desk()
    commit(desk)
    desk.perform(desk.coordinator.forget_topics(desk.now, {b"\1" * 16: "t"}))
    assert fetched(desk)[0] == 1
    transactional_commit(desk, 100, 9)
    desk.perform(desk.coordinator.forget_topics(desk.now, {b"\1" * 16: "t"}))
    assert fetched(desk) == NOTHING, "a commit that names no id may be of the deleted topic"
