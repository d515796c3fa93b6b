"""Bytes that nobody should send: only WireError ever leaves, and memory stays in proportion to what was received."""

import struct
import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest
from tests.kafka.wire.values import Chances, every_version, random_value, versions_of

from riverport.kafka.wire import frame, messages
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.coordinator_records import decode_key, decode_value
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.metadata_records import decode_record
from riverport.kafka.wire.source import MAX_ELEMENTS, MAX_TAGS
from riverport.kafka.wire.varint import read_uvarint, read_zigzag, uvarint

POISONS = [
    struct.pack(">i", 2**31 - 1),
    struct.pack(">i", -2),
    struct.pack(">i", -(2**31)),
    struct.pack(">h", 2**15 - 1),
    struct.pack(">h", -2),
    b"\xff\xff\xff\xff\x0f",  # 2^32 - 1 as an unsigned varint
    b"\xff\xff\xff\xff\x7f",  # a five byte varint of 35 bits
    b"\x80\x80\x80\x80\x80\x01",  # one of six bytes
    b"\xff" * 11,
]


def samples() -> Iterator[tuple[type, int, bytes]]:
    """One encoded message of every version."""
    chances = Chances(Random(20240711), most_elements=2)
    for name, version in every_version():
        value = random_value(name, version, chances)
        yield type(value), version, encode(value, version)


SAMPLES = list(samples())


def read_or_refuse(cls: type, version: int, data: bytes) -> None:
    try:
        _, end = decode(cls, version, data)
    except WireError:
        return
    assert 0 <= end <= len(data)


def test_a_message_cut_short_anywhere_is_refused() -> None:
    rng = Random(1)
    for cls, version, data in SAMPLES:
        cuts = range(len(data)) if len(data) < 60 else sorted(rng.sample(range(len(data)), 60))
        for cut in cuts:
            with pytest.raises(WireError):
                decode(cls, version, data[:cut])


def test_hostile_lengths_anywhere_are_refused_or_read() -> None:
    rng = Random(2)
    for cls, version, data in SAMPLES:
        for position in rng.sample(range(len(data)), min(len(data), 12)):
            for poison in POISONS:
                read_or_refuse(cls, version, data[:position] + poison + data[position + len(poison) :])
                read_or_refuse(cls, version, data[:position] + poison)


def test_random_bytes_are_refused_or_read() -> None:
    rng = Random(3)
    for cls, version, data in SAMPLES:
        for _ in range(5):
            damaged = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                if damaged:
                    damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            read_or_refuse(cls, version, bytes(damaged))
            read_or_refuse(cls, version, rng.randbytes(rng.randint(0, 60)))


def test_memory_is_bounded_by_the_bytes_received() -> None:
    newest = [(cls, version, data) for cls, version, data in SAMPLES if version == versions_of(cls.__name__)[-1]]
    for cls, version, data in newest:
        read_or_refuse(cls, version, data)  # compiled before anything is measured
    rng = Random(4)
    tracemalloc.start()
    try:
        for cls, version, data in newest:
            for position in rng.sample(range(len(data)), min(len(data), 6)):
                for poison in POISONS[:6]:
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
                    read_or_refuse(cls, version, data[:position] + poison + data[position:])
                    used = tracemalloc.get_traced_memory()[1] - before
                    assert used < 100_000 + 200 * len(data), (cls, version, position, poison, used)
    finally:
        tracemalloc.stop()


def test_counts_are_bounded_before_anything_is_made() -> None:
    request = encode(messages.MetadataRequest(topics=[]), 12)
    assert request[0] == 1
    with pytest.raises(WireError, match=f"a count of {2**31}"):
        decode(messages.MetadataRequest, 12, uvarint(2**31 + 1) + request[1:])
    # The bytes are there, and still it is too many.
    with pytest.raises(WireError, match=f"a count of {MAX_ELEMENTS + 1}"):
        decode(messages.ListGroupsRequest, 4, uvarint(MAX_ELEMENTS + 2) + bytes(MAX_ELEMENTS + 2))


def test_tags_are_bounded_and_stay_within_their_sizes() -> None:
    cls = messages.ResponseHeader
    head = bytes(4)
    with pytest.raises(WireError, match=f"a count of {MAX_TAGS + 1}"):
        decode(cls, 1, head + uvarint(MAX_TAGS + 1) + bytes(3 * MAX_TAGS))
    with pytest.raises(WireError, match="a count of 3"):
        decode(cls, 1, head + b"\x03\x00\x00")
    with pytest.raises(WireError, match="a length of 5"):
        decode(cls, 1, head + b"\x01\x00\x05abcd")
    # Apache Kafka reads tags in any order, and the last of two.
    assert decode(cls, 1, head + b"\x02\x09\x01a\x05\x01b")[0].unknown_tags == [(9, b"a"), (5, b"b")]


def test_a_tagged_field_must_fill_its_size_exactly() -> None:
    request = messages.FetchRequest(cluster_id="abc", max_bytes=1)
    data = encode(request, 17)
    tag = data.index(b"\x00\x04\x04abc")
    assert decode(messages.FetchRequest, 17, data)[0].cluster_id == "abc"
    for size in (3, 5):
        with pytest.raises(WireError):
            decode(messages.FetchRequest, 17, data[: tag + 1] + bytes([size]) + data[tag + 2 :] + b"\0\0")
    # A number that would read past the end of its tag into what follows.
    response = messages.ApiVersionsResponse(finalized_features_epoch=5)
    data = encode(response, 3)
    assert data[-9:] == b"\x08" + struct.pack(">q", 5)
    with pytest.raises(WireError):
        decode(messages.ApiVersionsResponse, 3, data[:-9] + b"\x04" + struct.pack(">q", 5))


def test_text_must_be_utf_8() -> None:
    data = encode(messages.FindCoordinatorRequest(key="ab"), 0)
    with pytest.raises(WireError, match="utf-8"):
        decode(messages.FindCoordinatorRequest, 0, data[:2] + b"\xff\xfe")


def test_varints_are_bounded() -> None:
    assert read_uvarint(b"\xff\xff\xff\xff\x0f", 0) == (2**32 - 1, 5)
    for bad in (b"\xff\xff\xff\xff\x1f", b"\x80\x80\x80\x80\x80\x01"):
        with pytest.raises(WireError):
            read_uvarint(bad, 0)
    assert read_zigzag(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0) == (-(2**63), 10)
    for bad in (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", b"\x80" * 11):
        with pytest.raises(WireError):
            read_zigzag(bad, 0)


def test_a_damaged_request_header_is_refused() -> None:
    whole = frame.request_head(18, 3, 7, "client", 0)[4:]
    header, end = frame.read_request_header(memoryview(whole))
    assert (header.client_id, header.correlation_id, end) == ("client", 7, len(whole))
    for cut in range(len(whole)):
        with pytest.raises(WireError):
            frame.read_request_header(memoryview(whole[:cut]))
    for damaged in (b"\0\x12\0\3" + bytes(4) + b"\xff\xfe", b"\0\x12\0\3" + bytes(4) + b"\x7f\xff" + b"x" * 50):
        with pytest.raises(WireError):
            frame.read_request_header(memoryview(damaged))
    with pytest.raises(WireError):  # a tag section that reaches past the frame
        frame.read_request_header(memoryview(whole[:-1] + b"\x01\x00\x09x"))


def test_damaged_records_of_the_metadata_log_are_refused() -> None:
    for value in (b"", b"\x01", b"\x02\x0c\x00", b"\x01\x7f\x00", b"\x01\x0c\x09", b"\x01\x0c\x00"):
        with pytest.raises(WireError):
            decode_record(value)
    whole = bytes.fromhex("010c0011") + b"metadata.version" + bytes.fromhex("001e00")
    record, version = decode_record(whole)
    assert (record.name, record.feature_level, version) == ("metadata.version", 30, 0)
    with pytest.raises(WireError, match="1 bytes behind a FeatureLevelRecord"):
        decode_record(whole + b"\0")


def test_damaged_coordinator_records_are_refused() -> None:
    assert decode_key(b"\x00\x63rest") is None
    for key in (b"", b"\0", b"\0\1\0\5ab"):
        with pytest.raises(WireError):
            decode_key(key)
    for value in (b"", b"\0\x09rest", b"\0\1\0\0"):
        with pytest.raises(WireError):
            decode_value(messages.OffsetCommitValue, value)
