"""Says requests to a node, one after the other, and keeps what of the answers is the same in every run."""

import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import apis
from riverport.kafka.wire.classes import StructBase
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.frame import flexible_response, request_head

BROKER, CONTROLLER = "broker", "controller"
NO_ID = bytes(16)
STRANGE_ID = bytes(range(16))

HIDDEN = frozenset(
    [
        # How busy, how large, where, when: different from run to run.
        *("throttle_time_ms", "total_bytes", "usable_bytes", "port", "cluster_id", "log_dir", "last_timestamp"),
        *("last_fetch_timestamp", "last_caught_up_timestamp", "high_watermark", "log_end_offset", "log_append_time_ms"),
        *("epoch", "leader_epoch", "finalized_features_epoch", "replica_directory_id"),
    ]
)
SHOWN_EPOCHS = ("OffsetForLeaderEpoch", "ListOffsets")
"""APIs whose leader epochs are answers of their own; elsewhere they tell how often the node was started."""


class Talk:
    """What was said so far that later requests need."""

    def __init__(self) -> None:
        self.ids: dict[str, bytes] = {}
        self.log_dirs: list[str] = []

    def learn(self, answer: Any) -> None:
        match answer:
            case m.CreateTopicsResponse():
                self.ids.update({t.name: t.topic_id for t in answer.topics if t.topic_id != NO_ID})
            case m.MetadataResponse():
                self.ids.update({t.name: t.topic_id for t in answer.topics if t.topic_id != NO_ID and t.name})
            case m.DescribeTopicPartitionsResponse():
                self.ids.update({t.name: t.topic_id for t in answer.topics if t.topic_id != NO_ID})
            case m.DescribeLogDirsResponse():
                self.log_dirs = sorted(result.log_dir for result in answer.results)

    def name_of(self, topic_id: bytes) -> str:
        return next((name for name, known in self.ids.items() if known == topic_id), topic_id.hex())


@dataclass(frozen=True, slots=True)
class Step:
    """One request, or what makes it from what was said before."""

    request: Any | Callable[[Talk], Any]
    version: int | None = None
    listener: str = BROKER

    def made(self, talk: Talk) -> Any:
        return self.request if isinstance(self.request, StructBase) else self.request(talk)


Chapters = Mapping[str, Callable[[], Iterator[Step]]]


def words(message: str) -> str:
    """A message by its digest: enough to see that it is the same."""
    return hashlib.sha256(message.encode()).hexdigest()[:12]


def plain(value: Any, talk: Talk, api: str, *, digest: bool = True) -> Any:
    """An answer without what differs from run to run. Lists of structs are sorted: a server's maps order them."""
    if isinstance(value, StructBase):
        found: dict[str, Any] = {}
        for name in value._fields:
            if name in HIDDEN and not (name == "leader_epoch" and api in SHOWN_EPOCHS):
                continue
            content = getattr(value, name)
            if digest and content and name in ("error_message", "batch_index_error_message"):
                content = words(content)
            found[name] = plain(content, talk, api, digest=digest)
        return found
    if isinstance(value, list):
        made = [plain(item, talk, api, digest=digest) for item in value]
        return sorted(made, key=json.dumps) if value and isinstance(value[0], StructBase) else made
    if isinstance(value, bytes | bytearray | memoryview):
        return talk.name_of(bytes(value)) if len(value) == 16 else bytes(value).hex()
    return value


class Speaker:
    """Connections to one node, opened anew where the node closed them."""

    def __init__(self, addresses: dict[str, tuple[str, int]], pause_seconds: float = 0.0) -> None:
        self.talk = Talk()
        self._addresses = addresses
        self._pause_seconds = pause_seconds
        self._sockets: dict[str, socket.socket] = {}

    def say(self, step: Step) -> Any:
        """The answer, or the word "closed" where the node closed the connection."""
        request = step.made(self.talk)
        api = apis()[request._message.key]
        version = api.stable_high if step.version is None else step.version
        connection = self._sockets.get(step.listener) or socket.create_connection(self._addresses[step.listener], 10)
        self._sockets[step.listener] = connection
        body = bytes(encode(request, version))
        connection.sendall(request_head(api.key, version, 1, "judge", len(body)) + body)
        size = self._received(connection, 4)
        if not size:
            self._sockets.pop(step.listener).close()
            return "closed"
        frame = self._received(connection, struct.unpack(">i", size)[0])
        start = 5 if flexible_response(api.key, version) else 4
        answer, _ = decode(api.response, version, memoryview(frame), start)
        self.talk.learn(answer)
        time.sleep(self._pause_seconds)
        return answer

    def _received(self, connection: socket.socket, size: int) -> bytes:
        """`size` bytes, fewer where the connection ends."""
        found = b""
        while len(found) < size and (chunk := connection.recv(size - len(found))):
            found += chunk
        return found

    def answers(self, chapters: Chapters, *, digest: bool = True) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for chapter, steps in chapters.items():
            found[chapter] = []
            for step in steps():
                answer = self.say(step)
                name = apis()[step.made(self.talk)._message.key].name
                found[chapter].append(plain(answer, self.talk, name, digest=digest))
        return found

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()
