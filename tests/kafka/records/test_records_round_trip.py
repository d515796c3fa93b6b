"""What is built is what is read: by ourselves, and both ways between us and the readers and builders of two clients."""

from typing import Any

import aiokafka.record.default_records as aiokafka_native
import aiokafka.record.memory_records as aiokafka_memory
import kafka.codec as kafka_python_codecs
import kafka.record.default_records as kafka_python
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kafka.records.samples import plain, record_lists, with_section

from riverport.kafka.records.batch import check_crc, iter_headers, read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_records, read_varint, read_varlong, varint
from riverport.kafka.wire.errors import ErrorCode

CODECS = list(Codec)
KAFKA_PYTHON_CODECS = [
    codec for codec in Codec if codec is Codec.NONE or getattr(kafka_python_codecs, f"has_{codec.name.lower()}")()
]


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=25)
@given(records=record_lists(), base_offset=st.integers(0, 2**62))
def test_every_batch_is_read_as_it_was_built(codec: Codec, records: list[NewRecord], base_offset: int) -> None:
    buf = build_batch(records, codec=codec, base_offset=base_offset)
    header = read_header(buf)
    assert check_crc(buf, header)
    found = list(iter_records(buf, header))
    assert plain(found) == plain(records)
    assert [record.offset for record in found] == list(range(base_offset, base_offset + len(records)))
    assert header.max_timestamp == max(record.timestamp for record in records)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=15)
@given(records=record_lists())
def test_aiokafka_reads_what_we_build(codec: Codec, records: list[NewRecord]) -> None:
    buf = build_batch(records, codec=codec, base_offset=40, producer_id=7, producer_epoch=1, base_sequence=3)
    theirs = aiokafka_memory.MemoryRecords(bytes(buf)).next_batch()
    assert theirs.validate_crc()
    assert (theirs.base_offset, theirs.next_offset, theirs.producer_id) == (40, 40 + len(records), 7)
    assert plain(list(theirs)) == plain(records)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=15)
@given(records=record_lists())
def test_we_read_what_aiokafka_builds(codec: Codec, records: list[NewRecord]) -> None:
    buf = built_by(aiokafka_native.DefaultRecordBatchBuilder, codec, records)
    read_back(buf, codec, records)


@pytest.mark.parametrize("codec", KAFKA_PYTHON_CODECS)
@settings(max_examples=15)
@given(records=record_lists())
def test_kafka_python_reads_what_we_build(codec: Codec, records: list[NewRecord]) -> None:
    buf = build_batch(records, codec=codec, transactional=True)
    theirs = kafka_python.DefaultRecordBatch(bytes(buf))
    assert theirs.validate_crc()
    assert theirs.is_transactional
    assert plain(list(theirs)) == plain(records)


@pytest.mark.parametrize("codec", KAFKA_PYTHON_CODECS)
@settings(max_examples=15)
@given(records=record_lists())
def test_we_read_what_kafka_python_builds(codec: Codec, records: list[NewRecord]) -> None:
    buf = built_by(kafka_python.DefaultRecordBatchBuilder, codec, records)
    read_back(buf, codec, records)


def built_by(builder: Any, codec: Codec, records: list[NewRecord]) -> bytearray:
    theirs = builder(
        magic=2,
        compression_type=int(codec),
        is_transactional=0,
        producer_id=5,
        producer_epoch=2,
        base_sequence=9,
        batch_size=2**30,
    )
    for offset, record in enumerate(records):
        appended = theirs.append(
            offset, timestamp=record.timestamp, key=record.key, value=record.value, headers=list(record.headers)
        )
        assert appended is not None
    return bytearray(theirs.build())


def read_back(buf: bytearray, codec: Codec, records: list[NewRecord]) -> None:
    (header,) = iter_headers(buf)
    assert check_crc(buf, header)
    # They leave a batch uncompressed where compression would make it larger.
    assert header.codec in (codec, Codec.NONE)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (5, 2, 9)
    assert (header.count, header.last_offset) == (len(records), len(records) - 1)
    assert plain(list(iter_records(buf, header))) == plain(records)


def test_our_bytes_are_those_of_kafka_python() -> None:
    records = [NewRecord(b"k", b"v" * n, [("h", None), ("ü", b"x")], 1_000 + n) for n in range(200)]
    ours = build_batch(records, producer_id=5, producer_epoch=2, base_sequence=9, leader_epoch=0)
    assert ours[17:] == built_by(kafka_python.DefaultRecordBatchBuilder, Codec.NONE, records)[17:]


@given(value=st.integers(-(2**63), 2**63 - 1))
def test_varints_of_64_bits(value: int) -> None:
    assert read_varlong(varint(value), 0) == (value, len(varint(value)))


@given(value=st.integers(-(2**31), 2**31 - 1))
def test_varints_of_32_bits(value: int) -> None:
    assert read_varint(varint(value), 0) == (value, len(varint(value)))


@pytest.mark.parametrize("encoded", [b"\x80" * 5 + b"\x01", b"\xff\xff\xff\xff\x1f"])
def test_a_varint_of_more_than_32_bits_is_refused(encoded: bytes) -> None:
    with pytest.raises(RecordError):
        read_varint(encoded, 0)


@pytest.mark.parametrize("encoded", [b"\x80" * 10 + b"\x01", b"\xff" * 9 + b"\x02"])
def test_a_varint_of_more_than_64_bits_is_refused(encoded: bytes) -> None:
    with pytest.raises(RecordError):
        read_varlong(encoded, 0)


def test_header_keys_that_are_no_text_survive() -> None:
    original = with_section(build_batch([NewRecord(None, None)]), b"\x14\x00\x00\x00\x01\x01\x02\x04\xff\xfe\x00")
    (record,) = iter_records(original, read_header(original))
    assert record.headers == [("\udcff\udcfe", b"")]
    assert build_batch([NewRecord(None, None, record.headers)]) == original


def test_records_cut_anywhere_are_refused() -> None:
    records = [NewRecord(b"key", b"value" * 20, [("h", b"x"), ("i", None)], 1_000 + 100 * n) for n in range(3)]
    whole = build_batch(records)
    for cut in range(61, len(whole)):
        broken = with_section(whole, bytes(whole[61:cut]))
        with pytest.raises(RecordError) as raised:
            list(iter_records(broken, read_header(broken)))
        assert raised.value.code is ErrorCode.INVALID_RECORD
    broken = with_section(whole, bytes(whole[61:]) + b"\x00")
    with pytest.raises(RecordError, match="remain"):
        list(iter_records(broken, read_header(broken)))
