"""Keys read without opening their records, against the same records opened."""

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.records.samples import record_lists

from riverport.kafka.records.batch import BATCH_OVERHEAD, read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_keys, iter_records


@given(record_lists(), st.sampled_from(list(Codec)), st.integers(0, 2**40))
def test_keys_are_those_of_the_opened_records(records: list[NewRecord], codec: Codec, base_offset: int) -> None:
    batch = build_batch(records, codec=codec, base_offset=base_offset)
    header = read_header(batch)
    assert list(iter_keys(batch, header)) == [(r.offset, r.key) for r in iter_records(batch, header)]


def test_keys_of_old_messages() -> None:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=1, batch_size=1 << 20)
    for offset in range(3):
        builder.append(offset, 5_000, b"k%d" % offset, b"v")
    raw = bytearray(builder.build())
    raw[:8] = (2).to_bytes(8, "big")
    assert list(iter_keys(raw, read_header(raw))) == [(0, b"k0"), (1, b"k1"), (2, b"k2")]


@given(record_lists(max_size=3), st.data())
def test_a_batch_that_ends_too_early_is_refused(records: list[NewRecord], data: st.DataObject) -> None:
    batch = build_batch(records)
    header = read_header(batch)
    cut = data.draw(st.integers(BATCH_OVERHEAD, len(batch) - 1))
    header.size = cut
    with pytest.raises(RecordError):
        list(iter_keys(batch[:cut], header))


def test_bytes_behind_the_last_record_are_refused() -> None:
    batch = build_batch([NewRecord(b"k", b"v")]) + b"\0"
    header = read_header(batch)
    header.size += 1
    with pytest.raises(RecordError):
        list(iter_keys(batch, header))


def test_a_key_that_is_longer_than_its_record_is_refused() -> None:
    batch = build_batch([NewRecord(b"key", b"v"), NewRecord(b"key", b"v")])
    batch[BATCH_OVERHEAD + 4] = 2 * 60
    with pytest.raises(RecordError):
        list(iter_keys(batch, read_header(batch)))
