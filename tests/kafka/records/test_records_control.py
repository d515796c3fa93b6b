"""Control batches: markers of transactions, and what a raft leader notes in its log."""

import pytest

from riverport.kafka.records.batch import check_crc, read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import (
    ControlType,
    control_type,
    coordinator_epoch,
    end_txn_marker,
    raft_control_batch,
    raft_control_message,
)
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import Record, iter_records
from riverport.kafka.wire import messages as m


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_marker_has_78_bytes(commit: bool) -> None:
    buf = end_txn_marker(
        commit, coordinator_epoch=9, producer_id=4_000, producer_epoch=3, timestamp=77, base_offset=12, leader_epoch=5
    )
    header = read_header(buf)
    assert len(buf) == header.size == 78
    assert check_crc(buf, header)
    assert (header.is_control, header.is_transactional, header.attributes) == (True, True, 0x30)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (4_000, 3, -1)
    (record,) = iter_records(buf, header)
    assert control_type(record) is (ControlType.COMMIT if commit else ControlType.ABORT)
    assert coordinator_epoch(record) == 9


def test_a_new_leaders_first_batch_holds_several_records() -> None:
    messages = [
        m.LeaderChangeMessage(version=0, leader_id=1, voters=[m.LeaderChangeMessage.Voter(voter_id=1)]),
        m.KRaftVersionRecord(version=0, k_raft_version=1),
        m.VotersRecord(version=0, voters=[m.VotersRecord.Voter(voter_id=1, voter_directory_id=bytes(15) + b"\x01")]),
    ]
    buf = raft_control_batch(messages, timestamp=50, base_offset=100, leader_epoch=2)
    header = read_header(buf)
    assert (header.attributes, header.count, header.leader_epoch, header.producer_id) == (0x20, 3, 2, -1)
    records = list(iter_records(buf, header))
    assert [control_type(record) for record in records] == [
        ControlType.LEADER_CHANGE,
        ControlType.KRAFT_VERSION,
        ControlType.KRAFT_VOTERS,
    ]
    assert [raft_control_message(record) for record in records] == messages


def test_snapshot_header_and_footer() -> None:
    for message in (
        m.SnapshotHeaderRecord(version=0, last_contained_log_timestamp=123),
        m.SnapshotFooterRecord(version=0),
    ):
        buf = raft_control_batch([message], timestamp=1)
        (record,) = iter_records(buf, read_header(buf))
        assert raft_control_message(record) == message


def test_a_leader_change_is_kafkas_bytes() -> None:
    message = m.LeaderChangeMessage(version=0, leader_id=1)
    buf = raft_control_batch([message], timestamp=0)
    (record,) = iter_records(buf, read_header(buf))
    assert record.key == b"\x00\x00\x00\x02"
    assert record.value == b"\x00\x00" + b"\x00\x00\x00\x01" + b"\x01\x01\x00"


def test_types_of_later_versions_are_passed_over() -> None:
    assert control_type(Record(0, 0, b"\x00\x00\x00\x63", b"", [])) is None
    assert control_type(Record(0, 0, b"\x00\x01\x00\x01more", b"", [])) is ControlType.COMMIT


@pytest.mark.parametrize("key", [None, b"", b"\x00\x00\x00", b"\xff\xff\x00\x00", b"\x00\x00\xff\xff"])
def test_malformed_keys_are_refused(key: bytes | None) -> None:
    with pytest.raises(RecordError):
        control_type(Record(0, 0, key, b"", []))


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x01", b"\xff\xff\x00\x00\x00\x01"])
def test_malformed_values_are_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        coordinator_epoch(Record(0, 0, b"\x00\x00\x00\x00", value, []))
    with pytest.raises(RecordError):
        raft_control_message(Record(0, 0, b"\x00\x00\x00\x02", value, []))
    with pytest.raises(RecordError):
        raft_control_message(Record(0, 0, b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x01", []))


def test_other_messages_are_no_control_records() -> None:
    with pytest.raises(TypeError):
        raft_control_batch([m.EndTxnMarker(coordinator_epoch=1)], timestamp=0)
    assert build_batch([NewRecord(None, None)], control=True)[22] == 0x20
