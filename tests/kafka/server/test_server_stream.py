"""Bytes into a connection: however the stream is cut into reads, and whatever is in it."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kafka.server.conftest import address_of
from tests.kafka.server.driven import answers, answers_side_by_side
from tests.kafka.server.senseless import senseless_request, served
from tests.kafka.server.wire import NO_ID, Wire, asked, batch, fetch, frame, produce

from riverport.kafka.server.connection import RECEIVE_BUFFER
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import Api, ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

NOW_MS = 1_700_000_000_000
EXAMPLES = 60


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        for name in ("t", "u"):
            broker.create_topic(name)
        answers(broker, [frame(produce(("t", NO_ID), batch(b"v" * 50, timestamp=NOW_MS)), 9)])
        yield broker


def conversation() -> list[bytes]:
    """Requests whose answers are the same each time: small ones, ones larger than the buffer, waiting ones."""
    ours = ("t", NO_ID)
    return [
        frame(m.ApiVersionsRequest(), 2),
        frame(m.MetadataRequest([m.MetadataRequest.MetadataRequestTopic(NO_ID, "t")], False), 9, correlation_id=2),
        frame(fetch([(ours, [asked()])]), 12, correlation_id=3),
        frame(produce(ours, b"x" * (2 * RECEIVE_BUFFER)), 9, correlation_id=4),
        frame(fetch([(ours, [asked(0, 1)])], max_wait_ms=1), 12, correlation_id=5),
        frame(produce(ours, b"x" * (RECEIVE_BUFFER - 90)), 9, correlation_id=6),
        frame(produce(("nowhere", NO_ID), batch(b"v", timestamp=NOW_MS)), 9, correlation_id=7),
        frame(m.DescribeClusterRequest(), 1, correlation_id=8),
    ]


@pytest.fixture(scope="module")
def expected(broker: Broker) -> bytes:
    """The answers where every request comes in a read of its own, without hurry."""
    found = answers(broker, conversation())
    assert found == answers(broker, conversation())
    return found


SIZES = st.sampled_from([1, 2, 3, 4, 5, 13, 100, RECEIVE_BUFFER - 1, RECEIVE_BUFFER, RECEIVE_BUFFER + 1, 10**6])


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in pieces of these sizes, over and over; the rest in one after a few thousand."""
    pieces, at = [], 0
    while at < len(stream):
        size = sizes[len(pieces) % len(sizes)] if len(pieces) < 3_000 else len(stream)
        pieces.append(stream[at : at + size])
        at += size
    return pieces


CUTS = st.lists(SIZES | st.integers(1, 3 * RECEIVE_BUFFER), min_size=1, max_size=40)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=CUTS)
def test_answers_do_not_depend_on_how_the_stream_is_cut(broker: Broker, expected: bytes, sizes: list[int]) -> None:
    assert answers(broker, cut(b"".join(conversation()), sizes)) == expected


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(CUTS, min_size=2, max_size=4))
def test_connections_do_not_meet_in_the_buffer_they_share(
    broker: Broker, expected: bytes, cuts: list[list[int]]
) -> None:
    stream = b"".join(conversation())
    found = answers_side_by_side(broker, [cut(stream, sizes) for sizes in cuts])
    assert found == [expected] * len(cuts)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(end=st.integers(0, 5_000))
def test_stream_may_end_anywhere(broker: Broker, expected: bytes, end: int) -> None:
    assert expected.startswith(answers(broker, [b"".join(conversation())[:end]]))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A request of any API in any version, and what a bad line makes of it."""
    api = draw(st.sampled_from([api for api in served() if api.key != ApiKey.DELETE_TOPICS]))  # those are needed
    version = draw(st.integers(api.versions.low, api.versions.high))
    body = bytearray(draw(requests_of(api, version)))
    for _ in range(draw(st.integers(0, 3))):
        if not body:
            break
        at = draw(st.integers(10, max(len(body) - 1, 10)))
        change = draw(st.sampled_from(["flip", "set", "insert", "delete", "cut"]))
        if at >= len(body):
            continue
        if change == "flip":
            body[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            body[at] = draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]))
        elif change == "insert":
            body[at:at] = draw(st.binary(min_size=1, max_size=5))
        elif change == "delete":
            del body[at : at + draw(st.integers(1, 5))]
        else:
            del body[at:]
    return api.name, len(body).to_bytes(4, "big") + bytes(body)


def requests_of(api: Api, version: int) -> st.SearchStrategy[bytes]:
    """The payloads of valid frames: the plain request, and for some APIs one with things in it."""
    plain: list[Any] = [api.request()]
    ours = ("t", NO_ID)
    if api.key == ApiKey.PRODUCE:
        plain.append(produce(ours, batch(b"v" * 9, b"w", timestamp=NOW_MS)))
    elif api.key == ApiKey.FETCH:
        plain.append(fetch([(ours, [asked()])], session_epoch=0 if version >= 7 else -1))
    elif api.key == ApiKey.OFFSET_COMMIT:
        made = m.OffsetCommitRequest
        committed = made.OffsetCommitRequestTopic("t", NO_ID, [made.OffsetCommitRequestPartition()])
        plain.append(made("g", topics=[committed]))
    elif api.key == ApiKey.METADATA:
        plain.append(m.MetadataRequest([m.MetadataRequest.MetadataRequestTopic(NO_ID, "t")], True))
    elif api.key == ApiKey.LIST_OFFSETS:
        wanted = m.ListOffsetsRequest
        plain.append(wanted(-1, 0, [wanted.ListOffsetsTopic("t", [wanted.ListOffsetsPartition(0, -1, -1)])]))
    frames = []
    for request in plain:
        try:
            frames.append(frame(request, version)[4:])
        except m.WireError:
            continue
    return st.sampled_from(frames or [frame(m.ApiVersionsRequest("a", "1"), 3)[4:]])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(damaged(), min_size=1, max_size=4))
def test_damaged_requests_harm_nobody(broker: Broker, requests: list[tuple[str, bytes]]) -> None:
    """The connection is closed or the request answered; nothing fails inside, and others are served."""
    answers(broker, [payload for _, payload in requests], patience=5)
    broker.check()
    assert answers(broker, [frame(m.DescribeClusterRequest(), 1)])


@pytest.mark.parametrize(("kind", "seed"), [("broker", 0), ("broker", 1), ("controller", 2)])
def test_senseless_requests_are_answered_and_harm_nobody(kind: str, seed: int) -> None:
    """Random values in every field: an answer that cannot be encoded is a failure, too. See fuzz/fuzz_server.py."""
    rng = Random(seed)
    with Broker() as broker:
        for topic in ("t", "u"):
            broker.create_topic(topic)
        for _ in range(400):
            _, payload = senseless_request(rng, kind)
            answers(broker, [len(payload).to_bytes(4, "big") + payload], patience=5, kind=kind)
            broker.check()
        assert answers(broker, [frame(m.DescribeClusterRequest(), 1)])


def test_failure_of_a_request_without_items_is_answered_without_any(broker: Broker) -> None:
    asked_from = m.DescribeTopicPartitionsRequest.Cursor("t", -5)  # a partition that none can be
    with Wire(address_of(broker)) as wire:
        assert wire.ask(m.DescribeTopicPartitionsRequest([], 10, asked_from)).topics == []


@pytest.mark.parametrize("version", [1, 2, 3])
def test_answer_has_only_what_its_version_can_carry(broker: Broker, version: int) -> None:
    with Wire(address_of(broker)) as wire:
        answer = wire.ask(m.CreateDelegationTokenRequest(), version)
        assert answer.error_code == ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
        assert answer.token_requester_principal_type == ("User" if version == 3 else "")
