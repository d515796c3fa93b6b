"""Checkpoints of the metadata log: what is written is what is read, and what is not whole is never taken for one."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.files import OsFiles, StorageError
from riverport.kafka.raft.snapshots import (
    BATCH_RECORDS,
    READ_ONLY,
    SnapshotId,
    encode_snapshot,
    last_contained_timestamp,
    read_snapshot,
    remove_leftovers,
    snapshots_in,
)
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import encode_record
from riverport.sim.disk import SimDisk

PATH = "/d/00000000000000000007-0000000003.checkpoint"


def written(records: list[object], **head: object) -> SimDisk:
    disk = SimDisk()
    disk.mkdir("/d")
    values = [encode_record(record, 0) for record in records]
    content = encode_snapshot(values, epoch=3, now_ms=1000, last_contained_timestamp=900, **head)  # type: ignore[arg-type]
    disk.replace(PATH, b"".join(content), mode=READ_ONLY)
    return disk


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(min_size=16, max_size=16)), max_size=40))
def test_records_come_back_as_they_were(topics: list[tuple[str, bytes]]) -> None:
    records = [m.TopicRecord(name, id_) for name, id_ in topics]
    found = read_snapshot(written(records), PATH)
    assert (found.records, found.kraft_version, found.voters) == (records, 0, None)
    assert found.last_contained_timestamp == 900


def test_more_records_than_a_batch_holds_come_back_in_order() -> None:
    records = [m.FeatureLevelRecord(f"f{n}", n % 100) for n in range(BATCH_RECORDS * 2 + 1)]
    assert read_snapshot(written(records), PATH).records == records


def test_a_dynamic_quorum_s_voters_are_in_the_head() -> None:
    of = m.VotersRecord
    voters = of(0, [of.Voter(1, bytes(range(16)), [of.Endpoint("C", "h", 1)], of.KRaftVersionFeature(0, 1))])
    disk = written([m.NoOpRecord()], kraft_version=1, voters=voters)
    found = read_snapshot(disk, PATH)
    assert (found.kraft_version, found.voters, found.records) == (1, voters, [m.NoOpRecord()])


def test_the_time_of_the_newest_record_is_read_from_the_head_alone() -> None:
    disk = written([m.FeatureLevelRecord("f", 1)] * 2000)
    assert last_contained_timestamp(disk, PATH) == 900


@pytest.mark.parametrize("lost", [1, 20, 74, 75, 76, 200])
def test_a_checkpoint_that_is_cut_off_is_refused(lost: int) -> None:
    disk = written([m.TopicRecord("t", bytes(range(16)))] * 3)
    disk.write(PATH, disk.read(PATH)[:-lost])
    with pytest.raises(StorageError):
        read_snapshot(disk, PATH)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_checkpoint_with_a_damaged_byte_is_refused_or_says_the_same(at: int, mask: int) -> None:
    records: list[object] = [m.TopicRecord("t", bytes(range(16))), m.FeatureLevelRecord("f", 1)]
    disk = written(records)
    disk.flip(PATH, at % disk.size(PATH), mask)
    try:
        found = read_snapshot(disk, PATH)
    except StorageError:
        return
    # Base offsets and leader epochs are not under the checksum, and say nothing here.
    assert found.records == records


def test_checkpoints_are_found_oldest_first_and_nothing_else(tmp_path: Path) -> None:
    names = [SnapshotId(20, 1).file_name, SnapshotId(3, 9).file_name, SnapshotId(20, 2).file_name]
    for name in (*names, "00000000000000000000.log", "quorum-state", names[0] + ".tmp"):
        (tmp_path / name).write_bytes(b"")
    assert snapshots_in(OsFiles(), str(tmp_path)) == [(3, 9), (20, 1), (20, 2)]


def test_leftovers_of_a_dead_process_are_removed(tmp_path: Path) -> None:
    kept = SnapshotId(3, 1).file_name
    base = kept.removesuffix(".checkpoint")
    for name in (kept, f"{kept}.tmp", f"{kept}.deleted", f"{base}-12345.checkpoint.part", "quorum-state.tmp"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(OsFiles(), str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([kept, "quorum-state.tmp"])
