"""The partitions of this broker as the metadata image wants them: what to create, lead, follow, delete.

Called with each new image and what changed in it; compares names and epochs, never reloads. A log that cannot be made
because its directory is offline leaves a partition that answers KAFKA_STORAGE_ERROR.

Making a log takes a fraction of a millisecond, thousands of them would keep the node from everything else, its
heartbeats among it. What does not fit into a slice of time is made in later turns of the loop. Until then a partition
is as one that other brokers have.
"""

import asyncio
from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import PartitionRegistration, TopicImage
from riverport.kafka.log import Log
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.acknowledgements import give_up
from riverport.kafka.server.directory_assignments import MIGRATING, UNASSIGNED
from riverport.kafka.server.waiting import committed, wake
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

OFFSETS_TOPIC = "__consumer_offsets"
"""The topic of the group coordinators: who leads a partition of it coordinates."""
SLICE_MS = 5
"""How long logs are made at a stretch: as long a request may have to wait while thousands of them are made."""


class Topics:
    """Keeps `broker.partitions`, `broker.topic_names` and the logs in step with the image."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._known: dict[tuple[str | None, int], PartitionRegistration] = {}  # what `broker.partitions` go by
        self._to_make: dict[tuple[str, int], bool] = {}  # partitions without a log, in order: are they new?
        self._making: asyncio.Handle | None = None
        self._made_all: asyncio.Future[None] | None = None  # who waits until there is none of them

    def apply(self, image: MetadataImage, changed: list[str], deleted: list[tuple[str, bytes]]) -> None:
        """`changed` topics were created, or partitions of them changed; `deleted` are (name, id)."""
        for name, topic_id in deleted:
            self._delete(name, topic_id)
        until_ms = self._broker.clock.mono_ms() + SLICE_MS
        for name in changed:
            if (topic := image.topics.get(name)) is not None:
                self._follow(topic, until_ms)
        self._broker.replica_fetchers.settle()
        self._make_later()

    def close(self) -> None:
        if self._making is not None:
            self._making.cancel()

    async def made(self) -> None:
        """Returns once every log is there that `apply_all` has found missing."""
        if self._to_make:
            self._made_all = self._broker.loop.create_future()
            await self._made_all

    def _make_later(self) -> None:
        if self._to_make:
            if self._making is None:
                self._making = self._broker.loop.call_soon(self._make_more)
        elif self._made_all is not None and not self._made_all.done():
            self._made_all.set_result(None)

    def _make_more(self) -> None:
        """Go on with what did not fit, as the image has it by now."""
        self._making = None
        broker = self._broker
        until_ms = broker.clock.mono_ms() + SLICE_MS
        with_groups = False
        while self._to_make:
            name, index = next(iter(self._to_make))
            is_new = self._to_make.pop((name, index))
            topic = broker.metadata.image.topics.get(name)
            if topic is not None and index in topic.partitions:
                self._follow_one(topic, index, topic.partitions[index], is_new=is_new)
                with_groups = with_groups or name == OFFSETS_TOPIC
            if broker.clock.mono_ms() >= until_ms:
                break
        if with_groups:
            broker.groups.follow()
        self._make_later()

    def reload(self, image: MetadataImage) -> None:
        """The image was read from a snapshot: what it has changed is not known."""
        gone = {(p.topic, p.topic_id) for p in self._broker.partitions.values() if p.topic_id not in image.topic_names}
        self.apply(image, list(image.topics), sorted(gone))

    def apply_all(self, image: MetadataImage) -> None:
        """At the start: every topic of the image. Logs that are none of them are set aside, as Kafka does.

        Logs that are missing, because the last run ended before it made them, are made in later turns: see `made`.
        """
        for found in list(self._broker.logs):
            if self._is_stray(found, image):
                self._broker.logs.set_aside(found.topic, found.partition)
        for topic in image.topics.values():
            self._broker.topic_names[topic.id] = topic.name
            for index, registration in topic.partitions.items():
                if self._broker.node_id in registration.replicas and self._broker.logs.get(topic.name, index) is None:
                    self._to_make[topic.name, index] = False
                else:
                    self._follow_one(topic, index, registration, is_new=False)
        self._broker.replica_fetchers.settle()
        self._make_later()

    def _is_stray(self, found: Log, image: MetadataImage) -> bool:
        topic = image.topics.get(found.topic)
        if topic is None or topic.id != found.topic_id:
            return True
        registration = topic.partitions.get(found.partition)
        return registration is None or self._broker.node_id not in registration.replicas

    def _follow(self, topic: TopicImage, until_ms: float) -> None:
        broker, known, to_make = self._broker, self._known, self._to_make
        broker.topic_names[topic.id] = topic.name
        for index, registration in topic.partitions.items():
            key = (topic.name, index)
            if known.get(key) is registration:
                continue  # one of thousands has changed, as a rule
            if key not in broker.partitions and broker.node_id in registration.replicas:
                if key in to_make:
                    continue
                if to_make or broker.clock.mono_ms() >= until_ms:
                    to_make[key] = True
                    continue
            self._follow_one(topic, index, registration, is_new=True)

    def _follow_one(self, topic: TopicImage, index: int, registration: PartitionRegistration, *, is_new: bool) -> None:
        broker, key = self._broker, (topic.name, index)
        partition = broker.partitions.get(key)
        if broker.node_id not in registration.replicas:
            if partition is not None:
                self._drop(partition, ErrorCode.NOT_LEADER_OR_FOLLOWER)
            return
        self._known[key] = registration
        if partition is None:
            partition = broker.partitions[key] = self._made(topic, index, registration, is_new=is_new)
        self._take_over(partition, registration)
        if registration.directories:
            broker.directory_assignments.check(partition, registration)

    def _made(self, topic: TopicImage, index: int, registration: PartitionRegistration, *, is_new: bool) -> Partition:
        broker = self._broker
        return Partition(
            broker.node_id,
            topic.name,
            index,
            topic.id,
            self._open(topic, index, registration, is_new=is_new),
            broker.directories.log_failed,
            broker.replication.surroundings,
        )

    def _take_over(self, partition: Partition, registration: PartitionRegistration) -> None:
        broker, before = self._broker, partition.high_watermark
        if partition.follow_metadata(
            registration.leader,
            registration.leader_epoch,
            registration.partition_epoch,
            registration.replicas,
            registration.isr,
            broker.clock.mono_ms(),
        ):
            wake(partition, 0, broker.loop)
            broker.replica_fetchers.follow(partition)
        if partition.high_watermark > before:
            committed(partition, broker.loop)
        broker.replication.reconsider(partition)

    def _open(self, topic: TopicImage, index: int, registration: PartitionRegistration, *, is_new: bool) -> Log | None:
        broker = self._broker
        found = broker.logs.get(topic.name, index)
        if found is not None and found.topic_id == topic.id:
            return found
        assigned = broker.directory_assignments.assigned(registration)
        wanted = broker.directories.online_path(assigned)
        if assigned != MIGRATING:
            # Who was told to have it in a directory that is offline must not begin anew in another (KIP-858).
            is_new = wanted is not None or assigned == UNASSIGNED
        try:
            config, now_ms = broker.configs.log_config(topic.name), broker.clock.wall_ms()
            return broker.logs.get_or_create(topic.name, index, topic.id, config, now_ms, is_new=is_new, wanted=wanted)
        except StorageError as error:
            log.error("a partition's log cannot be opened", topic=topic.name, partition=index, error=error)
            return None

    def _delete(self, name: str, topic_id: bytes) -> None:
        broker = self._broker
        broker.topic_names.pop(topic_id, None)
        for partition in [p for p in broker.partitions.values() if p.topic == name and p.topic_id == topic_id]:
            self._drop(partition, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def _drop(self, partition: Partition, code: ErrorCode) -> None:
        """This broker has it no longer; who waits for replicas is told `code`, or would wait for its timeout."""
        broker = self._broker
        key = (partition.topic, partition.index)
        del broker.partitions[key], self._known[key]
        broker.replica_fetchers.unfollow(partition)
        give_up(partition, ApiError(code))
        wake(partition, 0, broker.loop)
        if partition.log is not None:
            broker.logs.delete(partition.topic, partition.index, broker.clock.mono_ms())
