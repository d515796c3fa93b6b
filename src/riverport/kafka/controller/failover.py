"""What the coming and going of brokers and directories does to leaders, in-sync and eligible replicas (KIP-631).

Each function returns the records of the partitions concerned, and costs their number, not the cluster's.
"""

from collections.abc import Iterable
from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.memberships import TopicPartition
from riverport.kafka.controller.policies import Policies, TopicPolicy
from riverport.kafka.controller.registrations import NO_LEADER, PartitionRegistration


class Failover:
    """Decisions on partitions; the image is only read."""

    def __init__(self, image: MetadataImage, policies: Policies) -> None:
        self._image = image
        self._policies = policies

    def leads_anything(self, broker: int) -> bool:
        return any(self._partition(key).leader == broker for key in self._image.memberships.in_isr(broker))

    def gone(self, broker: int) -> list[Any]:
        """It is no longer in sync anywhere, so it leads nothing."""
        return self._updated(self._image.memberships.in_isr(broker), without=broker)

    def gone_with_its_data(self, broker: int) -> list[Any]:
        """It may lack what it had acknowledged (after an unclean shutdown), or is forgotten: not eligible either."""
        members = self._image.memberships
        return self._updated([*members.in_isr(broker), *members.in_elr(broker)], without=broker, data_lost=True)

    def came_up(self, broker: int) -> list[Any]:
        """It may lead what nobody leads."""
        return self._updated(list(self._image.memberships.leaderless), joining=broker)

    def directories_lost(self, broker: int, directories: Iterable[bytes]) -> list[Any]:
        """What it has in them is not in sync any more."""
        lost = set(directories)
        return self._updated(
            [key for key in self._image.memberships.in_isr(broker) if self._directory(key, broker) in lost],
            without=broker,
        )

    def _partition(self, key: TopicPartition) -> PartitionRegistration:
        topic = self._image.topic_by_id(key[0])
        assert topic is not None, key
        return topic.partitions[key[1]]

    def _directory(self, key: TopicPartition, broker: int) -> bytes:
        found = self._partition(key)
        at = found.replicas.index(broker)
        return found.directories[at] if found.directories else b""

    def _updated(
        self,
        keys: Iterable[TopicPartition],
        *,
        without: int = NO_LEADER,
        joining: int = NO_LEADER,
        data_lost: bool = False,
    ) -> list[Any]:
        records: list[Any] = []
        policies: dict[bytes, TopicPolicy] = {}
        for topic_id, index in keys:
            policy = policies.get(topic_id)
            if policy is None:
                topic = self._image.topic_by_id(topic_id)
                assert topic is not None, topic_id
                policy = policies[topic_id] = self._policies.of(topic)
            change = policy.without(index, without, joining)
            change.unclean_shutdown = without if data_lost else NO_LEADER
            record = change.record(topic_id, index)
            if record is not None:
                records.append(record)
        return records
