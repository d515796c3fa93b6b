"""Which records a cleaning keeps, and what becomes of their batches, segments and indexes."""

import pytest
from tests.kafka.log.clean_kit import (
    COMPACT,
    HOUR_MS,
    LIMITS,
    batches,
    clean,
    compacted,
    put,
    put_all,
    records,
    roll,
    rows,
)
from tests.kafka.log.kit import (
    DIR,
    NOW_MS,
    disk_with,
    log_path,
    manager_of,
    reopened,
    replace,
    segments,
    write_metadata,
)

from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError

DAY_MS = 24 * HOUR_MS


def found_through_indexes(log: Log) -> bool:
    """Whether a read from each kept record's offset begins with its batch, in every segment."""
    for header, kept in batches(log):
        for record in kept:
            read = log.read(record.offset, 1, isolation=Isolation.HIGH_WATERMARK, min_one=True)
            if int.from_bytes(bytes(read.records[:8]), "big") != header.base_offset:
                return False
    return True


def test_the_last_record_of_each_key_stays_where_it_is() -> None:
    manager, log = compacted(disk_with())
    for n in range(60):
        put(log, f"k{n % 7}", f"{n}")
    roll(log)
    clean(manager)
    assert rows(log) == [(n, f"k{n % 7}", f"{n}") for n in range(53, 60)]
    assert log.cleaned_to == 60
    assert (log.log_start_offset, log.log_end_offset) == (0, 60)


def test_the_active_segment_is_not_touched() -> None:
    manager, log = compacted(disk_with())
    put(log, "k", "old")
    roll(log)
    put(log, "k", "new")
    put(log, "k", "newer")
    clean(manager)
    # Keys of the active segment are not known to the cleaner: the older record is the last one behind it.
    assert rows(log) == [(0, "k", "old"), (1, "k", "new"), (2, "k", "newer")]


def test_a_later_record_in_another_segment_replaces_one_of_a_segment_that_was_clean() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    put(log, "b", "1")
    roll(log)
    clean(manager)
    put(log, "a", "2")
    roll(log)
    clean(manager)
    assert rows(log) == [(1, "b", "1"), (2, "a", "2")]


def test_records_of_one_batch_are_replaced_by_later_ones_of_it() -> None:
    manager, log = compacted(disk_with())
    put_all(log, [NewRecord(b"a", b"1"), NewRecord(b"b", b"1"), NewRecord(b"a", b"2")])
    roll(log)
    clean(manager)
    assert rows(log) == [(1, "b", "1"), (2, "a", "2")]
    header = batches(log)[0][0]
    assert (header.base_offset, header.last_offset, header.count) == (0, 2, 2)


def test_an_untouched_batch_stays_byte_for_byte() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1", codec=Codec.ZSTD)
    roll(log)
    before = log.segments[0].file.pread(10_000, 0)
    clean(manager)
    assert log.segments[0].file.pread(10_000, 0) == before


@pytest.mark.parametrize("codec", list(Codec))
def test_a_rebuilt_batch_keeps_its_codec_its_timestamps_and_headers(codec: Codec) -> None:
    manager, log = compacted(disk_with())
    written = [NewRecord(b"%d" % (n % 3), b"value %d" % n * 20, (("h", b"%d" % n),), NOW_MS + n) for n in range(6)]
    put_all(log, written, codec=codec)
    roll(log)
    clean(manager)
    ((header, kept),) = batches(log)
    assert header.codec == codec
    assert [(r.offset, r.timestamp, bytes(r.value or b"")) for r in kept] == [
        (n, NOW_MS + n, written[n].value) for n in (3, 4, 5)
    ]
    assert [r.headers[0][0] for r in kept] == ["h", "h", "h"]
    assert [bytes(r.headers[0][1] or b"") for r in kept] == [b"3", b"4", b"5"]
    assert header.max_timestamp == NOW_MS + 5


def test_the_append_time_of_a_rebuilt_batch_stays() -> None:
    manager, log = compacted(disk_with(), message_timestamp_type="LogAppendTime")
    put_all(log, [NewRecord(b"a", b"1"), NewRecord(b"a", b"2")], now_ms=NOW_MS + 77)
    roll(log)
    clean(manager)
    ((header, (record,)),) = batches(log)
    assert header.is_log_append_time
    assert (header.max_timestamp, record.timestamp, record.offset) == (NOW_MS + 77, NOW_MS + 77, 1)


def test_a_client_may_not_write_a_record_without_a_key() -> None:
    _, log = compacted(disk_with())
    with pytest.raises(RecordError):
        put(log, None, "v")
    assert log.log_end_offset == 0


def test_records_without_a_key_from_before_the_topic_was_compacted_go() -> None:
    manager, log = compacted(disk_with(), compact=False, delete=True)
    put(log, None, "v")
    put(log, "k", "v")
    roll(log)
    log.update_config(replace(log.config, compact=True, delete=False))
    clean(manager)
    assert rows(log) == [(1, "k", "v")]


# --- tombstones (KIP-534)


def test_a_tombstone_removes_what_its_key_had_and_stays_until_its_horizon() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1")
    put(log, "a", None)
    roll(log)
    clean(manager, NOW_MS)
    ((header, (tombstone,)),) = batches(log)
    assert (tombstone.offset, tombstone.value, tombstone.timestamp) == (1, None, NOW_MS)
    assert header.has_delete_horizon
    assert header.base_timestamp == NOW_MS + HOUR_MS


def test_the_horizon_is_set_once() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", None)
    roll(log)
    clean(manager, NOW_MS)
    put(log, "b", "1")
    roll(log)
    clean(manager, NOW_MS + HOUR_MS // 2)
    assert batches(log)[0][0].base_timestamp == NOW_MS + HOUR_MS


@pytest.mark.parametrize(("after_ms", "stays"), [(HOUR_MS - 1, True), (HOUR_MS, False)])
def test_a_tombstone_goes_with_the_first_cleaning_at_its_horizon(after_ms: int, stays: bool) -> None:
    manager, log = compacted(disk_with())
    put(log, "a", None)
    roll(log)
    clean(manager, NOW_MS)
    put(log, "b", "1")
    roll(log)
    clean(manager, NOW_MS + after_ms)
    assert [key for _, key, _ in rows(log)] == (["a", "b"] if stays else ["b"])


def test_a_tombstone_replaces_a_tombstone_and_a_value_replaces_both() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", None)
    put(log, "a", None)
    roll(log)
    clean(manager)
    assert rows(log) == [(1, "a", None)]
    put(log, "a", "back")
    roll(log)
    clean(manager, NOW_MS + DAY_MS)
    assert rows(log) == [(2, "a", "back")]


def test_values_beside_a_tombstone_keep_their_timestamps_when_it_goes() -> None:
    manager, log = compacted(disk_with())
    put_all(log, [NewRecord(b"a", b"1", (), NOW_MS + 5), NewRecord(b"b", None, (), NOW_MS + 9)])
    roll(log)
    clean(manager, NOW_MS)
    put(log, "c", "1")
    roll(log)
    clean(manager, NOW_MS + DAY_MS)
    header, (kept,) = batches(log)[0]
    assert (kept.offset, kept.timestamp) == (0, NOW_MS + 5)
    assert (header.has_delete_horizon, header.max_timestamp) == (True, NOW_MS + 5)


# --- batches without records


def test_the_last_batch_of_a_producer_stays_without_its_records() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    put(log, "a", "1", "2", producer=(7, 0, 0))
    put(log, "a", "3")
    put(log, "b", "4")
    roll(log)
    clean(manager)
    header, kept = batches(log)[0]
    assert (header.producer_id, header.base_sequence, header.last_sequence, kept) == (7, 0, 1, [])
    assert (header.base_offset, header.last_offset, header.count) == (0, 1, 0)
    again = reopened(log)
    assert again.producers.states[7].last_sequence == 1
    put(again, "c", "5", producer=(7, 0, 2))


def test_an_earlier_batch_of_a_producer_goes() -> None:
    manager, log = compacted(disk_with())
    for n in range(3):
        put(log, "a", f"{n}", producer=(7, 0, n))
    put(log, "a", "last")
    put(log, "b", "4")
    roll(log)
    clean(manager)
    assert [header.base_offset for header, _ in batches(log)] == [2, 3, 4]


def test_once_a_producer_is_forgotten_its_empty_batch_goes() -> None:
    manager, log = compacted(disk_with())
    put(log, "a", "1", producer=(7, 0, 0))
    put(log, "a", "2")
    put(log, "b", "1")
    roll(log)
    clean(manager)
    log.producers.expire(NOW_MS + 1)
    put(log, "b", "2")
    roll(log)
    clean(manager)
    assert [header.base_offset for header, _ in batches(log)] == [1, 3]


def test_the_last_batch_of_a_cleaning_stays_for_its_offset() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    put(log, "a", None)
    put(log, "b", None)
    roll(log)
    clean(manager, NOW_MS)
    # Both tombstones go, and the batch at the end of what is cleaned stays empty.
    log.cleaned_to = -1
    clean(manager, NOW_MS + DAY_MS)
    assert [(header.base_offset, header.last_offset, header.count) for header, _ in batches(log)] == [(1, 1, 0)]
    assert reopened(log).log_end_offset == 2


# --- segments


def test_small_neighbours_become_one_segment() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    for n in range(40):
        put(log, f"k{n % 2}", f"{n}")
    roll(log)
    clean(manager)
    put(log, "z", "1")
    roll(log)
    clean(manager)
    assert segments(log) == [0, 41]
    assert rows(log) == [(38, "k0", "38"), (39, "k1", "39"), (40, "z", "1")]
    snapshots = [name for name in disk.listdir(log.dir) if name.endswith(".snapshot")]
    assert snapshots == ["00000000000000000041.snapshot"]


def test_a_merged_segment_is_no_larger_than_a_segment_may_be() -> None:
    manager, log = compacted(disk_with())
    for n in range(200):
        put(log, f"k{n}", "x" * (n % 50))
    roll(log)
    for now_ms in (NOW_MS, NOW_MS + 1):
        log.cleaned_to = -1
        clean(manager, now_ms)
    assert len(records(log)) == 200
    assert all(segment.size <= log.config.segment_bytes for segment in log.segments)
    assert found_through_indexes(log)


def test_segments_whose_offsets_lie_too_far_apart_for_one_index_are_not_merged() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    far = 2**31 + 5
    for offset in (0, 7, far, far + 1):
        batch = build_batch([NewRecord(b"%d" % offset, b"v", (), NOW_MS)], base_offset=offset, leader_epoch=0)
        log.append_as_follower(batch, NOW_MS)
    log.update_high_watermark(log.log_end_offset)
    roll(log)
    assert segments(log)[:2] == [0, 8]
    assert clean(manager).uncleanable == {}
    assert log.cleaned_to == far + 2
    assert [offset for offset, _, _ in rows(log)] == [0, 7, far, far + 1]
    assert len([segment for segment in log.segments if segment.size]) == 2
    assert found_through_indexes(log)
    assert found_through_indexes(reopened(log, clean=True))


def test_offsets_are_found_in_what_is_left() -> None:
    disk = disk_with()
    manager, log = compacted(disk, segment_bytes=4000)
    for n in range(300):
        put(log, f"k{n % 40 if n % 3 else n}", f"{n}", now_ms=NOW_MS + n)
    roll(log)
    clean(manager)
    kept = [offset for offset, _, _ in rows(log)]
    assert 100 < len(kept) < 200
    for wanted in range(300):
        read = log.read(wanted, 1, isolation=Isolation.HIGH_WATERMARK, min_one=True)
        assert int.from_bytes(bytes(read.records[:8]), "big") == min(offset for offset in kept if offset >= wanted)
    again = reopened(log, clean=True)
    assert [record.offset for record in records(again)] == kept
    assert found_through_indexes(again)
    assert sum(len(segment.offset_index) for segment in again.segments) > 5


def test_a_time_is_found_in_what_is_left() -> None:
    manager, log = compacted(disk_with(), segment_bytes=4000)
    for n in range(100):
        put(log, f"k{n % 60}", f"{n}", now_ms=NOW_MS + 10 * n)
    roll(log)
    clean(manager)
    kept = [offset for offset, _, _ in rows(log)]
    for n in range(100):
        wanted = min(offset for offset in kept if offset >= n)
        assert log.offset_for_timestamp(NOW_MS + 10 * n) == (NOW_MS + 10 * wanted, wanted)
    assert log.max_timestamp_offset() == (NOW_MS + 990, 99)


def test_the_next_cleaning_begins_where_the_last_one_ended() -> None:
    disk = disk_with()
    manager, log = compacted(disk)
    for n in range(50):
        put(log, f"k{n}", "v")
    roll(log)
    clean(manager)
    put(log, "k0", "new")
    roll(log)
    log.segments[-2].release()
    disk.reads.clear()
    cleaner = clean(manager)
    assert not cleaner.uncleanable
    assert log.cleaned_to == 51
    assert len(rows(log)) == 50


def test_offsets_that_no_record_has_between_two_segments_count_as_clean() -> None:
    disk = disk_with()
    disk.mkdir(DIR)
    write_metadata(disk, DIR)
    for offset in (0, 10):
        batch = build_batch([NewRecord(b"k", b"v", (), NOW_MS)], base_offset=offset, leader_epoch=0)
        disk.write(log_path(offset), batch)
    manager = manager_of(disk, config=COMPACT)
    log = manager.get("t", 0)
    assert log is not None
    log.update_high_watermark(log.log_end_offset)
    clean(manager)
    assert segments(log) == [0, 10]
    assert log.cleaned_to == 10


def test_keys_for_which_there_is_no_room_wait_for_the_next_cleaning() -> None:
    manager, log = compacted(disk_with())
    for n in range(100):
        put(log, f"k{n % 50}", f"{n}")
    roll(log)
    room_for_9 = replace(LIMITS, dedupe_buffer_bytes=24 * 10)
    clean(manager, limits=room_for_9)
    assert log.cleaned_to == 9
    for _ in range(30):
        clean(manager, limits=room_for_9)
    assert log.cleaned_to == 100
    assert rows(log) == [(n, f"k{n % 50}", f"{n}") for n in range(50, 100)]


def test_a_batch_larger_than_the_buffer_is_read_whole() -> None:
    manager, log = compacted(disk_with(), segment_bytes=100_000)
    put(log, "a", "x" * 20_000)
    put(log, "a", "y" * 20_000)
    put(log, "b", "z")
    roll(log)
    clean(manager, limits=replace(LIMITS, io_buffer_bytes=2048))
    assert rows(log) == [(1, "a", "y" * 20_000), (2, "b", "z")]
