"""The partitions of this broker as the metadata image wants them: what to create, lead, follow, delete.

Called with each new image and what changed in it; compares names and epochs, never reloads. A log that cannot be made
because its directory is offline leaves a partition that answers KAFKA_STORAGE_ERROR.
"""

from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.controller.image import MetadataImage, PartitionRegistration, TopicImage
from riverport.kafka.log import Log
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.directory_assignments import MIGRATING, UNASSIGNED
from riverport.kafka.server.waiting import committed, wake

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)


class Topics:
    """Keeps `broker.partitions`, `broker.topic_names` and the logs in step with the image."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._known: dict[tuple[str | None, int], PartitionRegistration] = {}  # what `broker.partitions` go by

    def apply(self, image: MetadataImage, changed: list[str], deleted: list[tuple[str, bytes]]) -> None:
        """`changed` topics were created, or partitions of them changed; `deleted` are (name, id)."""
        for name, topic_id in deleted:
            self._delete(name, topic_id)
        for name in changed:
            if (topic := image.topics.get(name)) is not None:
                self._follow(topic, is_new=True)
        self._broker.replica_fetchers.settle()

    def reload(self, image: MetadataImage) -> None:
        """The image was read from a snapshot: what it has changed is not known."""
        gone = {(p.topic, p.topic_id) for p in self._broker.partitions.values() if p.topic_id not in image.topic_names}
        self.apply(image, list(image.topics), sorted(gone))

    def apply_all(self, image: MetadataImage) -> None:
        """At the start: every topic of the image. Logs that are none of them are set aside, as Kafka does."""
        for found in list(self._broker.logs):
            if self._is_stray(found, image):
                self._broker.logs.set_aside(found.topic, found.partition)
        for topic in image.topics.values():
            self._follow(topic, is_new=False)
        self._broker.replica_fetchers.settle()

    def _is_stray(self, found: Log, image: MetadataImage) -> bool:
        topic = image.topics.get(found.topic)
        if topic is None or topic.id != found.topic_id:
            return True
        registration = topic.partitions.get(found.partition)
        return registration is None or self._broker.node_id not in registration.replicas

    def _follow(self, topic: TopicImage, *, is_new: bool) -> None:
        broker = self._broker
        broker.topic_names[topic.id] = topic.name
        known = self._known
        for index, registration in topic.partitions.items():
            key = (topic.name, index)
            if known.get(key) is registration:
                continue  # one of thousands has changed, as a rule
            partition = broker.partitions.get(key)
            if broker.node_id not in registration.replicas:
                if partition is not None:
                    self._drop(partition)
                continue
            known[key] = registration
            if partition is None:
                opened = self._open(topic, index, registration, is_new=is_new)
                partition = Partition(
                    broker.node_id,
                    topic.name,
                    index,
                    topic.id,
                    opened,
                    broker.storage_failed,
                    broker.replication.surroundings,
                )
                broker.partitions[key] = partition
            self._take_over(partition, registration)
            if registration.directories:
                broker.directory_assignments.check(partition, registration)

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
        assigned = broker.directory_assignments.assigned(registration)
        wanted = broker.online_directory(assigned)
        if assigned != MIGRATING:
            # Who was told to have it in a directory that is offline must not begin anew in another (KIP-858).
            is_new = wanted is not None or assigned == UNASSIGNED
        try:
            config, now_ms = broker.log_config(topic.name), broker.clock.wall_ms()
            return broker.logs.get_or_create(topic.name, index, topic.id, config, now_ms, is_new=is_new, wanted=wanted)
        except StorageError as error:
            log.error("a partition's log cannot be opened", topic=topic.name, partition=index, error=error)
            return None

    def _delete(self, name: str, topic_id: bytes) -> None:
        broker = self._broker
        broker.topic_names.pop(topic_id, None)
        for partition in [p for p in broker.partitions.values() if p.topic == name and p.topic_id == topic_id]:
            self._drop(partition)

    def _drop(self, partition: Partition) -> None:
        broker = self._broker
        key = (partition.topic, partition.index)
        del broker.partitions[key], self._known[key]
        broker.replica_fetchers.unfollow(partition)
        wake(partition, 0, broker.loop)
        if partition.log is not None:
            broker.logs.delete(partition.topic, partition.index, broker.clock.mono_ms())
