"""Appending: offsets, duplicates, when a segment is rolled, and what a failed write leaves."""

import errno

import pytest
from tests.kafka.log.kit import (
    DIR,
    NOW_MS,
    SMALL,
    append,
    batch,
    disk_with,
    end_transaction,
    filled,
    log_path,
    open_at,
    replace,
    segments,
    values,
)

from riverport.base.files import StorageError
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.wire.errors import ApiError, ErrorCode

HOUR_MS = 3_600_000


def new_log(config: LogConfig = SMALL) -> Log:
    return open_at(disk_with(), DIR, config, clean=True)


def refused(code: ErrorCode, log: Log, **options: object) -> None:
    end, size = log.log_end_offset, log.size
    with pytest.raises(ApiError) as raised:
        append(log, **options)  # type: ignore[arg-type]
    assert raised.value.code is code
    assert (log.log_end_offset, log.size) == (end, size)


def test_records_get_the_next_offsets() -> None:
    log = new_log()
    assert [append(log, b"a", b"b"), append(log, b"c"), append(log, b"d", b"e", b"f")] == [0, 2, 3]
    assert values(log) == dict(enumerate([b"a", b"b", b"c", b"d", b"e", b"f"]))
    assert (log.log_start_offset, log.log_end_offset) == (0, 6)


def test_a_batch_sent_again_is_not_written_again() -> None:
    log = new_log()
    for sequence in range(7):
        append(log, b"%d" % sequence, producer=(5, 0, sequence))
    again = log.append_as_leader(batch(b"3", producer=(5, 0, 3)), 0, NOW_MS)
    assert (again.duplicate, again.first_offset, log.log_end_offset) == (True, 3, 7)


def test_a_gap_in_a_producers_sequence_is_refused() -> None:
    log = new_log()
    append(log, producer=(5, 0, 0))
    refused(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, log, producer=(5, 0, 2))


def test_an_older_epoch_of_a_producer_is_refused() -> None:
    log = new_log()
    append(log, producer=(5, 3, 0))
    refused(ErrorCode.INVALID_PRODUCER_EPOCH, log, producer=(5, 2, 1))
    append(log, producer=(5, 4, 0))


def test_an_older_coordinator_may_not_end_a_transaction() -> None:
    log = new_log()
    append(log, producer=(5, 0, 0), transactional=True)
    end_transaction(log, 5, commit=True, coordinator_epoch=4)
    with pytest.raises(ApiError) as raised:
        end_transaction(log, 5, commit=True, coordinator_epoch=3)
    assert raised.value.code is ErrorCode.TRANSACTION_COORDINATOR_FENCED


def test_a_segment_is_rolled_before_it_would_become_too_large() -> None:
    log = filled(disk_with())
    assert len(log.segments) == 3
    for segment in log.segments:
        assert 0 < segment.size <= SMALL.segment_bytes
    assert segments(log)[0] == 0
    assert values(log) == {n: b"%d" % n for n in range(60)}


def test_a_batch_larger_than_a_segment_gets_one_of_its_own() -> None:
    log = new_log()
    append(log, b"small")
    append(log, b"x" * 3_000)
    append(log, b"small")
    assert segments(log) == [0, 1, 2]


def test_a_segment_is_rolled_when_its_first_batch_is_too_old() -> None:
    log = new_log(replace(SMALL, segment_ms=HOUR_MS))
    append(log, timestamp=NOW_MS)
    append(log, timestamp=NOW_MS + HOUR_MS)
    assert segments(log) == [0]
    append(log, timestamp=NOW_MS + HOUR_MS + 1, now_ms=NOW_MS + 1)
    assert segments(log) == [0, 2]


def test_a_segment_without_times_is_as_old_as_its_file() -> None:
    log = new_log(replace(SMALL, segment_ms=HOUR_MS))
    append(log, timestamp=-1)
    append(log, timestamp=-1, now_ms=NOW_MS + HOUR_MS)
    assert segments(log) == [0]
    append(log, timestamp=-1, now_ms=NOW_MS + HOUR_MS + 1)
    assert segments(log) == [0, 2]


def test_logs_made_together_do_not_all_roll_together() -> None:
    config = replace(SMALL, segment_ms=HOUR_MS, segment_jitter_ms=HOUR_MS // 2)
    rolled_at = set()
    for partition in range(8):
        log = open_at(disk_with(), f"/data/t-{partition}", config, clean=True)
        append(log, timestamp=NOW_MS)
        age = HOUR_MS // 2
        while len(log.segments) == 1:
            age += HOUR_MS // 20
            append(log, b"", timestamp=NOW_MS + age)
        assert age <= HOUR_MS + HOUR_MS // 20
        rolled_at.add(age)
    assert len(rolled_at) > 2


def test_a_compacted_log_is_rolled_when_it_must_be_compacted() -> None:
    log = new_log(replace(SMALL, compact=True, max_compaction_lag_ms=1_000))
    append(log, timestamp=NOW_MS)
    append(log, timestamp=NOW_MS + 1_001)
    assert segments(log) == [0, 1]


@pytest.mark.parametrize(("index_bytes", "entries"), [(40, 3), (120, 10)])
def test_a_segment_is_rolled_when_its_indexes_are_full(index_bytes: int, entries: int) -> None:
    """12 bytes for each time, of which the last is kept for the roll; 8 for each offset."""
    log = new_log(replace(SMALL, segment_bytes=10**6, index_interval_bytes=0, segment_index_bytes=index_bytes))
    for n in range(60):
        append(log, b"x", timestamp=NOW_MS + n)
    assert len(log.segments) > 1
    for segment in log.segments[:-1]:
        assert max(len(segment.offset_index) * 8, len(segment.time_index) * 12) <= index_bytes
        assert entries - 2 <= len(segment.time_index) <= entries


def test_offsets_that_a_segment_cannot_hold_roll_it() -> None:
    log = new_log()
    append(log)
    far = batch(b"far")
    far[0:8] = (2**31).to_bytes(8, "big")
    log.append_as_follower(far, NOW_MS)
    assert segments(log) == [0, 1]
    assert (log.log_end_offset, log.active.base_offset) == (2**31 + 1, 1)


def test_an_offset_that_is_taken_is_refused_from_a_leader() -> None:
    log = new_log()
    append(log)
    with pytest.raises(ApiError) as raised:
        log.append_as_follower(batch(), NOW_MS)
    assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_a_damaged_batch_of_a_leader_is_not_written() -> None:
    log = new_log()
    damaged = batch(b"abc")
    damaged[-1] ^= 1
    with pytest.raises(ApiError) as raised:
        log.append_as_follower(damaged, NOW_MS)
    assert raised.value.code is ErrorCode.CORRUPT_MESSAGE
    assert log.size == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_changes_nothing(number: int) -> None:
    disk = disk_with()
    log = filled(disk, 3)
    before = values(log)
    disk.fail("write", log_path(0), number, times=1)
    with pytest.raises(StorageError) as raised:
        append(log, producer=(5, 0, 0))
    assert raised.value.errno == number
    assert (values(log), log.log_end_offset, len(log.producers.states)) == (before, 6, 0)
    append(log, b"6", producer=(5, 0, 0))
    assert values(log) == before | {6: b"6"}


def test_a_log_of_a_lost_directory_refuses_everything() -> None:
    log = filled(disk_with(), 3)
    log.failed = StorageError("write", DIR, errno.EIO)
    refused(ErrorCode.KAFKA_STORAGE_ERROR, log)


def test_an_empty_log_has_nothing_to_drop() -> None:
    log = new_log(replace(SMALL, retention_ms=1, retention_bytes=0))
    assert drop_old_segments(log, NOW_MS + HOUR_MS) == 0
    assert segments(log) == [0]
