"""The cluster as the metadata records say. `apply` is the only way anything here changes.

One image belongs to one node's event loop; what lies in its tables (`registrations`) is replaced, never changed in
place, so that whoever holds one keeps a consistent view.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from riverport.kafka.controller.memberships import Memberships
from riverport.kafka.controller.registrations import (
    BrokerRegistration,
    ControllerRegistration,
    PartitionRegistration,
    TopicImage,
    changed_broker,
    changed_partition,
    registered_broker,
    registered_controller,
    registered_partition,
)
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import WireError

TOPIC_RESOURCE, BROKER_RESOURCE, LOGGER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE = 2, 4, 8, 16, 32


@dataclass(slots=True)
class MetadataDelta:
    """What changed since the last time somebody looked, by name."""

    topics: set[str] = field(default_factory=set)  # created, or a partition of them changed
    deleted_topics: dict[bytes, str] = field(default_factory=dict)
    configs: set[tuple[int, str]] = field(default_factory=set)
    brokers: set[int] = field(default_factory=set)
    features: bool = False
    quotas: bool = False
    everything: bool = False  # an image was loaded: all of the above


class MetadataImage:
    """Brokers, controllers, topics, configurations, features, quotas, ids."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, before a checkpoint is loaded."""
        self.offset = -1  # of the last record applied
        self.epoch = -1
        self.brokers: dict[int, BrokerRegistration] = {}
        self.controllers: dict[int, ControllerRegistration] = {}
        self.topics: dict[str, TopicImage] = {}
        self.topic_names: dict[bytes, str] = {}
        self.configs: dict[tuple[int, str], dict[str, str]] = {}
        self.features: dict[str, int] = {}
        self.next_producer_id = 0
        self.quotas: dict[tuple[tuple[str, str | None], ...], dict[str, float]] = {}
        self.scram: dict[tuple[str, int], Any] = {}
        self.acls: dict[bytes, Any] = {}
        self.tokens: dict[str, Any] = {}
        self._memberships: Memberships | None = None

    @property
    def memberships(self) -> Memberships:
        """Partitions by what brokers are to them; made when it is first asked for, and kept from then on."""
        if self._memberships is None:
            self._memberships = Memberships(self.topics.values())
        return self._memberships

    def copy(self) -> "MetadataImage":
        """An image that stays as it is now: what is in the tables is replaced, never changed."""
        made = MetadataImage()
        for name, value in vars(self).items():
            setattr(made, name, dict(value) if isinstance(value, dict) else value)
        made._memberships = None
        return made

    def become(self, other: "MetadataImage") -> None:
        """Have from now on what `other` has; whoever holds this image sees it change."""
        vars(self).update(vars(other.copy()))

    def topic_by_id(self, topic_id: bytes) -> TopicImage | None:
        name = self.topic_names.get(topic_id)
        return None if name is None else self.topics[name]

    def config(self, resource_type: int, name: str) -> dict[str, str]:
        return self.configs.get((resource_type, name), {})

    def apply(self, record: Any, delta: MetadataDelta, offset: int = -1) -> None:
        """Replay one record. Raises WireError for a kind that this version does not know."""
        handler = _HANDLERS.get(type(record).__name__)
        if handler is None:
            raise WireError(f"{type(record).__name__} cannot be replayed")
        handler(self, record, delta, offset)

    # --- used by the handlers below

    def forget_memberships(self, topic: TopicImage) -> None:
        if self._memberships is not None:
            for index, partition in topic.partitions.items():
                self._memberships.update(topic.id, index, partition, None)

    def change_partition(self, topic_id: bytes, index: int, delta: MetadataDelta, new: PartitionRegistration) -> None:
        topic = self.topics[self.topic_names[topic_id]]
        if self._memberships is not None:
            self._memberships.update(topic_id, index, topic.partitions.get(index), new)
        if topic.name in delta.topics:
            # The table is this delta's own already, nobody has seen it: thousands of partitions change at a time.
            topic.partitions[index] = new
            return
        self.topics[topic.name] = replace(topic, partitions={**topic.partitions, index: new})
        delta.topics.add(topic.name)


def _register_broker(image: MetadataImage, r: m.RegisterBrokerRecord, delta: MetadataDelta, offset: int) -> None:
    image.brokers[r.broker_id] = registered_broker(r)
    delta.brokers.add(r.broker_id)


def _unregister_broker(image: MetadataImage, r: m.UnregisterBrokerRecord, delta: MetadataDelta, offset: int) -> None:
    image.brokers.pop(r.broker_id, None)
    delta.brokers.add(r.broker_id)


def _change_broker(
    image: MetadataImage, r: m.BrokerRegistrationChangeRecord, delta: MetadataDelta, offset: int
) -> None:
    image.brokers[r.broker_id] = changed_broker(image.brokers[r.broker_id], r)
    delta.brokers.add(r.broker_id)


def _fence(image: MetadataImage, r: m.FenceBrokerRecord, delta: MetadataDelta, offset: int) -> None:
    image.brokers[r.id] = replace(image.brokers[r.id], fenced=True)
    delta.brokers.add(r.id)


def _unfence(image: MetadataImage, r: m.UnfenceBrokerRecord, delta: MetadataDelta, offset: int) -> None:
    image.brokers[r.id] = replace(image.brokers[r.id], fenced=False)
    delta.brokers.add(r.id)


def _register_controller(
    image: MetadataImage, r: m.RegisterControllerRecord, delta: MetadataDelta, offset: int
) -> None:
    image.controllers[r.controller_id] = registered_controller(r)


def _unregister_controller(
    image: MetadataImage, r: m.UnregisterControllerRecord, delta: MetadataDelta, offset: int
) -> None:
    image.controllers.pop(r.controller_id, None)


def _topic(image: MetadataImage, r: m.TopicRecord, delta: MetadataDelta, offset: int) -> None:
    image.topics[r.name] = TopicImage(r.name, r.topic_id, {})
    image.topic_names[r.topic_id] = r.name
    delta.topics.add(r.name)


def _remove_topic(image: MetadataImage, r: m.RemoveTopicRecord, delta: MetadataDelta, offset: int) -> None:
    name = image.topic_names.pop(r.topic_id)
    image.forget_memberships(image.topics.pop(name))
    if image.configs.pop((TOPIC_RESOURCE, name), None) is not None:
        delta.configs.add((TOPIC_RESOURCE, name))
    delta.deleted_topics[r.topic_id] = name
    delta.topics.discard(name)


def _partition(image: MetadataImage, r: m.PartitionRecord, delta: MetadataDelta, offset: int) -> None:
    image.change_partition(r.topic_id, r.partition_id, delta, registered_partition(r))


def _change_partition(image: MetadataImage, r: m.PartitionChangeRecord, delta: MetadataDelta, offset: int) -> None:
    old = image.topics[image.topic_names[r.topic_id]].partitions[r.partition_id]
    image.change_partition(r.topic_id, r.partition_id, delta, changed_partition(old, r))


def _config(image: MetadataImage, r: m.ConfigRecord, delta: MetadataDelta, offset: int) -> None:
    key = (r.resource_type, r.resource_name)
    values = dict(image.configs.get(key, ()))
    if r.value is None:
        values.pop(r.name, None)
    else:
        values[r.name] = r.value
    if values:
        image.configs[key] = values
    else:
        image.configs.pop(key, None)
    delta.configs.add(key)


def _feature(image: MetadataImage, r: m.FeatureLevelRecord, delta: MetadataDelta, offset: int) -> None:
    if r.feature_level == 0:
        image.features.pop(r.name, None)
    else:
        image.features[r.name] = r.feature_level
    delta.features = True


def _quota(image: MetadataImage, r: m.ClientQuotaRecord, delta: MetadataDelta, offset: int) -> None:
    entity = tuple(sorted((e.entity_type, e.entity_name) for e in r.entity))
    values = dict(image.quotas.get(entity, ()))
    if r.remove:
        values.pop(r.key, None)
    else:
        values[r.key] = r.value
    if values:
        image.quotas[entity] = values
    else:
        image.quotas.pop(entity, None)
    delta.quotas = True


def _producer_ids(image: MetadataImage, r: m.ProducerIdsRecord, delta: MetadataDelta, offset: int) -> None:
    image.next_producer_id = r.next_producer_id


def _scram(image: MetadataImage, r: m.UserScramCredentialRecord, delta: MetadataDelta, offset: int) -> None:
    image.scram[(r.name, r.mechanism)] = r


def _remove_scram(
    image: MetadataImage, r: m.RemoveUserScramCredentialRecord, delta: MetadataDelta, offset: int
) -> None:
    image.scram.pop((r.name, r.mechanism), None)


def _acl(image: MetadataImage, r: m.AccessControlEntryRecord, delta: MetadataDelta, offset: int) -> None:
    image.acls[r.id] = r


def _remove_acl(image: MetadataImage, r: m.RemoveAccessControlEntryRecord, delta: MetadataDelta, offset: int) -> None:
    image.acls.pop(r.id, None)


def _token(image: MetadataImage, r: m.DelegationTokenRecord, delta: MetadataDelta, offset: int) -> None:
    image.tokens[r.token_id] = r


def _remove_token(image: MetadataImage, r: m.RemoveDelegationTokenRecord, delta: MetadataDelta, offset: int) -> None:
    image.tokens.pop(r.token_id, None)


def _clear_elr(image: MetadataImage, r: m.ClearElrRecord, delta: MetadataDelta, offset: int) -> None:
    names = [r.topic_name] if r.topic_name else list(image.topics)
    for name in names:
        topic = image.topics[name]
        for index, partition in list(topic.partitions.items()):
            if partition.elr or partition.last_known_elr:
                image.change_partition(topic.id, index, delta, replace(partition, elr=(), last_known_elr=()))


def _nothing(image: MetadataImage, r: Any, delta: MetadataDelta, offset: int) -> None:
    """No-ops, and the brackets of metadata transactions, which `replay.Replayer` reads."""


_HANDLERS: dict[str, Callable[[MetadataImage, Any, MetadataDelta, int], None]] = {
    "RegisterBrokerRecord": _register_broker,
    "UnregisterBrokerRecord": _unregister_broker,
    "BrokerRegistrationChangeRecord": _change_broker,
    "FenceBrokerRecord": _fence,
    "UnfenceBrokerRecord": _unfence,
    "RegisterControllerRecord": _register_controller,
    "UnregisterControllerRecord": _unregister_controller,
    "TopicRecord": _topic,
    "RemoveTopicRecord": _remove_topic,
    "PartitionRecord": _partition,
    "PartitionChangeRecord": _change_partition,
    "ConfigRecord": _config,
    "FeatureLevelRecord": _feature,
    "ClientQuotaRecord": _quota,
    "ProducerIdsRecord": _producer_ids,
    "UserScramCredentialRecord": _scram,
    "RemoveUserScramCredentialRecord": _remove_scram,
    "AccessControlEntryRecord": _acl,
    "RemoveAccessControlEntryRecord": _remove_acl,
    "DelegationTokenRecord": _token,
    "RemoveDelegationTokenRecord": _remove_token,
    "ClearElrRecord": _clear_elr,
    "NoOpRecord": _nothing,
    "ZkMigrationStateRecord": _nothing,
    "BeginTransactionRecord": _nothing,
    "EndTransactionRecord": _nothing,
    "AbortTransactionRecord": _nothing,
}
