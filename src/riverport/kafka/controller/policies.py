"""What settings and brokers allow a partition: its effective min.insync.replicas, unclean elections, who may lead."""

from collections.abc import Callable
from typing import Any

from riverport.kafka.controller.features import ELR_VERSION, METADATA_VERSION
from riverport.kafka.controller.image import BROKER_RESOURCE, TOPIC_RESOURCE, MetadataImage
from riverport.kafka.controller.partition_change import Election, PartitionChange
from riverport.kafka.controller.placement import MIGRATING_DIRECTORY, default_directory, is_online
from riverport.kafka.controller.registrations import NO_LEADER, PartitionRegistration, TopicImage

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

    def of(self, topic: TopicImage) -> "TopicPolicy":
        """The topic's policy as it is now; whoever changes many partitions of a topic asks once."""
        return TopicPolicy(self, topic)

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

    def is_active(self, broker: int) -> bool:
        node = self._image.brokers.get(broker)
        return node is not None and node.is_active

    def has_online(self, partition: PartitionRegistration, broker: int) -> bool:
        """Whether a replica is, as far as is known, in a directory that can be used."""
        if not partition.directories or broker not in partition.replicas:
            return True
        return is_online(self._image.brokers[broker], partition.directories[partition.replicas.index(broker)])

    def default_directory(self, broker: int) -> bytes:
        node = self._image.brokers.get(broker)
        return MIGRATING_DIRECTORY if node is None else default_directory(node)


class TopicPolicy:
    """What holds for every partition of one topic, looked up once, and the changes that are made under it."""

    __slots__ = ("_policies", "default_directory", "election", "has_elr", "level", "min_isr", "topic")

    def __init__(self, policies: Policies, topic: TopicImage) -> None:
        self._policies = policies
        self.topic = topic
        self.level = policies.level
        self.has_elr = policies.has_elr
        self.min_isr = policies.min_isr(topic)
        self.election = Election.UNCLEAN if policies.allows_unclean(topic.name) else Election.ONLINE
        self.default_directory = policies.default_directory

    def change(self, index: int, election: Election | None = None) -> PartitionChange:
        """A change of a partition, to be filled in. By default a leader is found as the topic allows it."""
        partition, policies = self.topic.partitions[index], self._policies

        def may_lead(broker: int) -> bool:
            return policies.is_active(broker) and policies.has_online(partition, broker)

        change = PartitionChange(partition, self, may_lead)
        change.election = self.election if election is None else election
        return change

    def without(self, index: int, broker: int, joining: int = NO_LEADER) -> PartitionChange:
        """A change after which `broker` is not in sync and leads nothing, and `joining` may lead."""
        partition, policies = self.topic.partitions[index], self._policies

        def may_lead(id_: int) -> bool:
            if id_ == broker or not (id_ == joining or policies.is_active(id_)):
                return False
            return policies.has_online(partition, id_)

        change = PartitionChange(partition, self, may_lead)
        change.election = self.election
        if broker in partition.isr:
            change.isr = tuple(id_ for id_ in partition.isr if id_ != broker)
        return change
