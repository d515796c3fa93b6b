"""Cutting a log at either end: truncation, retention, deletion of records."""

from random import Random

import pytest
from tests.kafka.log.kit import (
    DIR,
    NOW_MS,
    SMALL,
    append,
    batch,
    disk_with,
    filled,
    names,
    open_at,
    reopened,
    replace,
    segments,
    values,
)

from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.wire.errors import ApiError, ErrorCode

HOUR_MS = 3_600_000


@pytest.mark.parametrize("offset", [0, 1, 2, 25, 26, 27, 58, 59, 60, 99])
def test_what_is_left_of_a_truncated_log_ends_on_a_batch(offset: int) -> None:
    log = filled(disk_with())
    log.truncate_to(offset)
    end = min(offset - offset % 2, 60)
    assert (log.log_end_offset, log.high_watermark) == (end, end)
    assert values(log) == {n: b"%d" % n for n in range(end)}
    assert append(log, b"new") == end
    assert reopened(log).log_end_offset == end + 1


def test_a_truncated_log_forgets_its_producers_as_far() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    for sequence in range(20):
        append(log, b"v" * 90, producer=(1, 0, sequence))
    log.truncate_to(12)
    assert log.producers.states[1].last_sequence == 11
    append(log, b"v", producer=(1, 0, 12))


def test_a_batch_that_holds_the_log_start_may_be_cut() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    append(log, b"0")
    append(log, b"1", b"2", b"3", b"4")
    log.delete_records(3)
    log.truncate_to(4)
    assert (log.log_start_offset, log.log_end_offset) == (1, 1)


def test_a_log_begun_anew_has_nothing_of_the_old_one() -> None:
    disk = disk_with()
    log = filled(disk)
    append(log, producer=(1, 0, 0))
    log.truncate_fully_and_start_at(1_000, NOW_MS)
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (1_000, 1_000, 1_000)
    assert (segments(log), log.size, log.producers.states, log.leader_epochs.entries) == ([1_000], 0, {}, [])
    assert append(log, b"new") == 1_000
    again = reopened(log)
    assert (again.log_start_offset, values(again)) == (1_000, {1_000: b"new"})


def test_a_truncation_is_on_the_disk_with_the_next_flush() -> None:
    for seed in range(40):
        disk = disk_with()
        log = filled(disk)
        log.flush()
        log.truncate_to(31)
        append(log, b"other")
        log.flush()
        disk.crash(Random(seed))
        again = open_at(disk, recovery_point=log.recovery_point)
        assert values(again) == {n: b"%d" % n for n in range(30)} | {30: b"other"}


def test_segments_older_than_the_retention_time_go() -> None:
    log = filled(disk_with(), 30, replace(SMALL, retention_ms=HOUR_MS))
    last_times = [segment.read_max_timestamp() for segment in log.segments]
    assert drop_old_segments(log, last_times[0] + HOUR_MS) == 0
    assert drop_old_segments(log, last_times[0] + HOUR_MS + 1) == 1
    assert log.log_start_offset == segments(log)[0] > 0
    assert drop_old_segments(log, last_times[-1] + HOUR_MS + 1) == len(last_times) - 1
    assert (log.log_start_offset, log.log_end_offset, log.size) == (60, 60, 0)
    assert append(log, b"new") == 60


def test_segments_beyond_the_retention_size_go() -> None:
    log = filled(disk_with(), 60, replace(SMALL, retention_bytes=2_000))
    sizes = [segment.size for segment in log.segments]
    drop_old_segments(log, NOW_MS)
    kept = [segment.size for segment in log.segments]
    assert sizes[-len(kept) :] == kept
    assert sum(kept) >= 2_000 > sum(kept[1:])


@pytest.mark.parametrize("config", [LogConfig(retention_ms=-1), LogConfig(compact=True, delete=False, retention_ms=1)])
def test_a_log_that_keeps_everything_drops_nothing(config: LogConfig) -> None:
    log = filled(disk_with(), 30, replace(config, segment_bytes=1_000))
    assert drop_old_segments(log, NOW_MS + 10**12) == 0


def test_nothing_above_the_high_watermark_is_dropped() -> None:
    log = filled(disk_with(), 30, replace(SMALL, retention_ms=0))
    second = segments(log)[1]
    log.update_high_watermark(second + 1)
    drop_old_segments(log, NOW_MS + HOUR_MS)
    assert log.log_start_offset == second


def test_a_dropped_segment_leaves_by_name_at_once_and_with_its_snapshot() -> None:
    disk = disk_with()
    log = filled(disk, 30, replace(SMALL, retention_bytes=0))
    second = segments(log)[1]
    drop_old_segments(log, NOW_MS)
    live = [name for name in names(disk) if not name.endswith((".deleted", "metadata", "checkpoint"))]
    assert {int(name[:20]) for name in live} == {60}
    assert f"{second:020d}.log.deleted" in names(disk)
    for segment in log.take_dropped():
        segment.remove_files()
    assert not [name for name in names(disk) if name.endswith(".deleted")]


def test_deleted_records_are_gone_and_their_segments_follow() -> None:
    log = filled(disk_with())
    second = segments(log)[1]
    log.delete_records(second + 1)
    assert values(log) == {n: b"%d" % n for n in range(second + 1, 60)}
    assert segments(log)[0] == 0
    assert drop_old_segments(log, NOW_MS) == 1
    assert (segments(log)[0], log.log_start_offset) == (second, second + 1)
    log.delete_records(5)
    assert log.log_start_offset == second + 1


def test_records_above_the_high_watermark_cannot_be_deleted() -> None:
    log = filled(disk_with())
    with pytest.raises(ApiError) as raised:
        log.delete_records(61)
    assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    log.delete_records(60)
    assert (log.log_start_offset, values(log)) == (60, {})


def test_records_appended_after_a_deletion_are_flushed_with_the_names_of_their_files() -> None:
    for seed in range(40):
        disk = disk_with()
        log = open_at(disk, DIR, SMALL, clean=True)
        append(log, b"0")
        log.flush()
        for n in range(1, 30):
            append(log, b"%d" % n, b"x" * 50)
        log.delete_records(log.active.base_offset + 1)
        log.flush()
        flushed = values(log)
        disk.crash(Random(seed))
        again = open_at(disk, recovery_point=log.recovery_point, log_start=log.log_start_offset)
        assert again.log_end_offset == log.log_end_offset
        assert values(again) == flushed


def test_a_log_whose_start_is_behind_its_end_is_begun_there() -> None:
    """Deleted up to its end, then cut by a power cut: the offsets of what was deleted are not given again."""
    disk = disk_with()
    log = filled(disk)
    log.delete_records(60)
    disk.open(log.active.path).truncate(0)
    disk.kill()
    again = open_at(disk, log_start=60)
    assert (again.log_start_offset, again.log_end_offset) == (60, 60)


def test_offsets_with_holes_are_kept_by_truncation() -> None:
    log: Log = open_at(disk_with(), DIR, SMALL, clean=True)
    for base in (0, 10, 20):
        sparse = batch(b"%d" % base)
        sparse[0:8] = base.to_bytes(8, "big")
        log.append_as_follower(sparse, NOW_MS)
    log.truncate_to(15)
    assert log.log_end_offset == 11
