"""A log that moves to another directory while it is written to is there as a whole, whatever happens on the way."""

import contextlib
import errno
from random import Random
from typing import Any

import pytest

from riverport.base.files import StorageError
from riverport.base.ids import uuid_bytes
from riverport.kafka.log import Isolation, Log, LogConfig, Origin
from riverport.kafka.log.manager import DuplicateLog, LogManager
from riverport.kafka.log.move import Move
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.sim.disk import SimDisk

TOPIC_ID = uuid_bytes("AAAAAAAAAAAAAAAAAAAAAw")
CONFIG = LogConfig(segment_bytes=4_000, file_delete_delay_ms=0)
A, B = "/a", "/b"


class FailingPower(SimDisk):
    """From a number of operations on, none comes through."""

    left: int | None = None

    def check(self, operation: str, path: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StorageError(operation, path, errno.EIO, "the power is gone")
        super().check(operation, path)


class Ids:
    def __init__(self) -> None:
        self._last = 0

    def uuid(self) -> bytes:
        self._last += 1
        return self._last.to_bytes(16, "big")


def directories(disk: SimDisk) -> SimDisk:
    for path in (A, B):
        disk.mkdir(path)
    disk.sync_dir("/")
    return disk


def managed(disk: SimDisk) -> LogManager:
    manager = LogManager(disk, [A, B], Ids().uuid)
    manager.lock({})
    manager.load(lambda topic: CONFIG, 0)
    return manager


def log_in(manager: LogManager) -> Log:
    return manager.get_or_create("t", 0, TOPIC_ID, CONFIG, 0)


def write(log: Log, first: int, count: int, **batch: Any) -> None:
    for n in range(first, first + count):
        built = build_batch([NewRecord(b"k%d" % n, b"v" * 200, timestamp=n)], **batch)
        log.append_as_leader(built, n // 50, 0, origin=Origin.CLIENT)
    log.update_high_watermark(log.log_end_offset)


def content(log: Log) -> list[tuple[int, int, int]]:
    """(base offset, leader epoch, crc) of every batch from the log's start on."""
    found, offset = [], log.log_start_offset
    while offset < log.log_end_offset:
        records = log.read(offset, 100_000, isolation=Isolation.LOG_END, min_one=True).records
        for header in iter_headers(records):
            found.append((header.base_offset, header.leader_epoch, header.crc))
            offset = header.next_offset
    return found


def other(log: Log) -> str:
    return B if log.dir.startswith(A) else A


def moved(manager: LogManager, log: Log) -> Log:
    move = Move(manager, log, other(log), 0)
    while not move.copy(0):
        pass
    return move.finish(0, 0)


def test_a_moved_log_has_everything_and_goes_on() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    write(log, 0, 120)
    before, target = content(log), other(log)
    new = moved(manager, log)
    assert new.dir == f"{target}/t-0"
    assert manager.get("t", 0) is new
    assert content(new) == before
    assert (new.log_end_offset, new.high_watermark) == (120, 120)
    assert new.leader_epochs.entries == log.leader_epochs.entries
    write(new, 120, 5)
    assert len(content(new)) == 125


def test_what_is_written_during_the_copy_is_in_it() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    write(log, 0, 30)
    move = Move(manager, log, other(log), 0)
    for round_ in range(5):
        move.copy(0)
        write(log, 30 + round_ * 10, 10)
    while not move.copy(0):
        pass
    before = content(log)
    assert content(move.finish(0, 0)) == before


def test_a_copy_begins_with_the_batch_that_holds_the_log_s_start() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    for n in range(10):
        built = build_batch([NewRecord(b"k", b"%d" % n, timestamp=0)] * 4)
        log.append_as_leader(built, 0, 0, origin=Origin.CLIENT)
    log.update_high_watermark(40)
    log.delete_records(18)
    before = content(log)
    new = moved(manager, log)
    assert (new.log_start_offset, new.segments[0].base_offset, content(new)) == (18, 16, before)


def test_a_copy_begins_anew_where_its_end_has_been_deleted() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    write(log, 0, 20)
    move = Move(manager, log, other(log), 0)
    move.copy(0)
    write(log, 20, 60)
    log.delete_records(70)
    while not move.copy(0):
        pass
    new = move.finish(0, 0)
    assert (new.log_start_offset, content(new)[0][0], new.log_end_offset) == (70, 70, 80)


def test_an_empty_log_moves_with_its_end() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    write(log, 0, 20)
    log.delete_records(20)
    new = moved(manager, log)
    assert (new.log_start_offset, new.log_end_offset) == (20, 20)
    write(new, 20, 1)
    assert content(new)[0][0] == 20


def test_producers_are_known_in_the_new_place() -> None:
    manager = managed(directories(SimDisk()))
    log = log_in(manager)
    write(log, 0, 3, producer_id=7, producer_epoch=0, base_sequence=0)
    new = moved(manager, log)
    assert [(p.producer_id, p.last_sequence) for p in new.active_producers()] == [
        (p.producer_id, p.last_sequence) for p in log.active_producers()
    ]


def test_an_abandoned_copy_leaves_nothing_behind() -> None:
    disk = directories(SimDisk())
    manager = managed(disk)
    log = log_in(manager)
    write(log, 0, 20)
    before, target = content(log), other(log)
    move = Move(manager, log, target, 0)
    move.copy(0)
    move.abandon()
    assert content(log) == before
    assert not [name for name in disk.listdir(target) if name.startswith("t-0")]


def test_a_move_that_fails_at_its_end_leaves_one_log() -> None:
    disk = directories(SimDisk())
    manager = managed(disk)
    log = log_in(manager)
    write(log, 0, 20)
    before, target = content(log), other(log)
    move = Move(manager, log, target, 0)
    while not move.copy(0):
        pass
    disk.fail("list", f"{target}/t-0", times=1)
    with pytest.raises(StorageError):
        move.finish(0, 0)
    move.abandon()
    assert manager.get("t", 0) is log
    assert content(log) == before
    assert not [name for name in disk.listdir(target) if name.startswith("t-0")]


def test_the_copy_of_a_dead_process_is_removed_at_the_start() -> None:
    disk = directories(SimDisk())
    manager = managed(disk)
    log = log_in(manager)
    write(log, 0, 20)
    log.flush()
    before, target = content(log), other(log)
    Move(manager, log, target, 0).copy(0)
    disk.kill()
    again = managed(disk)
    assert content(log_in(again)) == before
    assert [path for _, path in again.doomed if str(path).endswith("-future")]


@pytest.mark.parametrize("seed", range(2))
def test_the_power_may_go_at_any_operation_of_a_move(seed: int) -> None:
    rng = Random(seed)

    def prepared() -> tuple[FailingPower, LogManager, Log]:
        disk = FailingPower()
        directories(disk)
        manager = managed(disk)
        log = log_in(manager)
        write(log, 0, 40)
        log.flush()
        return disk, manager, log

    disk, manager, log = prepared()
    disk.left = 10**9
    moved(manager, log)
    total = 10**9 - disk.left
    doubled = 0
    for left in range(total):
        disk, manager, log = prepared()
        before = content(log)
        disk.left = left
        with contextlib.suppress(StorageError):
            moved(manager, log)
        disk.left = None
        disk.crash(rng)
        try:
            again = managed(disk)
        except DuplicateLog:
            # Between the two renames: both have everything, and one of them is removed by hand.
            doubled += 1
            disk.kill()
            disk.rmtree(f"{A if rng.randrange(2) else B}/t-0")
            again = managed(disk)
        assert content(log_in(again)) == before, left
    assert doubled < total / 2
