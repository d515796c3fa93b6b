"""Brokers on paper: registered with the controller and unfenced, and followers of one real leader over a plain socket.

What a real follower would do is the test's to say, fetch by fetch.
"""

import time
from typing import Any

from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import SECONDS, Wire, asked, batch, fetch, frame, produce, unique

from riverport.kafka.controller import features
from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.testing import Broker

Topic = tuple[str, bytes]
CONFIG: dict[str, object] = {
    "broker.session.timeout.ms": 600_000,
    "replica.lag.time.max.ms": 600_000,
    "controlled.shutdown.enable": False,
}
"""Nobody sends heartbeats for them, nobody takes over what they should lead, and tests do not hurry."""


def register(broker: Broker, *ids: int, rack: str | None = None) -> dict[int, int]:
    """The broker epochs of new, unfenced brokers, by id."""

    async def make(node: Any) -> dict[int, int]:
        made, epochs = m.BrokerRegistrationRequest, {}
        for id_ in ids:
            answer = await node.channel.send(
                made(
                    broker_id=id_,
                    cluster_id=node.cluster_id,
                    incarnation_id=bytes(12) + time.monotonic_ns().to_bytes(8, "big")[4:],
                    listeners=[made.Listener("PLAINTEXT", "127.0.0.1", 1, 0)],
                    features=[made.Feature(name, *levels) for name, levels in features.SUPPORTED.items()],
                    rack=rack,
                    log_dirs=[node.ids.uuid()],
                )
            )
            assert answer.error_code == 0, answer
            epochs[id_] = answer.broker_epoch
            beat = m.BrokerHeartbeatRequest(id_, answer.broker_epoch, answer.broker_epoch, False, False)
            answer = await node.channel.send(beat)
            assert (answer.error_code, answer.is_fenced) == (0, False), answer
        return epochs

    return broker.run(make)


def heartbeat(broker: Broker, id_: int, epoch: int, *, want_fence: bool) -> None:
    async def beat(node: Any) -> None:
        answer = await node.channel.send(m.BrokerHeartbeatRequest(id_, epoch, node.metadata.image.offset, want_fence))
        assert answer.error_code == 0, answer

    broker.run(beat)


def make_topic(broker: Broker, *assignment: list[int], **configs: object) -> Topic:
    """A topic whose partitions have these replicas; the broker leads those in which it comes first."""
    made, name = m.CreateTopicsRequest, unique("t")
    entries = [made.CreatableTopicConfig(key.replace("_", "."), str(value)) for key, value in configs.items()]
    places = [made.CreatableReplicaAssignment(index, replicas) for index, replicas in enumerate(assignment)]
    with Wire(address_of(broker)) as wire:
        (topic,) = wire.ask(made([made.CreatableTopic(name, -1, -1, places, entries)])).topics
    assert topic.error_code == 0, topic
    until(broker, lambda node: (name, 0) in node.partitions or node.node_id not in assignment[0])
    return name, topic.topic_id


def until(broker: Broker, condition: Any) -> None:
    """Wait until the node is as it should be."""

    async def holds(node: Any) -> bool:
        return bool(condition(node))

    deadline = time.monotonic() + SECONDS
    while not broker.run(holds):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def registration(broker: Broker, topic: Topic, index: int = 0) -> PartitionRegistration:
    async def look(node: Any) -> PartitionRegistration:
        return node.metadata.image.topics[topic[0]].partitions[index]  # type: ignore[no-any-return]

    return broker.run(look)


class Follower:
    """One connection of a paper broker to the leader, with a fetch session."""

    def __init__(self, broker: Broker, id_: int, epoch: int) -> None:
        self.wire = Wire(address_of(broker))
        self.id = id_
        self.epoch = epoch
        self.session_id = self.session_epoch = 0
        self.offsets: dict[tuple[str, int], int] = {}

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def request(self, topic: Topic | None = None, *, max_wait_ms: int = 0, **offsets: Any) -> m.FetchRequest:
        """A fetch of partitions `p0=3` of a topic: partition 0 from offset 3."""
        entries = [asked(int(key[1:]), offset) for key, offset in offsets.items()]
        return fetch(
            [] if topic is None else [(topic, entries)],
            max_wait_ms=max_wait_ms,
            session_id=self.session_id,
            session_epoch=self.session_epoch,
            replica_state=m.FetchRequest.ReplicaState(self.id, self.epoch),
        )

    def fetch(self, topic: Topic | None = None, *, max_wait_ms: int = 0, **offsets: Any) -> dict[int, Any]:
        """What is told of each partition."""
        return self._told(self.wire.ask(self.request(topic, max_wait_ms=max_wait_ms, **offsets)))

    def begin(self, topic: Topic | None = None, *, max_wait_ms: int = 60_000, **offsets: Any) -> None:
        """Send a fetch that waits."""
        self.wire.send(frame(self.request(topic, max_wait_ms=max_wait_ms, **offsets)))

    def end(self) -> dict[int, Any]:
        """The answer to what was begun."""
        return self._told(self.wire.next_answer(ApiKey.FETCH, 18)[1])

    def _told(self, answer: m.FetchResponse) -> dict[int, Any]:
        assert answer.error_code == 0, answer
        if answer.session_id:
            self.session_epoch = 1 if self.session_id != answer.session_id else self.session_epoch + 1
            self.session_id = answer.session_id
        return {entry.partition_index: entry for topic in answer.responses for entry in topic.partitions}


def write(wire: Wire, topic: Topic, *values: bytes, acks: int = -1, timeout_ms: int = 60_000) -> None:
    """Send a produce request for partition 0; `next_answer` has what comes of it."""
    request = produce(topic, batch(*values), acks=acks)
    request.timeout_ms = timeout_ms
    wire.send(frame(request))
