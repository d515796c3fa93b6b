"""Reading: from any offset, within any limit, as far as the reader may see."""

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
    open_at,
    replace,
    values,
)

from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.wire.errors import ApiError, ErrorCode


def first_header(log: Log, offset: int, max_bytes: int = 10**6, *, min_one: bool = True) -> tuple[int, int]:
    read = log.read(offset, max_bytes, isolation=Isolation.HIGH_WATERMARK, min_one=min_one)
    header = next(iter_headers(read.records))
    return header.base_offset, header.last_offset


def test_every_offset_is_found_in_every_segment() -> None:
    log = filled(disk_with(), 60)
    for offset in range(120):
        base, last = first_header(log, offset)
        assert base <= offset <= last
        assert values(log, offset) == {n: b"%d" % n for n in range(offset, 120)}


def test_an_offset_that_compaction_took_leads_to_the_next() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    for base in (10, 20, 300):
        later = batch(b"%d" % base)
        later[0:8] = base.to_bytes(8, "big")
        log.append_as_follower(later, NOW_MS)
    log.update_high_watermark(log.log_end_offset)
    assert [first_header(log, offset)[0] for offset in (0, 10, 11, 299, 300)] == [10, 10, 20, 300, 300]


def test_offsets_outside_the_log_are_out_of_range() -> None:
    log = filled(disk_with(), 20)
    log.delete_records(7)
    for offset in (-1, 6, 41):
        with pytest.raises(ApiError) as raised:
            log.read(offset, 100, isolation=Isolation.LOG_END, min_one=True)
        assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    assert log.read(40, 100, isolation=Isolation.LOG_END, min_one=True).records == b""
    assert values(log) == {n: b"%d" % n for n in range(7, 40)}


def test_as_many_bytes_as_asked_for_and_no_more() -> None:
    log = filled(disk_with(), 20)
    size = log.segments[0].size // len(list(log.segments[0].headers()))
    for limit in (1, size - 1, size, size + 1, 3 * size + 5):
        records = log.read(0, limit, isolation=Isolation.LOG_END, min_one=False).records
        assert len(records) == limit
    assert len(log.read(0, 10**9, isolation=Isolation.LOG_END, min_one=False).records) == log.segments[0].size


def test_a_first_batch_larger_than_the_limit_is_whole_where_asked_for() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    append(log, b"x" * 5_000)
    append(log, b"y")
    read = log.read(0, 100, isolation=Isolation.HIGH_WATERMARK, min_one=True)
    assert [header.base_offset for header in iter_headers(read.records)] == [0]
    assert log.read(0, 0, isolation=Isolation.HIGH_WATERMARK, min_one=False).records == b""


def test_nothing_above_the_high_watermark_is_seen() -> None:
    log = filled(disk_with(), 30)
    for mark in (0, 1, 2, 31, 32, 60):
        log.update_high_watermark(mark)
        seen = values(log, 0)
        assert max(seen, default=-1) < mark
        assert set(range(mark - mark % 2)) <= set(seen)
    assert len(log.read(0, 10**6, isolation=Isolation.LOG_END, min_one=True).records) > 0


def test_an_open_transaction_hides_what_follows_it() -> None:
    log = open_at(disk_with(), DIR, SMALL, clean=True)
    append(log, b"0")
    append(log, b"1", producer=(7, 0, 0), transactional=True)
    append(log, b"2")
    assert log.last_stable_offset == 1
    assert values(log, isolation=Isolation.LAST_STABLE) == {0: b"0"}
    assert set(values(log)) == {0, 1, 2}
    end_transaction(log, 7, commit=True)
    assert log.last_stable_offset == 4
    assert set(values(log, isolation=Isolation.LAST_STABLE)) == {0, 1, 2}


def test_aborted_transactions_are_named_to_those_who_ask() -> None:
    log = open_at(disk_with(), DIR, replace(SMALL, segment_bytes=200), clean=True)
    for producer, commit in ((1, False), (2, True), (3, False)):
        append(log, b"a", producer=(producer, 0, 0), transactional=True)
        append(log, b"b", producer=(producer, 0, 1), transactional=True)
        end_transaction(log, producer, commit=commit)
    found = set()
    offset = 0
    while offset < log.log_end_offset:
        read = log.read(offset, 10**6, isolation=Isolation.LAST_STABLE, min_one=True)
        found |= set(read.aborted or ())
        offset = list(iter_headers(read.records))[-1].next_offset
    assert found == {(1, 0), (3, 6)}
    assert log.read(0, 100, isolation=Isolation.HIGH_WATERMARK, min_one=True).aborted is None


def test_a_dropped_segment_can_be_read_to_its_end() -> None:
    log = filled(disk_with(), 30)
    first = log.segments[0]
    content = first.file.pread(first.size, 0)
    log.drop_segments([first])
    assert first.file.pread(first.size, 0) == content
    first.release()
    assert first.file.pread(first.size, 0) == content
