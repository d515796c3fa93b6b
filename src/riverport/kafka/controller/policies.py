"""What settings and brokers allow a partition: its effective min.insync.replicas, unclean elections, who may lead."""

from collections.abc import Callable
from functools import partial
from typing import Any

from riverport.kafka.controller.features import ELR_VERSION, METADATA_VERSION
from riverport.kafka.controller.image import (
    BROKER_RESOURCE,
    NO_LEADER,
    TOPIC_RESOURCE,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from riverport.kafka.controller.partition_change import Election, PartitionChange
from riverport.kafka.controller.placement import MIGRATING_DIRECTORY, default_directory, is_online

MIN_INSYNC, UNCLEAN_ELECTION = "min.insync.replicas", "unclean.leader.election.enable"


class Policies:
    """Reads one image. `static(key)` is the setting of this node's own configuration."""

    def __init__(self, image: MetadataImage, node_id: int, static: Callable[[str], Any]) -> None:
        self._image = image
        self._own = str(node_id)
        self._static = static

    @property
    def level(self) -> int:
        return self._image.features.get(METADATA_VERSION, 0)

    @property
    def has_elr(self) -> bool:
        return self._image.features.get(ELR_VERSION, 0) > 0

    def min_isr(self, topic: TopicImage) -> int:
        """No more than there are replicas: nobody could write with more."""
        return min(int(self._setting(topic.name, MIN_INSYNC)), len(topic.partitions[0].replicas))

    def allows_unclean(self, topic: str) -> bool:
        return str(self._setting(topic, UNCLEAN_ELECTION)).lower() == "true"

    def _setting(self, topic: str, key: str) -> Any:
        """The topic's own value, else this node's, else the cluster's, else the configuration file's or the default."""
        for kind, name in ((TOPIC_RESOURCE, topic), (BROKER_RESOURCE, self._own), (BROKER_RESOURCE, "")):
            value = self._image.config(kind, name).get(key)
            if value is not None:
                return value
        return self._static(key)

    def change(
        self,
        topic: TopicImage,
        index: int,
        *,
        election: Election = Election.ONLINE,
        is_active: Callable[[int], bool] | None = None,
    ) -> PartitionChange:
        """A change of a partition, to be filled in. `is_active` tells of brokers that are about to come or go."""
        partition = topic.partitions[index]
        return PartitionChange(
            partition,
            partial(self._may_lead, partition, is_active or self.is_active),
            self._default_directory,
            self.min_isr(topic),
            self.has_elr,
            self.level,
            election,
        )

    def without(self, topic: TopicImage, index: int, broker: int, joining: int = NO_LEADER) -> PartitionChange:
        """A change after which `broker` is not in sync and leads nothing, and `joining` may lead."""

        def is_active(id_: int) -> bool:
            return id_ != broker and (id_ == joining or self.is_active(id_))

        change = self.change(topic, index, election=self.election_of(topic.name), is_active=is_active)
        change.isr = tuple(id_ for id_ in change.isr if id_ != broker)
        return change

    def election_of(self, topic: str) -> Election:
        """How a leader is found when one is needed."""
        return Election.UNCLEAN if self.allows_unclean(topic) else Election.ONLINE

    def is_active(self, broker: int) -> bool:
        node = self._image.brokers.get(broker)
        return node is not None and node.is_active

    def _may_lead(self, partition: PartitionRegistration, is_active: Callable[[int], bool], broker: int) -> bool:
        if not is_active(broker):
            return False
        if not partition.directories or broker not in partition.replicas:
            return True
        return is_online(self._image.brokers[broker], partition.directories[partition.replicas.index(broker)])

    def _default_directory(self, broker: int) -> bytes:
        node = self._image.brokers.get(broker)
        return MIGRATING_DIRECTORY if node is None else default_directory(node)
