"""The walk: the compiled one, the one in Python and the reader that opens records agree about every section."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kafka.records.samples import record_lists

from riverport.kafka.records import walk as walks
from riverport.kafka.records.batch import BATCH_OVERHEAD, read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_section, varint
from riverport.kafka.records.walk import Walk, walk_python

WALKS = [walk_python] if walks.walk is walk_python else [walk_python, walks.walk]


def judged_by_opening(section: bytes, count: int) -> Walk | None:
    header = read_header(build_batch([NewRecord(None, None, timestamp=0)]))
    header.count = count
    try:
        records = list(iter_section(section, header))
    except RecordError:
        return None
    deltas = [record.timestamp for record in records]
    offsets = [record.offset for record in records]
    return (
        min(deltas),
        max(deltas),
        any(record.key is None for record in records),
        offsets == list(range(count)),
    )


def section_of(records: list[NewRecord]) -> bytes:
    return bytes(build_batch(records)[BATCH_OVERHEAD:])


@given(records=record_lists())
def test_sound_sections_are_summed_up(records: list[NewRecord]) -> None:
    section = section_of(records)
    expected = judged_by_opening(section, len(records))
    assert expected is not None
    for walk in WALKS:
        assert walk(section, len(records)) == expected
        assert walk(memoryview(section), len(records) + 1) is None
        assert walk(bytearray(section), len(records) - 1) is None
        assert walk(section + b"\x00", len(records)) is None


@settings(max_examples=300)
@given(records=record_lists(4), data=st.data())
def test_damaged_sections_are_judged_as_by_opening_them(records: list[NewRecord], data: st.DataObject) -> None:
    section = bytearray(section_of(records))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(section) - 1))
        section[at] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 2, 127, 128, 255]))
    expected = judged_by_opening(bytes(section), len(records))
    for walk in WALKS:
        assert walk(section, len(records)) == expected


@pytest.mark.parametrize("count", [15, 63, 64, 65, 128, 8_191, 8_192, 8_193, 20_000])
@pytest.mark.parametrize("step_ms", [0, 1, 7, -1, 500])
def test_many_records_of_one_shape(count: int, step_ms: int) -> None:
    records = [NewRecord(b"key", b"x" * 100, [("h", b"1")], 10**12 + step_ms * n) for n in range(count)]
    section = section_of(records)
    for walk in WALKS:
        assert walk(section, count) == (min(0, step_ms * (count - 1)), max(0, step_ms * (count - 1)), False, True)


@pytest.mark.parametrize("index", [1, 20, 63, 64, 100, 300])
def test_one_odd_record_among_many_alike_is_found(index: int) -> None:
    """Each damage leaves the record's length right and would be missed by whoever looks only at lengths."""
    records = [NewRecord(b"key", b"x" * 100, [("h", b"1")], 10**12) for _ in range(400)]
    section = section_of(records)
    sizes = [
        len(section_of([NewRecord(b"key", b"x" * 100, [("h", b"1")], 10**12)] * (n + 1))) for n in (index - 1, index)
    ]
    start, stop = sizes
    one = bytearray(section[start:stop])
    offset_size = 1 if index < 64 else 2
    key_at = 4 + offset_size
    for at, byte, sound in [
        (0, 0xFE, False),  # the record's length
        (2, 0x55, True),  # attributes mean nothing
        (3, 0x02, True),  # a later timestamp
        (3, 0x80, False),  # a timestamp that goes on
        (4, one[4] ^ 0x02, True),  # another offset
        (key_at, 0x08, False),  # the key's length
        (key_at, 0x01, False),  # no key, but its bytes
        (key_at + 1, 0x00, True),  # another key
        (key_at + 4, 0xC6, False),  # the value's length
        (len(one) - 5, 0x04, False),  # the number of headers
        (len(one) - 4, 0x01, False),  # a header without a key
        (len(one) - 2, 0x01, False),  # a header without a value, but its bytes
        (len(one) - 1, 0x00, True),  # another header value
    ]:
        broken = bytearray(section)
        broken[start + at] = byte
        expected = judged_by_opening(bytes(broken), 400)
        assert (expected is not None) is sound, at
        for walk in WALKS:
            assert walk(broken, 400) == expected, at


def test_two_errors_that_make_up_for_each_other_are_found() -> None:
    """A key one byte longer and a value one byte shorter would put the reader right again at the record's end."""
    section = bytearray(section_of([NewRecord(b"kk", b"vvv", timestamp=5)] * 2))
    section[4:5] = varint(6)  # the key swallows what follows it
    for walk in WALKS:
        assert walk(section, 2) == judged_by_opening(bytes(section), 2) is None


@pytest.mark.parametrize("count", [-1, 0, 2**31 - 1, 2**62])
def test_absurd_counts_are_refused_at_once(count: int) -> None:
    for walk in WALKS:
        assert walk(section_of([NewRecord(None, b"v")] * 50), count) is None
        assert walk(b"", count) is None


@given(noise=st.binary(min_size=7, max_size=100), count=st.integers(1, 12))
def test_noise_is_judged_as_by_opening_it(noise: bytes, count: int) -> None:
    for walk in WALKS:
        assert walk(noise, count) == judged_by_opening(noise, count)
