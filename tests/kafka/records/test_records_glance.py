"""The glance: both twins agree, and what they vouch for is what the careful way accepts without changing a byte."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kafka.records.samples import NOW_MS, edited, record_lists

from riverport.kafka.records import validation
from riverport.kafka.records import walk as walks
from riverport.kafka.records.batch import HEADER, BatchHeader, write_crc
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.validation import Validated, ValidationPolicy, validate
from riverport.kafka.records.walk import glance_python

GLANCES = [glance_python] if walks.glance is glance_python else [glance_python, walks.glance]
WIDE = 2**31
OPEN = ValidationPolicy(after_max_ms=2**62)


def fields(header: BatchHeader) -> list[int]:
    return [getattr(header, name) for name in BatchHeader.__slots__]


def outcome(payload: bytearray, policy: ValidationPolicy) -> tuple[object, ...]:
    """What comes of a batch: the header and bytes it is stored with, or how it is refused."""
    copy = bytearray(payload)
    try:
        found: Validated = validate(copy, policy, NOW_MS)
    except RecordError as error:
        return error.code, error.record_errors, bytes(copy) == payload
    return fields(found.header), bytes(found.records), found.log_append_time_ms


def without_a_glance(payload: bytearray, policy: ValidationPolicy) -> tuple[object, ...]:
    with patch.object(validation, "glance", lambda batch, most: None):
        return outcome(payload, policy)


@given(records=record_lists(), producer=st.sampled_from([(-1, -1, -1), (7, 0, 0), (7, 3, 2**31 - 1)]))
def test_an_ordinary_batch_is_summed_up(records: list[NewRecord], producer: tuple[int, int, int]) -> None:
    producer_id, epoch, sequence = producer
    payload = build_batch(records, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
    expected = (
        *HEADER.unpack_from(payload),
        min(record.timestamp for record in records),
        any(record.key is None for record in records),
    )
    for glance in GLANCES:
        assert glance(payload, WIDE) == glance(memoryview(payload), len(payload)) == expected
        assert glance(payload, len(payload) - 1) is None
        assert glance(payload[:-1], WIDE) is None
        assert glance(payload + b"\0", WIDE) is None


@settings(max_examples=400)
@given(records=record_lists(3), data=st.data(), compacted=st.booleans())
def test_a_damaged_batch_is_judged_as_without_a_glance(
    records: list[NewRecord], data: st.DataObject, compacted: bool
) -> None:
    payload = build_batch(records)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, min(len(payload) - 1, 90)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()) and int.from_bytes(payload[8:12], "big") == len(payload) - 12:
        write_crc(payload, 0)
    assert len({glance(payload, WIDE) for glance in GLANCES}) == 1
    policy = ValidationPolicy(compacted=compacted, before_max_ms=data.draw(st.sampled_from([5_000, 2**63 - 1])))
    assert outcome(payload, policy) == without_a_glance(payload, policy)


@pytest.mark.parametrize("size", range(62))
def test_less_than_a_header_and_a_byte_is_nothing(size: int) -> None:
    payload = build_batch([NewRecord(None, b"v", (), NOW_MS)])[:size]
    assert [glance(payload, WIDE) for glance in GLANCES] == [None] * len(GLANCES)


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, (1).to_bytes(8, "big")),  # a base offset
        (16, b"\1"),  # magic
        (21, b"\0\x08"),  # LogAppendTime
        (21, b"\0\x20"),  # a control batch
        (21, b"\0\x40"),  # a delete horizon
        (21, b"\x01\x00"),  # a bit that means nothing
        (23, (5).to_bytes(4, "big")),  # last offset delta
        (35, (NOW_MS + 5).to_bytes(8, "big")),  # a greatest timestamp that is none
        (43, (9).to_bytes(8, "big")),  # a producer id without a sequence
        (57, (2).to_bytes(4, "big")),  # the count
        (57, (-1).to_bytes(4, "big", signed=True)),
    ],
)
def test_what_is_unusual_gets_a_closer_look(at: int, new: bytes) -> None:
    payload = edited(build_batch([NewRecord(b"k", b"v", (), NOW_MS)]), at, new)
    assert [glance(payload, WIDE) for glance in GLANCES] == [None] * len(GLANCES)


def test_a_compressed_batch_gets_a_closer_look() -> None:
    payload = build_batch([NewRecord(b"k", b"v" * 100, (), NOW_MS)], codec=Codec.LZ4)
    assert [glance(payload, WIDE) for glance in GLANCES] == [None] * len(GLANCES)


@pytest.mark.parametrize("base", [2**63 - 1, -(2**63), -(2**63) + 1])
@pytest.mark.parametrize("delta", [0, 1, -1])
def test_timestamps_of_more_than_64_bits_are_not_vouched_for(base: int, delta: int) -> None:
    """The twin in C has no number greater than that."""
    payload = build_batch([NewRecord(b"k", b"v", (), 0), NewRecord(b"k", b"v", (), delta)])
    for at in (27, 35):
        payload = edited(payload, at, base.to_bytes(8, "big", signed=True))
    assert len({glance(payload, WIDE) for glance in GLANCES}) == 1
    assert outcome(payload, OPEN) == without_a_glance(payload, OPEN)
