"""Which log is cleaned next, and how far."""

import pytest
from tests.kafka.log.clean_kit import COMPACT, HOUR_MS, clean, cleaner_of, compacted, put, put_all, roll, rows, run
from tests.kafka.log.kit import NOW_MS, TOPIC_ID, disk_with, log_path, replace

from riverport.kafka.log import Log
from riverport.kafka.log.cleanable import cleanable_part
from riverport.kafka.log.cleaner import CleanerLimits
from riverport.kafka.records.builder import NewRecord


def part_of(log: Log, now_ms: int = NOW_MS) -> tuple[int, int, bool]:
    part = cleanable_part(log, now_ms)
    return part.first_dirty, part.first_uncleanable, part.is_due


def test_a_log_with_only_its_active_segment_is_not_due() -> None:
    _, log = compacted(disk_with())
    put(log, "a", "1")
    assert part_of(log) == (0, 0, False)


def test_everything_behind_the_active_segment_is_dirty_at_first_and_nothing_afterwards() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    roll(log)
    put(log, "a", "2")
    assert part_of(log) == (0, 1, True)
    clean(manager)
    assert part_of(log) == (1, 1, False)


@pytest.mark.parametrize(("ratio", "due"), [(0.3, True), (0.5, False), (0.7, False)])
def test_a_log_is_due_once_its_dirty_share_exceeds_the_ratio(ratio: float, due: bool) -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    roll(log)
    clean(manager)
    put(log, "b", "1")
    roll(log)
    log.update_config(replace(log.config, min_cleanable_dirty_ratio=ratio))
    assert cleanable_part(log, NOW_MS).ratio == 0.5
    assert part_of(log)[2] is due


def test_the_dirtiest_log_comes_first() -> None:
    disk = disk_with()
    manager, first = compacted(disk)
    second = manager.get_or_create("t", 1, TOPIC_ID, COMPACT, NOW_MS)
    for log in (first, second):
        put(log, "a", "1")
        roll(log)
    clean(manager)
    clean(manager)
    put(first, "b", "1")
    put(second, "b", "1", "2", "3")
    roll(first)
    roll(second)
    clean(manager)
    assert (first.cleaned_to, second.cleaned_to) == (1, 4)


def test_two_workers_take_two_logs() -> None:
    disk = disk_with()
    manager, first = compacted(disk)
    second = manager.get_or_create("t", 1, TOPIC_ID, COMPACT, NOW_MS)
    for log in (first, second):
        put(log, "a", "1", "2")
        roll(log)
    cleaner = cleaner_of(manager)
    one = cleaner.clean_dirtiest(NOW_MS)
    assert one is not None
    next(one).run()
    two = cleaner.clean_dirtiest(NOW_MS)
    assert two is not None
    next(two).run()
    assert cleaner.clean_dirtiest(NOW_MS) is None
    run(one)
    run(two)
    assert rows(first) == rows(second) == [(1, "a", "2")]
    assert not first.is_being_cleaned
    assert cleaner.clean_dirtiest(NOW_MS) is None


def test_logs_that_are_not_compacted_are_left_alone() -> None:
    manager, log = compacted(disk_with(), compact=False, delete=True)
    put(log, "a", "1", "2")
    roll(log)
    clean(manager)
    assert len(rows(log)) == 2


# --- compaction lag


def test_segments_with_a_record_younger_than_the_least_lag_wait() -> None:
    manager, log = compacted(disk_with(), min_compaction_lag_ms=HOUR_MS)
    put(log, "a", "1", now_ms=NOW_MS - 2 * HOUR_MS)
    put(log, "a", "2", now_ms=NOW_MS - 2 * HOUR_MS)
    roll(log)
    put(log, "a", "3", now_ms=NOW_MS - HOUR_MS + 1)
    put(log, "a", "4", now_ms=NOW_MS - 2 * HOUR_MS)
    roll(log)
    assert part_of(log, NOW_MS) == (0, 2, True)
    clean(manager, NOW_MS)
    assert [offset for offset, _, _ in rows(log)] == [1, 2, 3]
    clean(manager, NOW_MS + 1)
    assert [offset for offset, _, _ in rows(log)] == [3]


@pytest.mark.parametrize(("age_ms", "due"), [(HOUR_MS, False), (HOUR_MS + 1, True)])
def test_a_dirty_batch_older_than_the_greatest_lag_makes_its_log_due(age_ms: int, due: bool) -> None:
    _, log = compacted(disk_with(), min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=HOUR_MS)
    put(log, "a", "1", now_ms=NOW_MS - age_ms)
    roll(log)
    assert part_of(log) == (0, 1, due)


def test_an_active_segment_older_than_the_greatest_lag_is_rolled_by_the_next_record() -> None:
    _, log = compacted(disk_with(), max_compaction_lag_ms=HOUR_MS)
    put(log, "a", "1", now_ms=NOW_MS)
    put(log, "a", "2", now_ms=NOW_MS + HOUR_MS)
    assert len(log.segments) == 1
    put(log, "a", "3", now_ms=NOW_MS + HOUR_MS + 1)
    assert len(log.segments) == 2


# --- how far it was cleaned


def test_deleted_records_count_as_clean() -> None:
    _, log = compacted(disk_with(), delete=True)
    for n in range(5):
        put(log, "a", f"{n}")
    roll(log)
    log.delete_records(3)
    assert part_of(log) == (3, 5, True)
    log.cleaned_to = 1
    assert part_of(log) == (3, 5, True)


def test_a_log_that_was_cleaned_further_than_it_reaches_is_cleaned_anew() -> None:
    _, log = compacted(disk_with())
    put(log, "a", "1")
    roll(log)
    log.cleaned_to = 99
    assert part_of(log) == (0, 1, True)
    assert log.cleaned_to == 0


def test_a_cut_takes_back_how_far_the_log_is_clean() -> None:
    manager, log = compacted(disk_with())
    for n in range(5):
        put(log, f"k{n}", "v")
    roll(log)
    clean(manager)
    log.truncate_to(2)
    put(log, "a", "1")
    roll(log)
    assert part_of(log) == (2, 3, True)


# --- what cannot be cleaned


def damage(log: Log) -> None:
    raw = log.files.read(log_path(0))
    log.files.write(log_path(0), raw[:70] + bytes([raw[70] ^ 1]) + raw[71:])
    log.segments[0].release()


def test_a_damaged_log_is_left_alone_and_the_others_go_on() -> None:
    disk = disk_with()
    manager, bad = compacted(disk)
    good = manager.get_or_create("t", 1, TOPIC_ID, COMPACT, NOW_MS)
    put(bad, "a", "1", "2", "3")
    put(good, "a", "1", "2")
    roll(bad)
    roll(good)
    damage(bad)
    cleaner = cleaner_of(manager)
    for _ in range(2):
        steps = cleaner.clean_dirtiest(NOW_MS)
        assert steps is not None
        run(steps)
    assert cleaner.clean_dirtiest(NOW_MS) is None
    assert list(cleaner.uncleanable) == [bad]
    assert "checksum" in cleaner.uncleanable[bad]
    assert bad.failed is None
    assert rows(good) == [(1, "a", "2")]
    assert not [name for name in disk.listdir(bad.dir) if name.endswith((".cleaned", ".swap", ".deleted"))]


def test_a_batch_with_more_keys_than_there_is_memory_for_makes_its_log_uncleanable() -> None:
    manager, log = compacted(disk_with(), segment_bytes=10_000)
    put_all(log, [NewRecord(b"%d" % n, b"v") for n in range(20)])
    roll(log)
    cleaner = clean(manager, limits=CleanerLimits(dedupe_buffer_bytes=24 * 10))
    assert "log.cleaner.dedupe.buffer.size" in cleaner.uncleanable[log]
    assert len(rows(log)) == 20


def test_a_log_that_was_deleted_is_no_longer_uncleanable() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    put(log, "a", "1", "2", "3")
    roll(log)
    damage(log)
    cleaner = clean(manager)
    assert list(cleaner.uncleanable) == [log]
    manager.delete("t", 0, 0)
    assert cleaner.clean_dirtiest(NOW_MS) is None
    assert cleaner.uncleanable == {}
