"""An image as records again: what a checkpoint of the metadata log holds (KIP-630).

Replaying them into an empty image makes the same image. The order is Apache Kafka's: what others refer to comes first.
"""

from collections.abc import Iterator
from typing import Any

from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import BrokerRegistration, ControllerRegistration, TopicImage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import encode_record

CONTROLLERS_SINCE = 15
SCRAM_SINCE = 11
TOKENS_SINCE = 14
"""The metadata.version from which there are records of a kind at all."""


def encoded_records_of(image: MetadataImage) -> Iterator[bytes]:
    """The records as the image's own metadata.version writes them."""
    level = level_of(image)
    for record in records_of(image):
        version = features.record_version(type(record).__name__, level)
        yield encode_record(features.fit_to_level(record, level), version)


def level_of(image: MetadataImage) -> int:
    return image.features.get(features.METADATA_VERSION, features.DEFAULT_RELEASE)


def records_of(image: MetadataImage) -> Iterator[Any]:
    level = level_of(image)
    for name in sorted(image.features, key=lambda name: (name != features.METADATA_VERSION, name)):
        yield m.FeatureLevelRecord(name, image.features[name])
    for broker in image.brokers.values():
        yield _broker(broker)
    if level >= CONTROLLERS_SINCE:
        yield from map(_controller, image.controllers.values())
    for topic in image.topics.values():
        yield from _topic(topic)
    for (kind, name), values in image.configs.items():
        for key, value in values.items():
            yield m.ConfigRecord(kind, name, key, value)
    for entity, quotas in image.quotas.items():
        for key, limit in quotas.items():
            named = [m.ClientQuotaRecord.EntityData(kind, name) for kind, name in entity]
            yield m.ClientQuotaRecord(named, key, limit)
    if image.next_producer_id > 0:
        yield m.ProducerIdsRecord(-1, -1, image.next_producer_id)
    yield from image.acls.values()
    if level >= SCRAM_SINCE:
        yield from image.scram.values()
    if level >= TOKENS_SINCE:
        yield from image.tokens.values()


def _broker(node: BrokerRegistration) -> m.RegisterBrokerRecord:
    of = m.RegisterBrokerRecord
    return of(
        broker_id=node.id,
        incarnation_id=node.incarnation_id,
        broker_epoch=node.epoch,
        end_points=[of.BrokerEndpoint(e.name, e.host, e.port, e.security_protocol) for e in node.endpoints],
        features=[of.BrokerFeature(name, low, high) for name, (low, high) in node.features.items()],
        rack=node.rack,
        fenced=node.fenced,
        in_controlled_shutdown=node.in_controlled_shutdown,
        log_dirs=list(node.log_dirs),
        cordoned_log_dirs=list(node.cordoned_log_dirs) or None,
    )


def _controller(node: ControllerRegistration) -> m.RegisterControllerRecord:
    of = m.RegisterControllerRecord
    return of(
        controller_id=node.id,
        incarnation_id=node.incarnation_id,
        end_points=[of.ControllerEndpoint(e.name, e.host, e.port, e.security_protocol) for e in node.endpoints],
        features=[of.ControllerFeature(name, low, high) for name, (low, high) in node.features.items()],
    )


def _topic(topic: TopicImage) -> Iterator[Any]:
    yield m.TopicRecord(topic.name, topic.id)
    for index, partition in topic.partitions.items():
        yield m.PartitionRecord(
            partition_id=index,
            topic_id=topic.id,
            replicas=list(partition.replicas),
            isr=list(partition.isr),
            removing_replicas=list(partition.removing),
            adding_replicas=list(partition.adding),
            leader=partition.leader,
            leader_recovery_state=partition.recovering,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            directories=list(partition.directories),
            eligible_leader_replicas=list(partition.elr) or None,
            last_known_elr=list(partition.last_known_elr) or None,
        )
