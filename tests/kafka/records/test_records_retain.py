"""Batches after compaction: what stays though records go."""

import pytest

from riverport.kafka.records import batch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.control import end_txn_marker
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import Record, iter_records
from riverport.kafka.records.retain import Retained, retain

HORIZON_MS = 900_000


def ten(codec: Codec = Codec.NONE, tombstone: int | None = None) -> bytearray:
    records = [
        NewRecord(b"k%d" % n, None if n == tombstone else b"v%d" % n, [("h", b"x")], 1_000 + 10 * n) for n in range(10)
    ]
    return build_batch(
        records, base_offset=500, leader_epoch=4, codec=codec, producer_id=6, producer_epoch=2, base_sequence=30
    )


def cleaned(buf: bytearray | memoryview, kept: set[int], *, keep_empty: bool = True) -> Retained:
    return retain(
        buf,
        batch.read_header(buf),
        lambda record: record.offset in kept,
        keep_empty=keep_empty,
        delete_horizon_ms=HORIZON_MS,
    )


def opened(result: Retained) -> tuple[batch.BatchHeader, list[Record]]:
    assert result.batch is not None
    header = batch.read_header(result.batch)
    assert header.size == len(result.batch)
    assert batch.check_crc(result.batch, header)
    return header, list(iter_records(result.batch, header))


@pytest.mark.parametrize("codec", list(Codec))
def test_records_keep_their_offsets_and_the_batch_its_place(codec: Codec) -> None:
    original = batch.read_header(ten(codec))
    before = [record for record in iter_records(ten(codec), original) if record.offset in (502, 505)]
    result = cleaned(ten(codec), {502, 505})
    header, records = opened(result)
    assert records == before
    assert (result.records_read, result.records_kept, header.count) == (10, 2, 2)
    assert (header.base_offset, header.last_offset, header.last_sequence) == (500, 509, original.last_sequence)
    assert (header.producer_id, header.producer_epoch, header.leader_epoch, header.codec) == (6, 2, 4, codec)
    assert header.max_timestamp == 1_050
    assert not header.has_delete_horizon


def test_a_batch_that_keeps_everything_is_not_copied() -> None:
    buf = ten()
    result = cleaned(buf, set(range(500, 510)))
    assert isinstance(result.batch, memoryview)
    assert result.batch.obj is buf


def test_an_empty_batch_stays_for_its_sequence() -> None:
    header, records = opened(cleaned(ten(Codec.ZSTD), set()))
    assert records == []
    assert (header.size, header.count, header.codec, header.base_timestamp) == (batch.BATCH_OVERHEAD, 0, 0, -1)
    assert (header.base_offset, header.last_offset, header.last_sequence) == (500, 509, 39)
    assert header.max_timestamp == 1_090
    assert cleaned(ten(), set(), keep_empty=False).batch is None


@pytest.mark.parametrize("kept", [set(range(500, 510)), {503, 508}])
def test_the_first_cleaning_of_a_tombstone_sets_the_delete_horizon(kept: set[int]) -> None:
    header, records = opened(cleaned(ten(tombstone=3), kept))
    assert header.has_delete_horizon
    assert header.base_timestamp == HORIZON_MS
    assert [record.timestamp for record in records] == [1_000 + 10 * (offset - 500) for offset in sorted(kept)]


def test_a_later_cleaning_keeps_the_delete_horizon() -> None:
    first = cleaned(ten(tombstone=3), {503, 508}).batch
    assert first is not None
    again = retain(
        first, batch.read_header(first), lambda record: record.offset == 508, keep_empty=True, delete_horizon_ms=1
    )
    header, records = opened(again)
    assert (header.has_delete_horizon, header.base_timestamp) == (True, HORIZON_MS)
    assert [(record.offset, record.timestamp) for record in records] == [(508, 1_080)]
    unchanged = retain(first, batch.read_header(first), lambda record: True, keep_empty=True, delete_horizon_ms=1)
    assert unchanged.batch == first


def test_the_marker_of_an_emptied_transaction_gets_a_delete_horizon() -> None:
    buf = end_txn_marker(True, coordinator_epoch=1, producer_id=3, producer_epoch=0, timestamp=50, base_offset=7)
    result = retain(
        buf,
        batch.read_header(buf),
        lambda record: True,
        keep_empty=True,
        delete_horizon_ms=HORIZON_MS,
        marks_empty_transaction=True,
    )
    header, records = opened(result)
    assert (header.is_control, header.is_transactional, header.has_delete_horizon) == (True, True, True)
    assert (records[0].timestamp, header.base_timestamp) == (50, HORIZON_MS)


def test_log_append_time_survives() -> None:
    buf = ten()
    batch.patch_log_append_time(buf, 0, 7_777)
    header, records = opened(cleaned(buf, {501}))
    assert header.is_log_append_time
    assert (header.max_timestamp, records[0].timestamp) == (7_777, 7_777)


@pytest.mark.parametrize("codec", list(Codec))
def test_a_time_that_no_batch_can_hold_is_damage(codec: Codec) -> None:
    damaged = ten(codec)
    damaged[batch.BASE_TIMESTAMP_AT : batch.BASE_TIMESTAMP_AT + 8] = (2**63 - 10).to_bytes(8, "big")
    batch.write_crc(damaged, 0)
    with pytest.raises(RecordError, match="no batch can hold"):
        cleaned(damaged, {502, 505})
