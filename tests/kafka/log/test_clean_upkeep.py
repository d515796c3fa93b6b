"""Retention of compacted logs, and flushes and expiry by the clock."""

from tests.kafka.log.clean_kit import COMPACT, HOUR_MS, clean, compacted, put, roll, rows
from tests.kafka.log.kit import NOW_MS, TOPIC_ID, disk_with, end_transaction, segments

from riverport.kafka.log.upkeep import Upkeep


def test_a_log_that_is_compacted_and_deleted_loses_old_segments_in_the_cleaners_turn() -> None:
    manager, log = compacted(disk_with(), delete=True, retention_ms=HOUR_MS)
    put(log, "a", "1", now_ms=NOW_MS - 2 * HOUR_MS)
    roll(log)
    put(log, "b", "1")
    upkeep = Upkeep(manager)
    assert upkeep.apply_retention(NOW_MS, compacted=False) == 0
    assert upkeep.apply_retention(NOW_MS, compacted=True) == 1
    assert (rows(log), log.log_start_offset) == ([(1, "b", "1")], 1)


def test_a_log_that_is_only_compacted_keeps_old_segments_but_for_deleted_records() -> None:
    manager, log = compacted(disk_with(), retention_ms=HOUR_MS, retention_bytes=0)
    for n in range(3):
        put(log, f"k{n}", "v", now_ms=NOW_MS - 2 * HOUR_MS)
        roll(log)
    upkeep = Upkeep(manager)
    assert upkeep.apply_retention(NOW_MS, compacted=True) == 0
    log.delete_records(2)
    assert upkeep.apply_retention(NOW_MS, compacted=True) == 2
    assert rows(log) == [(2, "k2", "v")]


def test_a_log_that_is_being_cleaned_is_left_alone() -> None:
    manager, log = compacted(disk_with(), delete=True, retention_bytes=0)
    put(log, "a", "1")
    roll(log)
    log.is_being_cleaned = True
    assert Upkeep(manager).apply_retention(NOW_MS, compacted=True) == 0
    log.is_being_cleaned = False
    assert Upkeep(manager).apply_retention(NOW_MS, compacted=True) == 1


def test_segments_that_became_empty_do_not_hold_up_retention() -> None:
    manager, log = compacted(disk_with(), delete=True, retention_ms=HOUR_MS)
    for n in range(40):
        put(log, "k", f"{n}", now_ms=NOW_MS - 2 * HOUR_MS)
    roll(log)
    clean(manager)
    assert log.segments[0].size == 0
    put(log, "new", "v")
    # An empty segment has no record to tell its age; it is as old as its file.
    for segment in log.segments:
        segment.created_ms = NOW_MS - 2 * HOUR_MS
    Upkeep(manager).apply_retention(NOW_MS, compacted=True)
    assert segments(log) == [40]
    assert log.log_start_offset == 40


def test_rolled_segments_are_flushed_and_the_active_one_is_not() -> None:
    manager, log = compacted(disk_with())
    upkeep = Upkeep(manager)
    put(log, "a", "1")
    assert upkeep.flush_rolled() == []
    roll(log)
    put(log, "b", "1")
    (job,) = upkeep.flush_rolled()
    job.run()
    job.finish()
    assert log.recovery_point == 1
    assert upkeep.flush_rolled() == []


def test_a_rolled_segment_that_cannot_be_flushed_takes_its_directory_offline() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    put(log, "a", "1")
    roll(log)
    disk.fail("sync", "*.log")
    (job,) = Upkeep(manager).flush_rolled()
    try:
        job.run()
    except Exception as error:
        job.fail(error)
    assert log.failed is not None
    assert log.recovery_point == 0


def test_a_log_is_due_for_a_flush_once_in_its_interval() -> None:
    manager, log = compacted(disk_with(), flush_ms=1000)
    upkeep = Upkeep(manager)
    assert upkeep.due_flushes(NOW_MS + 5000) == []  # there is nothing to flush
    put(log, "a", "1")
    assert upkeep.due_flushes(NOW_MS + 999) == []
    assert upkeep.due_flushes(NOW_MS + 1000) == [log]
    assert upkeep.due_flushes(NOW_MS + 1999) == []
    assert upkeep.due_flushes(NOW_MS + 2000) == [log]
    log.flush()
    assert upkeep.due_flushes(NOW_MS + 9000) == []


def test_idle_producers_are_forgotten_but_not_in_an_open_transaction() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    other = manager.get_or_create("t", 1, TOPIC_ID, COMPACT, NOW_MS)
    put(log, "a", "1", producer=(1, 0, 0))
    put(log, "a", "2", producer=(2, 0, 0), now_ms=NOW_MS + 1)
    put(log, "a", "3", producer=(3, 0, 0), transactional=True)
    put(other, "a", "1", producer=(1, 0, 0))
    upkeep = Upkeep(manager)
    upkeep.expire_producers(NOW_MS + 1)
    assert sorted(log.producers.states) == [2, 3]
    assert sorted(other.producers.states) == []
    end_transaction(log, 3, commit=True)
    upkeep.expire_producers(NOW_MS + 1)
    assert sorted(log.producers.states) == [2]
