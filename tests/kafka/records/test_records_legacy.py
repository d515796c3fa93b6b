"""Message sets of magic 0 and 1, as aiokafka's builder wrote them for old brokers."""

from collections.abc import Iterator

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from riverport.kafka.records import batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import Record, iter_records
from riverport.kafka.records.retain import retain

FORMATS = [
    *((magic, codec) for magic in (0, 1) for codec in (Codec.NONE, Codec.GZIP, Codec.SNAPPY)),
    (1, Codec.LZ4),
]
ROWS: list[tuple[bytes | None, bytes | None]] = [(None, b"first"), (b"key", None), (b"", b""), (b"k" * 300, b"v" * 999)]


def message_set(magic: int, codec: Codec) -> bytes:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=int(codec), batch_size=2**20)
    for offset, (key, value) in enumerate(ROWS):
        builder.append(offset, 5_000 + offset, key, value)
    built = bytearray(builder.build())
    if codec:
        built[0:8] = (len(ROWS) - 1).to_bytes(8, "big")  # as a broker places it
    return bytes(built)


def opened(buf: bytes) -> Iterator[Record]:
    for header in batch.iter_headers(buf):
        assert batch.check_crc(buf, header)
        yield from iter_records(buf, header)


@pytest.mark.parametrize(("magic", "codec"), FORMATS)
def test_old_messages_are_read(magic: int, codec: Codec) -> None:
    records = list(opened(message_set(magic, codec)))
    assert [(record.key, record.value) for record in records] == ROWS
    assert [record.offset for record in records] == [0, 1, 2, 3]
    assert [record.timestamp for record in records] == [5_000 + n if magic else -1 for n in range(4)]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4])
def test_a_compressed_message_has_the_offset_of_its_last(codec: Codec) -> None:
    buf = bytearray(message_set(1, codec))
    buf[0:8] = (1_003).to_bytes(8, "big")
    (header,) = batch.iter_headers(buf)
    assert (header.last_offset, header.count, header.codec) == (1_003, -1, codec)
    assert [record.offset for record in iter_records(buf, header)] == [1_000, 1_001, 1_002, 1_003]


@pytest.mark.parametrize("magic", [0, 1])
def test_each_uncompressed_message_has_a_header(magic: int) -> None:
    headers = list(batch.iter_headers(message_set(magic, Codec.NONE)))
    assert [header.last_offset for header in headers] == [0, 1, 2, 3]
    assert {header.producer_id for header in headers} == {-1}


@pytest.mark.parametrize(("magic", "codec"), FORMATS)
def test_old_messages_cut_anywhere_raise_nothing_but_record_errors(magic: int, codec: Codec) -> None:
    whole = message_set(magic, codec)
    for cut in range(len(whole)):
        assert sum(1 for _ in opened(whole[:cut])) < len(ROWS)
    (first, *_) = batch.iter_headers(whole)
    for at in range(batch.LOG_OVERHEAD + 4, first.size):
        broken = bytearray(whole)
        broken[at] ^= 0x41
        try:
            header = next(batch.iter_headers(broken))
        except RecordError:
            continue
        assert header.size != first.size or not batch.check_crc(broken, header) or header.magic != magic
        with pytest.raises(RecordError):
            list(iter_records(broken, header))


LZ4_OF_MAGIC_0 = bytes.fromhex(
    "000000000000000100000057f235dca10003ffffffff0000004904224d1860401a3a0000001600010051182e40e6030f"
    "00f100016b000000096f6c642076616c75651400f40200000100000017b793d58f0000ffffffff23005076616c756500"
    "000000"
)
"""What Java writes: the checksum of the LZ4 frame's header is computed over the wrong bytes."""


def test_lz4_frames_of_magic_0_have_a_wrong_checksum() -> None:
    records = list(opened(LZ4_OF_MAGIC_0))
    assert [(record.offset, record.key, record.value) for record in records] == [
        (0, b"k", b"old value"),
        (1, None, b"old value"),
    ]


def test_what_compaction_leaves_of_old_messages_is_written_anew() -> None:
    buf = message_set(1, Codec.GZIP)
    (header,) = batch.iter_headers(buf)
    result = retain(buf, header, lambda record: record.offset in (1, 3), keep_empty=True, delete_horizon_ms=1)
    assert result.batch is not None
    fresh = batch.read_header(result.batch)
    assert (fresh.magic, fresh.base_offset, fresh.last_offset, fresh.count) == (2, 1, 3, 2)
    assert [(r.offset, r.timestamp) for r in iter_records(result.batch, fresh)] == [(1, 5_001), (3, 5_003)]
    untouched = retain(buf, header, lambda record: True, keep_empty=True, delete_horizon_ms=1)
    assert bytes(untouched.batch or b"") == buf
