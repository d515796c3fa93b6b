"""Ordinary Produce frames: both twins read what the general decoder reads, and leave everything else to it."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverport.kafka.wire import codec, produce_frame
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.frame import flexible_response, read_request_header, request_head, response_head
from riverport.kafka.wire.produce_frame import BY_ID_SINCE, NEWEST, OLDEST, answer_packer, read_python

READERS = [read_python] if produce_frame.read is read_python else [read_python, produce_frame.read]
VERSIONS = range(OLDEST, NEWEST + 1)
ID = bytes(range(16))
TopicData = m.ProduceRequest.TopicProduceData
PartitionData = m.ProduceRequest.PartitionProduceData


def frame(
    version: int,
    *topics: TopicData,
    acks: int = -1,
    transaction: str | None = None,
    client: str | None = "client",
) -> bytes:
    """Without its size."""
    body = codec.encode(m.ProduceRequest(transaction, acks, 30_000, list(topics)), version)
    return (request_head(0, version, 77, client, len(body)) + body)[4:]


def topic(version: int, *partitions: PartitionData, name: str = "topic") -> TopicData:
    return TopicData("" if version >= BY_ID_SINCE else name, ID if version >= BY_ID_SINCE else bytes(16), [*partitions])


def ordinary(version: int, records: bytes = b"records", **given: object) -> bytes:
    return frame(version, topic(version, PartitionData(5, records)), **given)  # type: ignore[arg-type]


def read_by_all(raw: bytes) -> object:
    """What every reader finds, in buffers of every kind and with other bytes around."""
    found = {reader(raw, 0, len(raw)) for reader in READERS}
    padded = bytearray(b"\0" * 9 + raw + b"\xff" * 9)
    for reader in READERS:
        inner = reader(memoryview(padded), 9, 9 + len(raw))
        found.add(inner and (*inner[:5], inner[5] - 9, inner[6] - 9))
    assert len(found) == 1, found
    return found.pop()


def read_in_general(raw: bytes) -> object:
    """What the general decoder makes of the frame, if its shape is the ordinary one; None for every other."""
    try:
        header, pos = read_request_header(memoryview(raw))
        if header.api_key != 0 or header.api_version not in VERSIONS:
            return None
        body, end = codec.decoder_for(m.ProduceRequest, header.api_version)(memoryview(raw), pos, len(raw))
    except (WireError, struct.error, IndexError, UnicodeDecodeError, OverflowError):
        return None
    if body.transactional_id is not None or body.acks not in (1, -1) or len(body.topic_data) != 1 or end != len(raw):
        return None
    (found,) = body.topic_data
    if len(found.partition_data) != 1 or not found.partition_data[0].records:
        return None
    (data,) = found.partition_data
    name = found.topic_id if header.api_version >= BY_ID_SINCE else found.name
    return header.api_version, header.correlation_id, body.acks, name, data.index, bytes(data.records)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 100, 127, 128, 70_000])
@pytest.mark.parametrize("client", [None, "", "client"])
def test_an_ordinary_request_is_read(version: int, size: int, client: str | None) -> None:
    raw = ordinary(version, bytes(size), acks=1, client=client)
    found = read_by_all(raw)
    name = ID if version >= BY_ID_SINCE else "topic"
    assert isinstance(found, tuple)
    assert found[:5] == (version, 77, 1, name, 5)
    assert found[6] - found[5] == size
    assert raw[found[5] : found[6]] == bytes(size)


@pytest.mark.parametrize("version", VERSIONS)
def test_other_shapes_are_left_to_the_general_decoder(version: int) -> None:
    data = PartitionData(5, b"records")
    tagged = m.ProduceRequest(None, 1, 1, [topic(version, data)])
    others = [
        ordinary(version, acks=0),
        ordinary(version, acks=2),
        ordinary(version, transaction="t"),
        ordinary(version, b""),
        ordinary(version, client="\xe9"),
        frame(version, topic(version, PartitionData(5, None))),
        frame(version),
        frame(version, topic(version)),
        frame(version, topic(version, data, data)),
        frame(version, topic(version, data), topic(version, data)),
        ordinary(version) + b"\0",
        b"\0\1" + ordinary(version)[2:],
    ]
    if version < BY_ID_SINCE:
        others.append(frame(version, topic(version, data, name="\xe9")))
    if version >= 9:
        tagged.unknown_tags = [(99, b"x")]
        body = codec.encode(tagged, version)
        others.append((request_head(0, version, 77, None, len(body)) + body)[4:])
    assert [read_by_all(raw) for raw in others] == [None] * len(others)


@pytest.mark.parametrize("version", [OLDEST - 1, NEWEST + 1, -1])
def test_versions_of_other_times_are_left_alone(version: int) -> None:
    raw = bytearray(ordinary(9))
    raw[2:4] = version.to_bytes(2, "big", signed=True)
    assert read_by_all(bytes(raw)) is None


@settings(max_examples=600)
@given(version=st.sampled_from(VERSIONS), data=st.data())
def test_damaged_requests_are_read_as_by_the_general_decoder(version: int, data: st.DataObject) -> None:
    raw = bytearray(ordinary(version, b"r" * data.draw(st.sampled_from([1, 40, 200]))))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 2, 127]))
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw), data.draw(st.integers(0, len(raw)))]))]
    found, expected = read_by_all(bytes(raw)), read_in_general(bytes(raw))
    if found is not None:
        assert isinstance(found, tuple)
        assert (*found[:5], bytes(raw[found[5] : found[6]])) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_every_cut_is_harmless(version: int) -> None:
    raw = ordinary(version)
    assert [read_by_all(raw[:size]) for size in range(len(raw))] == [None] * len(raw)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 5), (5, 6)])
def test_what_is_no_part_of_the_buffer_is_refused(start: int, stop: int) -> None:
    for reader in READERS:
        with pytest.raises(ValueError):
            reader(b"1234", start, stop)


@given(
    version=st.sampled_from(VERSIONS),
    name=st.text(min_size=1, max_size=200),
    correlation_id=st.integers(-(2**31), 2**31 - 1),
    index=st.integers(0, 2**31 - 1),
    offsets=st.tuples(*[st.integers(-1, 2**63 - 1)] * 3),
)
def test_answers_are_those_of_the_general_encoder(
    version: int, name: str, correlation_id: int, index: int, offsets: tuple[int, int, int]
) -> None:
    first, time_ms, start = offsets
    by_id = version >= BY_ID_SINCE
    partition = m.ProduceResponse.PartitionProduceResponse(index, 0, first, time_ms, start if version >= 5 else -1)
    answered = m.ProduceResponse.TopicProduceResponse("" if by_id else name, ID if by_id else bytes(16), [partition])
    body = codec.encode(m.ProduceResponse([answered]), version)
    expected = response_head(flexible_response(0, version), correlation_id, len(body)) + body
    packer = answer_packer(version, ID if by_id else name)
    assert packer(correlation_id, index, first, time_ms, start) == expected
