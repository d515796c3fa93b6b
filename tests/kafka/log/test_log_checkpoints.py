"""The small text files: as Kafka writes them, replaced as a whole, and what is made of damaged ones."""

import errno

import pytest
from tests.kafka.log.kit import ROOT, SMALL, TOPIC_ID, append, disk_with, manager_of, values

from riverport.base.files import StorageError
from riverport.kafka.log.checkpoints import PARSE, read_offsets, write_offsets
from riverport.kafka.log.directory import CHECKPOINTS, HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS
from riverport.kafka.log.upkeep import Upkeep
from riverport.sim.disk import SimDisk

PATH = f"{ROOT}/x-checkpoint"


def test_offsets_are_written_as_kafka_writes_them() -> None:
    disk = disk_with()
    write_offsets(disk, PATH, {("a.b_c-d", 12): 0, ("t", 0): 2**40})
    assert disk.read(PATH) == b"0\n2\na.b_c-d 12 0\nt 0 1099511627776\n"
    assert read_offsets(disk, PATH) == {("a.b_c-d", 12): 0, ("t", 0): 2**40}
    assert disk.listdir(ROOT) == ["x-checkpoint"]


def test_no_file_and_an_empty_one_are_no_offsets() -> None:
    disk = disk_with()
    assert read_offsets(disk, PATH) == {}
    disk.write(PATH, b"")
    assert read_offsets(disk, PATH) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"0",
        b"x\n0\n",
        b"1\n0\n",
        b"0\n-1\n",
        b"0\n2\nt 0 5\n",
        b"0\n0\nt 0 5\n",
        b"0\n1\nt 0\n",
        b"0\n1\nt 0 5 6\n",
        b"0\n1\nt zero 5\n",
        b"0\n1\nt 0 -5\n",
        b"0\n1\nt -1 5\n",
        b"0\n1\nt 0 99999999999999999999\n",
        b"\x00" * 40,
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_by_its_name(content: bytes) -> None:
    disk = disk_with()
    disk.write(PATH, content)
    with pytest.raises(StorageError, match="x-checkpoint") as raised:
        read_offsets(disk, PATH)
    assert raised.value.operation == PARSE


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_checkpoint_that_cannot_be_replaced_keeps_what_it_said(operation: str) -> None:
    disk = disk_with()
    write_offsets(disk, PATH, {("t", 0): 1})
    disk.fail(operation, "*x-checkpoint*", errno.EIO)
    with pytest.raises(StorageError):
        write_offsets(disk, PATH, {("t", 0): 2})
    disk.heal()
    assert read_offsets(disk, PATH) == {("t", 0): 1}


def written(disk: SimDisk) -> None:
    """A log of 10 records below the start of which 4 are deleted, all checkpoints written, then killed."""
    manager = manager_of(disk)
    log = manager.get_or_create("t", 0, TOPIC_ID, SMALL, 0)
    for n in range(10):
        append(log, b"%d" % n)
    log.flush()
    log.delete_records(4)
    for name in CHECKPOINTS:
        for job in Upkeep(manager).checkpoint(name):
            job.run()
            job.finish()
    disk.kill()


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("content", [b"", b"\x00" * 16, b"0\n7\n", None])
def test_a_damaged_checkpoint_costs_no_record(name: str, content: bytes | None) -> None:
    """Without the recovery points everything is checked, without the log starts what was deleted may be seen again."""
    disk = disk_with()
    written(disk)
    disk.remove(f"{ROOT}/{name}") if content is None else disk.write(f"{ROOT}/{name}", content)
    log = manager_of(disk).get("t", 0)
    assert log is not None
    log.update_high_watermark(log.log_end_offset)
    assert log.log_start_offset == (0 if name == LOG_STARTS else 4)
    assert values(log) == {n: b"%d" % n for n in range(log.log_start_offset, 10)}


def test_a_checkpoint_is_written_only_where_it_has_changed() -> None:
    disk = disk_with()
    manager = manager_of(disk)
    log = manager.get_or_create("t", 0, TOPIC_ID, SMALL, 0)
    upkeep = Upkeep(manager)
    assert len(upkeep.checkpoint(RECOVERY_POINTS)) == 1
    assert upkeep.checkpoint(RECOVERY_POINTS) == []
    append(log)
    assert upkeep.checkpoint(RECOVERY_POINTS) == []
    log.flush()
    assert len(upkeep.checkpoint(RECOVERY_POINTS)) == 1
    assert len(upkeep.checkpoint(HIGH_WATERMARKS)) == 1


def test_a_log_that_starts_with_its_first_segment_needs_no_line() -> None:
    disk = disk_with()
    written(disk)
    assert read_offsets(disk, f"{ROOT}/{LOG_STARTS}") == {("t", 0): 4}
    manager = manager_of(disk)
    assert manager.offsets(manager.directories[ROOT], LOG_STARTS) == {("t", 0): 4}
