"""A client of the tests that says exactly what it is told to, over a blocking socket."""

import contextlib
import itertools
import socket
import struct
import time
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import apis
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.frame import flexible_response, read_response_header, request_head

SECONDS = 20.0
CLOSED = "closed"
"""What the server says that closes the connection."""
NO_ID = bytes(16)

_numbers = itertools.count(1)


def unique(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def frame(request: Any, version: int | None = None, *, correlation_id: int = 1, client_id: str | None = "raw") -> bytes:
    """A whole request frame."""
    api = apis()[request._message.key]
    version = api.stable_high if version is None else version
    body = encode(request, version)
    return request_head(api.key, version, correlation_id, client_id, len(body)) + body


def sized(payload: bytes) -> bytes:
    """Any bytes as a frame."""
    return struct.pack(">i", len(payload)) + payload


class Wire:
    """One connection."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(SECONDS)
        self._socket.connect(address)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_some(self, data: bytes, seconds: float) -> int:
        """Send until the server takes no more for that long; how many bytes it took."""
        sent = 0
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while sent < len(data):
                sent += self._socket.send(data[sent : sent + 65536])
        self._socket.settimeout(SECONDS)
        return sent

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def ask(self, request: Any, version: int | None = None, *, client_id: str | None = "raw") -> Any:
        """The answer, or CLOSED."""
        correlation_id = next(_numbers)
        api = apis()[request._message.key]
        version = api.stable_high if version is None else version
        try:
            self.send(frame(request, version, correlation_id=correlation_id, client_id=client_id))
        except ConnectionError:
            return CLOSED
        answer = self.next_answer(api.key, version)
        if answer == CLOSED:
            return CLOSED
        assert answer[0] == correlation_id
        return answer[1]

    def next_answer(self, api_key: int, version: int) -> Any:
        """(correlation id, answer) of the next frame, or CLOSED."""
        raw = self.next_frame()
        if raw is None:
            return CLOSED
        correlation_id, start = read_response_header(memoryview(raw), flexible_response(api_key, version))
        answer, end = decode(apis()[api_key].response, version, memoryview(raw), start)
        assert end == len(raw), "bytes behind the answer"
        return correlation_id, answer

    def next_frame(self) -> bytes | None:
        """The next answer's bytes without their size; None where the server has closed the connection."""
        head = self._received(4)
        if len(head) < 4:
            return None
        (size,) = struct.unpack(">i", head)
        body = self._received(size)
        return body if len(body) == size else None

    def is_closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        return self._received(1) == b""

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while, and the connection stays open."""
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def _received(self, size: int) -> bytes:
        """As many bytes, fewer where the connection ends."""
        found = bytearray()
        try:
            while len(found) < size and (chunk := self._socket.recv(size - len(found))):
                found += chunk
        except ConnectionError:
            pass
        return bytes(found)


# --- requests


def make_topic(address: tuple[str, int], *, partitions: int = 1, **configs: object) -> tuple[str, bytes]:
    """Make a topic that can be written to: its name and id."""
    made = m.CreateTopicsRequest
    name = unique("t")
    entries = [made.CreatableTopicConfig(key.replace("_", "."), str(value)) for key, value in configs.items()]
    with Wire(address) as wire:
        (topic,) = wire.ask(made([made.CreatableTopic(name, partitions, 1, configs=entries)])).topics
        assert topic.error_code == 0, topic
        deadline = time.monotonic() + SECONDS
        everything = fetch([((name, topic.topic_id), [asked(index) for index in range(partitions)])])
        while time.monotonic() < deadline:
            (found,) = wire.ask(everything).responses
            if not any(partition.error_code for partition in found.partitions):
                return name, topic.topic_id
            time.sleep(0.02)
    raise TimeoutError(f"{name} has no leader")


def batch(*values: bytes, timestamp: int | None = None, **fields: Any) -> bytearray:
    """A record batch, its records without keys."""
    now_ms = int(time.time() * 1000) if timestamp is None else timestamp
    return build_batch([NewRecord(None, value, timestamp=now_ms) for value in values], **fields)


def produce(
    topic: tuple[str, bytes], *payloads: bytes | bytearray | None, acks: int = -1, transactional_id: str | None = None
) -> m.ProduceRequest:
    """Payloads for partitions 0, 1, ... of one topic, by name and id."""
    made = m.ProduceRequest
    data = [made.PartitionProduceData(index, payload) for index, payload in enumerate(payloads)]
    return made(transactional_id, acks, 10_000, [made.TopicProduceData(topic[0], topic[1], data)])


def produced(answer: m.ProduceResponse) -> Any:
    """The entry of an answer with one partition."""
    ((entry,),) = ([*topic.partition_responses] for topic in answer.responses)
    return entry


def asked(index: int = 0, offset: int = 0, **fields: Any) -> m.FetchRequest.FetchPartition:
    entry = m.FetchRequest.FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=1 << 20)
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def fetch(
    topics: Iterable[tuple[tuple[str, bytes], list[m.FetchRequest.FetchPartition]]] = (), **fields: Any
) -> m.FetchRequest:
    """A fetch of partitions of topics, which by default answers at once and has no session."""
    request = m.FetchRequest(
        topics=[m.FetchRequest.FetchTopic(name, topic_id, list(partitions)) for (name, topic_id), partitions in topics]
    )
    request.max_wait_ms, request.min_bytes, request.max_bytes = 0, 1, 50 << 20
    request.session_id, request.session_epoch = 0, -1
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def fetched(answer: m.FetchResponse) -> Any:
    """The entry of an answer with one partition."""
    (entry,) = (partition for topic in answer.responses for partition in topic.partitions)
    return entry


def values_of(records: Any) -> list[bytes | None]:
    """The values of every whole batch."""
    from riverport.kafka.records.batch import iter_headers
    from riverport.kafka.records.record import iter_records

    raw = bytes(records)
    return [record.value for header in iter_headers(raw) for record in iter_records(raw, header)]
