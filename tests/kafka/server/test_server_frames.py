"""Frames that are none, headers cut short, bodies of garbage: what closes a connection, and only that one.

The whole file agrees with Apache Kafka 4.3.1, see conftest.py.
"""

import struct
from collections.abc import Iterator

import pytest
from tests.kafka.server.wire import Wire, frame, sized

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode

Address = tuple[str, int]

API_VERSIONS = frame(m.ApiVersionsRequest("test", "1"), 4)
METADATA = frame(m.MetadataRequest([], False), 12)
V1_HEADER = b"\0\3\0\4\0\0\0\7\xff\xff"  # Metadata v4, correlation id 7, no client id
V2_HEADER = b"\0\3\0\x0c\0\0\0\7\xff\xff\0"  # Metadata v12, no tagged fields


def metadata(body: bytes) -> bytes:
    """Metadata v12 with a body of any bytes."""
    return sized(V2_HEADER + body)


@pytest.fixture
def bystander(address: Address) -> Iterator[Wire]:
    """Another client of the server: it is answered before and after."""
    with Wire(address) as wire:
        assert wire.ask(m.MetadataRequest([], False)).cluster_id
        yield wire
        assert wire.ask(m.MetadataRequest([], False)).cluster_id


CLOSING = {
    "a size of zero": b"\0\0\0\0",
    "a negative size": b"\xff\xff\xff\xff",
    "the most negative size": b"\x80\0\0\0",
    "a size beyond socket.request.max.bytes": struct.pack(">i", 104857601) + b"x",
    "the greatest size": b"\x7f\xff\xff\xff",
    "a web request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame of one byte": sized(b"\0"),
    "a header without a correlation id": sized(b"\0\3\0\4"),
    "a header without the length of the client id": sized(b"\0\3\0\4\0\0\0\1"),
    "a client id past the end": sized(b"\0\3\0\4\0\0\0\1\x7f\xffabc"),
    "a client id of negative length": sized(b"\0\3\0\4\0\0\0\1\xff\xfe"),
    "a flexible header without tagged fields": sized(V2_HEADER[:-1]),
    "a header with tagged fields past the end": sized(V2_HEADER[:-1] + b"\x01\x00\x09x"),
    "a header with a huge count of tagged fields": sized(V2_HEADER[:-1] + b"\xff\xff\xff\xff\x07"),
    "an unknown api": sized(b"\x03\xe8\0\0\0\0\0\1\xff\xff"),
    "a negative api": sized(b"\xff\xff\0\0\0\0\0\1\xff\xff"),
    "an api that Kafka 4 has dropped": sized(b"\0\4\0\0\0\0\0\1\xff\xff"),
    "an api of the controller's listener": sized(b"\0\x34\0\0\0\0\0\1\xff\xff\0"),
    "an unknown version": sized(b"\0\3\0\x63\0\0\0\1\xff\xff\0"),
    "a negative version": sized(b"\0\3\xff\xff\0\0\0\1\xff\xff\0"),
    "a version of Produce that is only advertised": sized(b"\0\0\0\2\0\0\0\1\xff\xff\0\1\0\0\0\0\0\0\0\0"),
    "no body": sized(V1_HEADER),
    "a count beyond the frame": sized(V1_HEADER + b"\0\0\0\x10"),
    "the greatest count": sized(V1_HEADER + b"\x7f\xff\xff\xff"),
    "a compact count of six bytes": metadata(b"\xff\xff\xff\xff\xff\x01"),
    "a compact count beyond the frame": metadata(b"\xff\xff\xff\xff\x07"),
    "a string past the end": sized(V1_HEADER + b"\0\0\0\1\0\x20abc\1"),
    "a body cut short": metadata(METADATA[-4:-1]),
    "a tagged field past the end": metadata(b"\x01\x00\x00\x01\x00\x20x"),
    "a count of tagged fields beyond the frame": metadata(b"\x01\x00\x00\xff\xff\x03"),
    "a null array of topics to fetch": sized(b"\0\1\0\4\0\0\0\1\xff\xff" + bytes(4) * 4 + b"\0" + b"\xff\xff\xff\xff"),
    "a null group id": sized(b"\0\x0c\0\0\0\0\0\1\xff\xff" + b"\xff\xff\0\0\0\1\0\0"),
    "text that is no utf-8 behind a wrong length": sized(V1_HEADER + b"\0\0\0\1\0\2\xff"),
}


@pytest.mark.parametrize("sent", CLOSING.values(), ids=CLOSING)
def test_connection_is_closed_without_an_answer(wire: Wire, bystander: Wire, sent: bytes) -> None:
    wire.send(sent)
    assert wire.is_closed()


@pytest.mark.parametrize("sent", CLOSING.values(), ids=CLOSING)
@pytest.mark.usefixtures("own_only")  # Apache Kafka does so most times, not always
def test_earlier_request_is_answered_before_the_connection_is_closed(wire: Wire, sent: bytes) -> None:
    wire.send(METADATA + sent)
    assert wire.next_answer(ApiKey.METADATA, 12)[1].cluster_id
    assert wire.is_closed()


@pytest.mark.parametrize("version", [6, 77, 32767, -1, -32768])
def test_api_versions_of_an_unknown_version_is_answered_in_version_0(wire: Wire, version: int) -> None:
    wire.send(sized(struct.pack(">hhih", ApiKey.API_VERSIONS, version, 42, -1) + b"\0\5test\2x\0"))
    correlation_id, answer = wire.next_answer(ApiKey.API_VERSIONS, 0)
    assert correlation_id == 42
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
    (key,) = answer.api_keys
    assert (key.api_key, key.min_version) == (18, 0)
    assert wire.ask(m.ApiVersionsRequest("test", "1"), key.max_version).error_code == 0


@pytest.mark.parametrize(("name", "version"), [("", "1"), ("a b", "1"), ("-a", "1"), ("a", ""), ("a", "1.")])
def test_api_versions_refuses_a_client_software_that_is_no_name(wire: Wire, name: str, version: str) -> None:
    assert wire.ask(m.ApiVersionsRequest(name, version), 3).error_code == ErrorCode.INVALID_REQUEST
    assert wire.ask(m.ApiVersionsRequest("a", "1"), 3).error_code == 0


ACCEPTED = {
    "bytes behind the body": metadata(b"\x01\x00\x00\x00 and more"),
    "an unknown tagged field": metadata(b"\x01\x00\x00\x01\x63\x02xy"),
    "a known tagged field that may be skipped": sized(V2_HEADER[:-1] + b"\x01\x05\x01x" + b"\x01\x00\x00\x00"),
    "no topics at all": metadata(b"\x01\x00\x00\x00"),
}


@pytest.mark.parametrize("sent", ACCEPTED.values(), ids=ACCEPTED)
def test_oddity_is_accepted(wire: Wire, sent: bytes) -> None:
    wire.send(sent)
    assert wire.next_answer(ApiKey.METADATA, 12)[1].cluster_id


def test_half_a_frame_harms_nobody(wire: Wire, bystander: Wire) -> None:
    wire.send(METADATA[:9])
    assert bystander.ask(m.MetadataRequest([], False)).cluster_id
    wire.close()


def test_frame_may_come_byte_by_byte(wire: Wire) -> None:
    for at in range(len(METADATA)):
        wire.send(METADATA[at : at + 1])
    assert wire.next_answer(ApiKey.METADATA, 12)[1].cluster_id


def test_client_that_goes_in_the_middle_of_a_frame_harms_nobody(address: Address, bystander: Wire) -> None:
    for end in range(0, len(METADATA), 3):
        with Wire(address) as wire:
            wire.send(METADATA[:end])


def test_requests_in_one_piece_are_answered_in_order(wire: Wire) -> None:
    sent = b"".join(frame(m.MetadataRequest([], False), 12, correlation_id=n) for n in range(300))
    wire.send(sent)
    assert [wire.next_answer(ApiKey.METADATA, 12)[0] for _ in range(300)] == list(range(300))
