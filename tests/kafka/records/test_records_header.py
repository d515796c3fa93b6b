"""Batch headers: read, iterated over, checked, patched."""

import pytest

from riverport.kafka.records import batch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_records
from riverport.kafka.wire.errors import ErrorCode


def three_records(**options: object) -> bytearray:
    records = [NewRecord(b"k%d" % i, b"value %d" % i, [("h", b"x")], timestamp=1_000 + i) for i in range(3)]
    return build_batch(records, **options)  # type: ignore[arg-type]


def test_header_holds_what_was_built() -> None:
    buf = three_records(
        base_offset=70, leader_epoch=5, producer_id=9, producer_epoch=2, base_sequence=40, transactional=True
    )
    header = batch.read_header(buf)
    assert (header.base_offset, header.last_offset, header.next_offset) == (70, 72, 73)
    assert (header.base_timestamp, header.max_timestamp) == (1_000, 1_002)
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (9, 2, 40, 42)
    assert (header.leader_epoch, header.magic, header.count, header.size) == (5, 2, 3, len(buf))
    assert header.is_transactional
    flags = (header.is_control, header.is_log_append_time, header.has_delete_horizon)
    assert flags == (False, False, False)
    assert batch.check_crc(buf, header)


def test_patching_the_place_in_the_log_leaves_the_checksum_right() -> None:
    buf = bytearray(b"????") + three_records()
    batch.patch(memoryview(buf), 4, 123_456_789_012, 17)
    header = batch.read_header(buf, 4)
    assert (header.base_offset, header.leader_epoch, header.position) == (123_456_789_012, 17, 4)
    assert batch.check_crc(buf, header)


def test_log_append_time_is_every_records_time() -> None:
    buf = three_records()
    batch.patch_log_append_time(buf, 0, 5_555)
    header = batch.read_header(buf)
    assert header.is_log_append_time
    assert (header.base_timestamp, header.max_timestamp) == (1_000, 5_555)
    assert batch.check_crc(buf, header)
    assert [record.timestamp for record in iter_records(buf, header)] == [5_555] * 3


def test_sequences_wrap_to_zero() -> None:
    header = batch.read_header(three_records(producer_id=1, producer_epoch=0, base_sequence=batch.MAX_SEQUENCE - 1))
    assert header.last_sequence == 0


def test_a_partial_batch_at_the_end_is_left_out() -> None:
    whole = three_records()
    for cut in range(len(whole)):
        assert [h.position for h in batch.iter_headers(whole + whole[:cut])] == [0]
    assert [h.position for h in batch.iter_headers(whole + whole)] == [0, len(whole)]


def test_a_header_cut_anywhere_is_corrupt() -> None:
    whole = three_records()
    for cut in range(batch.BATCH_OVERHEAD):
        with pytest.raises(RecordError) as raised:
            batch.read_header(whole[:cut])
        assert raised.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [3, 127, 255])
def test_an_unknown_magic_is_corrupt(magic: int) -> None:
    buf = three_records()
    buf[batch.MAGIC_AT] = magic
    with pytest.raises(RecordError, match="Magic"):
        list(batch.iter_headers(buf))
    with pytest.raises(RecordError, match="Magic"):
        batch.read_header(buf)


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 13, 14, 48])
def test_a_length_below_the_header_is_corrupt(length: int) -> None:
    buf = three_records()
    buf[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(RecordError):
        list(batch.iter_headers(buf))


def test_every_flipped_bit_behind_the_checksum_is_noticed() -> None:
    buf = three_records()
    for at in range(batch.CRC_AT, len(buf)):
        buf[at] ^= 0x10
        assert not batch.check_crc(buf, batch.read_header(buf))
        buf[at] ^= 0x10
