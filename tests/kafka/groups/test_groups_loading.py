"""Reading `__consumer_offsets` back: as Apache Kafka 4.3.1 has written it, as older versions have, and our own.

consumer-offsets-4.3.1.log is a segment of an Apache Kafka broker: classic groups (one left, one live, one static),
commits without a group, one with a retention of its own, a deleted group, a deleted offset, a deleted topic, three
transactions (committed, aborted, open), KIP-848 and share groups. The .json beside it is what that broker answered at
that moment to ListGroups, OffsetFetch of everything, and DescribeGroups.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kafka.groups.desk import Desk, durable
from tests.kafka.groups.test_groups_offsets import commit, end_transaction, transactional_commit

from riverport.base.ids import ZERO_UUID
from riverport.kafka.groups.classic import State
from riverport.kafka.groups.loading import replay_batches
from riverport.kafka.groups.records import GroupRecord
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.codec import encode
from riverport.kafka.wire.coordinator_records import encode_key, encode_value
from riverport.kafka.wire.errors import ErrorCode, WireError

OFFICIAL = Path(__file__).parent / "consumer-offsets-4.3.1.log"
ANSWERS = json.loads(OFFICIAL.with_suffix(".json").read_text())


@pytest.fixture
def official() -> Desk:
    """A coordinator that has read Apache Kafka's log."""
    desk = Desk()
    desk.end_offset = replay_batches(desk.coordinator, OFFICIAL.read_bytes(), 0)
    desk.perform(desk.coordinator.loaded(desk.now))
    return desk


# --- Apache Kafka's log


def test_all_groups_are_found_in_it(official: Desk) -> None:
    found = {one.group_id: [one.protocol_type, one.group_state, one.group_type]
             for one in official.coordinator.listed(set(), set())}  # fmt: skip
    # Members of other kinds of groups have nobody to talk to here.
    expected = {
        group: entry if entry[2] == "classic" else [entry[0], "Empty", entry[2]]
        for group, entry in ANSWERS["groups"].items()
    }
    assert found == expected


def test_all_offsets_are_found_in_it(official: Desk) -> None:
    for group, expected in ANSWERS["offsets"].items():
        found = [
            [topic, p.partition_index, p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code]
            for topic, partitions in official.coordinator.fetch_offsets(group, None, require_stable=False)
            for p in partitions
        ]
        assert sorted(found) == sorted(expected), group


def test_classic_groups_are_described_as_there(official: Desk) -> None:
    assert len(ANSWERS["described"]) >= 9
    for group, expected in ANSWERS["described"].items():
        one = official.coordinator.describe(group)
        members = [
            [x.member_id, x.group_instance_id, x.client_id, x.client_host,
             bytes(x.member_metadata).hex(), bytes(x.member_assignment).hex()]
            for x in one.members
        ]  # fmt: skip
        assert [one.group_state, one.protocol_type, one.protocol_data, members] == expected


def test_the_open_transaction_is_found_in_it(official: Desk) -> None:
    ((_, (one,)),) = official.coordinator.fetch_offsets("txn-open", [("orders", ZERO_UUID, [0])], require_stable=True)
    assert one.error_code == ErrorCode.UNSTABLE_OFFSET_COMMIT
    official.coordinator.replay_end(2, committed=True)
    ((_, (one,)),) = official.coordinator.fetch_offsets("txn-open", [("orders", ZERO_UUID, [0])], require_stable=True)
    assert one.committed_offset == 13


def test_a_retention_of_its_own_is_found_in_it(official: Desk) -> None:
    committed = official.coordinator.offsets.get("expiring", "bills", 0)
    assert committed is not None
    assert committed.expire_ms - committed.commit_ms == 3_600_000


def test_its_members_have_their_session_timeout_to_be_heard_of(official: Desk) -> None:
    official.advance(300_000)
    assert {one.group_id for one in official.coordinator.listed({"empty"}, {"classic"})} >= {
        "classic-live",
        "classic-static",
    }
    assert not official.timers


def test_what_is_written_of_its_groups_is_what_it_wrote(official: Desk) -> None:
    """A static member that comes back makes a record like the one that was read, but for its id."""
    asked = official.ask_join(
        group="classic-static",
        instance_id="i-1",
        protocols={"range": bytes.fromhex(ANSWERS["described"]["classic-static"][3][0][4])},
    )
    assert asked.code is ErrorCode.NONE
    old = ANSWERS["described"]["classic-static"][3][0]
    again = Desk()
    replay_batches(again.coordinator, OFFICIAL.read_bytes() + b"".join(official.batches), 0)
    described = again.coordinator.describe("classic-static").members[0]
    assert described.member_id == asked.answer.member_id != old[0]
    assert bytes(described.member_assignment).hex() == old[5]


@pytest.mark.parametrize("kind", ["modern-live", "modern-left", "modern-regex", "shared"])
def test_groups_of_other_kinds_are_deleted_to_the_last_record(official: Desk, kind: str) -> None:
    official.perform(official.coordinator.delete_group(official.now, kind))
    again = Desk()
    replay_batches(again.coordinator, OFFICIAL.read_bytes() + b"".join(official.batches), 0)
    assert kind not in again.coordinator.groups


def test_the_example_of_the_format_page_is_in_that_log() -> None:
    page = (Path(__file__).parents[3] / "docs/formats/coordinator-records.md").read_text()
    lines = [line.split(maxsplit=1) for line in page.splitlines() if line.startswith("    ")]
    example = {name: bytes.fromhex(text) for name, text in lines if name in ("key", "value")}
    assert len(example) == 2
    assert all(data in OFFICIAL.read_bytes() for data in example.values())


# --- older versions of keys and values


def replay(key: bytes, value: bytes | None) -> Desk:
    desk = Desk()
    desk.coordinator.replay_bytes(key, value, 0)
    return desk


@pytest.mark.parametrize("version", range(5))
def test_every_version_of_a_committed_offset_is_read(version: int) -> None:
    fields: dict[str, Any] = {"offset": 7, "metadata": "note", "commit_timestamp": 1_000}
    if version == 1:
        fields["expire_timestamp"] = 2_000
    if version >= 3:
        fields["leader_epoch"] = 5
    value = encode_value(m.OffsetCommitValue(**fields), version)
    committed = replay(encode_key(m.OffsetCommitKey("g", "t", 0)), value).coordinator.offsets.get("g", "t", 0)
    assert committed is not None
    assert (committed.offset, committed.metadata, committed.commit_ms) == (7, "note", 1_000)
    assert committed.expire_ms == (2_000 if version == 1 else -1)
    assert committed.leader_epoch == (5 if version >= 3 else -1)


@pytest.mark.parametrize("version", range(5))
def test_every_version_of_a_groups_metadata_is_read(version: int) -> None:
    fields: dict[str, Any] = {"member_id": "a", "client_id": "c", "client_host": "/h", "session_timeout": 9_000}
    if version >= 1:
        fields["rebalance_timeout"] = 60_000
    if version >= 3:
        fields["group_instance_id"] = "i"
    member = m.GroupMetadataValue.MemberMetadata(**fields, subscription=b"s", assignment=b"a")
    stamp = {"current_state_timestamp": 4_000} if version >= 2 else {}
    value = m.GroupMetadataValue("consumer", 3, "range", "a", members=[member], **stamp)
    group = replay(encode_key(m.GroupMetadataKey("g")), encode_value(value, version)).group("g")
    (found,) = group.members.values()
    assert (group.state, group.generation, group.leader) == (State.STABLE, 3, "a")
    assert group.state_since_ms == (4_000 if version >= 2 else -1)
    assert found.rebalance_timeout_ms == (60_000 if version >= 1 else 9_000), "the session timeout stood for both"
    assert found.instance_id == ("i" if version >= 3 else None)
    assert (found.metadata("range"), found.assignment) == (b"s", b"a")


def test_records_of_key_version_0_are_read() -> None:
    value = encode_value(m.LegacyOffsetCommitValue(offset=7, metadata="note", commit_timestamp=1_000), 0)
    desk = replay(encode_key(m.LegacyOffsetCommitKey("g", "t", 0)), value)
    committed = desk.coordinator.offsets.get("g", "t", 0)
    assert committed is not None
    assert (committed.offset, committed.metadata) == (7, "note")
    desk.coordinator.replay_bytes(encode_key(m.LegacyOffsetCommitKey("g", "t", 0)), None, 1)
    assert desk.coordinator.offsets.get("g", "t", 0) is None


def test_record_types_that_are_not_known_yet_are_passed_over() -> None:
    desk = replay(b"\x7f\xff what comes next", b"\x00\x00")
    assert not desk.coordinator.groups


def test_a_tombstone_for_what_is_not_there_does_nothing() -> None:
    for key in (
        m.OffsetCommitKey("g", "t", 0),
        m.LegacyOffsetCommitKey("g", "t", 0),
        m.GroupMetadataKey("g"),
        m.ConsumerGroupMetadataKey("g"),
        m.ShareGroupMetadataKey("g"),
    ):
        assert not replay(encode_key(key), None).coordinator.groups


def test_the_tombstone_of_a_consumer_group_spares_the_classic_group_that_took_its_place() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.coordinator.replay(GroupRecord(m.ConsumerGroupMetadataKey("g"), None), 9)
    assert desk.heartbeat(member) is ErrorCode.NONE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x00", b"\x00\x00"),
        (b"\x00\x01\x00\x05g", b"\x00\x00"),
        (encode_key(m.GroupMetadataKey("g")), b""),
        (encode_key(m.GroupMetadataKey("g")), b"\x00\x63"),
        (encode_key(m.GroupMetadataKey("g")), b"\x00\x03" + encode(m.GroupMetadataValue("consumer", 3), 3)[:-2]),
    ],
)
def test_what_cannot_be_read_is_an_error_and_not_an_empty_group(key: bytes, value: bytes) -> None:
    with pytest.raises(WireError):
        replay(key, value)


# --- our own log


def story() -> Desk:
    """A bit of everything, with nothing under way at the end."""
    desk = Desk()
    members = desk.stable(2)
    commit(desk, "t", 4, generation_id_or_member_epoch=members[0].generation, member_id=members[0].id)
    commit(desk, "t", 5, group_id="simple")
    commit(desk, "u", 6, group_id="simple", retention_time_ms=1_000)
    transactional_commit(desk, 100, 9, "v")
    end_transaction(desk, 100, committed=True)
    transactional_commit(desk, 200, 10, "w")
    commit(desk, "t", 1, group_id="deleted")
    desk.perform(desk.coordinator.delete_group(desk.now, "deleted"))
    return desk


def test_a_restart_changes_nothing_that_was_answered() -> None:
    desk = story()
    before = durable(desk.coordinator)
    desk.restart()
    assert durable(desk.coordinator) == before
    assert set(before) == {"g", "simple"}


def test_members_go_on_after_a_restart_without_a_rebalance() -> None:
    desk = Desk()
    members = desk.stable(2)
    desk.restart()
    for one in members:
        assert desk.heartbeat(one) is ErrorCode.NONE
        assert desk.ask_sync(one).answer.assignment == f"for {one.id}".encode()


def test_a_restart_during_a_rebalance_leaves_the_generation_before_it() -> None:
    desk = Desk()
    (member,) = desk.stable()
    desk.join()
    desk.rejoin(member)
    assert (desk.state, member.generation) == (State.COMPLETING_REBALANCE, 2)
    desk.restart()
    assert (desk.state, desk.group().generation) == (State.STABLE, 1)
    assert desk.heartbeat(member) is ErrorCode.ILLEGAL_GENERATION


def test_giving_up_a_partition_sends_everybody_who_waits_away() -> None:
    desk = Desk()
    desk.stable()
    new = desk.join()
    desk.perform(desk.coordinator.unload(desk.now))
    assert new.asked.code is ErrorCode.NOT_COORDINATOR
    assert not desk.timers
    assert not desk.coordinator.groups
