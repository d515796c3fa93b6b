"""What the clients of a simulation do, and the history of it: who was told what."""

import asyncio
import itertools
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client
from riverport.kafka.client.consumer import Consumer
from riverport.kafka.client.errors import ClientError, Disconnected, Refused, TimedOut
from riverport.kafka.client.offsets import committed_offsets
from riverport.kafka.client.producer import Producer
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.sim.cluster import SimCluster
from riverport.sim.process import SimClient

TOPIC = "orders"
REQUEST_MS = 1500
DELIVERY_MS = 6000
PAUSE_S = 0.2
"""After an error."""

CLIENT_OPTIONS = {"connect_timeout_ms": 1000, "request_timeout_ms": REQUEST_MS, "retry_timeout_ms": 4000}


@dataclass(slots=True)
class History:
    """Values are unique. What has neither an offset nor a refusal may or may not have been written."""

    sent: dict[int, list[bytes]] = field(default_factory=dict)  # by producer, in the order of sending
    acknowledged: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # (partition, offset)
    consumed: dict[int, list[tuple[int, int, bytes | None]]] = field(default_factory=dict)
    """By consumer: (partition, offset, value) in the order of reading."""
    committed: dict[str, dict[int, int]] = field(default_factory=dict)  # the last acknowledged commit of each group
    unanswered: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """By group: (partition, offset) of commits that nobody said anything of. Such a request may be read when later ones
    are answered already, and nothing in it says that it is old: Apache Kafka takes it, too."""
    made: dict[str, bool] = field(default_factory=dict)  # topics that were asked for, and whether that was acknowledged
    surprises: list[str] = field(default_factory=list)  # answers that no order of what happened explains


class _CommittingClient(Client):
    """Remembers the commits that were not answered."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.unanswered: set[tuple[int, int]] = set()

    async def ask_coordinator(self, group: str, body: Any, **options: Any) -> Any:
        try:
            return await super().ask_coordinator(group, body, **options)
        except (Disconnected, TimedOut):
            if isinstance(body, m.OffsetCommitRequest):
                self.unanswered |= {(p.partition_index, p.committed_offset) for t in body.topics for p in t.partitions}
            raise


class Workload:
    """All clients of a plan. `done` when every producer has sent its records."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.history = History()
        self.writers: list[asyncio.Task[Any]] = []
        self.readers: list[asyncio.Task[Any]] = []
        self._rng = Random(f"workload {cluster.plan.seed}")

    def start(self) -> None:
        plan = self.cluster.plan
        for number in range(plan.producers):
            process = self.cluster.new_client()
            self.writers.append(process.run(self._produce(process, number)))
        if plan.topics:
            process = self.cluster.new_client()
            self.writers.append(process.run(self._administrate(process)))
        for number in range(plan.consumers):
            process = self.cluster.new_client()
            self.readers.append(process.run(self._consume(process, number)))

        for number in range(plan.groups):
            process = self.cluster.new_client()
            self.readers.append(process.run(self._consume_in_group(process, f"group-{number}")))

    @property
    def is_done(self) -> bool:
        return all(task.done() for task in self.writers)

    def broken(self) -> str | None:
        """What a client of ours did not expect."""
        for task in (*self.writers, *self.readers):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                return f"a client has failed: {error!r}"
        return self.history.surprises[0] if self.history.surprises else None

    def _client(self, process: SimClient) -> Client:
        return process.client(self.cluster.bootstrap, **CLIENT_OPTIONS)

    async def prepare(self, process: SimClient) -> None:
        """Make the topic; nothing goes wrong yet."""
        async with self._client(process) as client:
            await Admin(client).create_topic(TOPIC, partitions=self.cluster.plan.partitions, replication_factor=3)

    # --- producers

    async def _produce(self, process: SimClient, number: int) -> None:
        rng = Random(self._rng.random())
        sent = self.history.sent[number] = []
        plan = self.cluster.plan
        async with self._client(process) as client:
            producer = Producer(client, acks=-1, idempotent=True, delivery_timeout_ms=DELIVERY_MS)
            while len(sent) < plan.records:
                waiting = []
                for _ in range(rng.choice((1, 1, 2, 4))):
                    partition = rng.randrange(plan.partitions)
                    value = b"%d:%d:%d" % (number, partition, len(sent))
                    sent.append(value)
                    waiting.append(await self._send(producer, partition, value))
                for value, acknowledgement in waiting:
                    await self._acknowledged(value, acknowledgement)
                await asyncio.sleep(rng.expovariate(6.0))
            await producer.close()

    async def _send(self, producer: Producer, partition: int, value: bytes) -> "tuple[bytes, asyncio.Future[Any]]":
        while True:
            try:
                return value, await producer.send(TOPIC, value=value, partition=partition)
            except ClientError as error:
                self.cluster.note(f"producer: {value.decode()} cannot be sent yet: {error}")
                await asyncio.sleep(PAUSE_S)

    async def _acknowledged(self, value: bytes, acknowledgement: "asyncio.Future[Any]") -> None:
        try:
            delivery = await acknowledgement
        except ClientError as error:
            self.cluster.note(f"producer: {value.decode()} was not acknowledged: {error}")
            return
        if delivery.offset >= 0:
            self.history.acknowledged[value] = (delivery.partition, delivery.offset)

    # --- consumers

    async def _consume(self, process: SimClient, number: int) -> None:
        consumed = self.history.consumed[number] = []
        async with self._client(process) as client:
            consumer = Consumer(client, reset="earliest")
            consumer.assign([(TOPIC, partition) for partition in range(self.cluster.plan.partitions)])
            while True:
                try:
                    records = await consumer.poll(timeout_ms=1000)
                except ClientError as error:
                    self.cluster.note(f"consumer: {error}")
                    await asyncio.sleep(PAUSE_S)
                    continue
                consumed.extend((record.partition, record.offset, record.value) for record in records)

    async def _consume_in_group(self, process: SimClient, group: str) -> None:
        committed = self.history.committed[group] = {}
        made = process.client_as(_CommittingClient, self.cluster.bootstrap, **CLIENT_OPTIONS)
        self.history.unanswered[group] = made.unanswered
        async with made as client:
            consumer = Consumer(client, group=group)
            consumer.subscribe([TOPIC])
            while True:
                try:
                    if not await consumer.poll(timeout_ms=1000):
                        continue
                    positions = {place[1]: consumer.position(*place) for place in consumer.assignment}
                    await consumer.commit()
                    committed.update(positions)
                except ClientError as error:
                    self.cluster.note(f"{group}: {error}")
                    await asyncio.sleep(PAUSE_S)

    async def last_commits(self, process: SimClient) -> dict[str, dict[int, int]]:
        """What each group has committed, as its coordinator says now."""
        found = {}
        places = [(TOPIC, partition) for partition in range(self.cluster.plan.partitions)]
        async with self._client(process) as client:
            for group in self.history.committed:
                offsets = await client.retrying(partial(committed_offsets, client, group, places))
                found[group] = {place[1]: committed.offset for place, committed in offsets.items()}
        return found

    # --- an administrator

    async def _administrate(self, process: SimClient) -> None:
        """Topics as a set that must be linearizable: who was told of one finds it, whoever is asked for it again."""
        rng = Random(self._rng.random())
        async with self._client(process) as client:
            for number in range(self.cluster.plan.topics):
                await asyncio.sleep(rng.uniform(0.2, 3.0))
                name = f"made-{number}"
                await self._make(client, name)
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                await self._make(client, name)

    async def _make(self, client: Client, name: str) -> None:
        for _ in itertools.count():
            if await self._ask_for(client, name):
                return
            await asyncio.sleep(PAUSE_S)

    async def _ask_for(self, client: Client, name: str) -> bool:
        """Ask for a topic; True once there is an answer."""
        was_made = self.history.made.setdefault(name, False)
        try:
            await Admin(client).create_topic(name, partitions=1, replication_factor=3)
        except Refused as error:
            if error.code == ErrorCode.TOPIC_ALREADY_EXISTS:
                self.history.made[name] = True
                return True
            self.cluster.note(f"administrator: {name} was not made: {error}")
            return False
        except ClientError as error:
            self.cluster.note(f"administrator: nothing is known of {name}: {error}")
            return False
        if was_made:
            self.history.surprises.append(
                f"topic {name} was made twice: its first making was acknowledged, and is gone"
            )
        self.history.made[name] = True
        return True
