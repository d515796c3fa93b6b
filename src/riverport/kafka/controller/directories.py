"""AssignReplicasToDirs: a broker tells in which of its directories its replicas are (KIP-858).

A replica that is said to lie in a directory that is not among the good ones, the LOST one as a rule, is not in sync
any more, and leads no more.
"""

from typing import Any

from riverport.kafka.controller.cluster import DIRECTORIES_SINCE, Cluster
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.partition_change import Election
from riverport.kafka.controller.placement import is_online
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.registrations import TopicImage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

_Answer = m.AssignReplicasToDirsResponse


class Directories:
    """Decisions on directories of replicas; the image is only read."""

    def __init__(self, image: MetadataImage, cluster: Cluster, policies: Policies) -> None:
        self._image = image
        self._cluster = cluster
        self._policies = policies

    def assign(self, request: m.AssignReplicasToDirsRequest) -> Outcome:
        """Raises ApiError STALE_BROKER_EPOCH, UNSUPPORTED_VERSION."""
        if self._policies.level < DIRECTORIES_SINCE:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, "Directory assignment is not supported yet.")
        node = self._cluster.registered(request.broker_id, request.broker_epoch)
        response, records = _Answer(), []
        for directory in request.directories:
            topics: list[Any] = []
            response.directories.append(_Answer.DirectoryData(directory.id, topics))
            online = is_online(node, directory.id)
            for asked in directory.topics:
                topic = self._image.topic_by_id(asked.topic_id)
                answers: list[Any] = []
                topics.append(_Answer.TopicData(asked.topic_id, answers))
                for entry in asked.partitions:
                    code = _problem(topic, entry.partition_index, node.id)
                    answers.append(_Answer.PartitionData(entry.partition_index, code))
                    if topic is not None and not code:
                        records += self._assigned(topic, entry.partition_index, node.id, directory.id, online)
        return Outcome(response, records)

    def _assigned(self, topic: TopicImage, index: int, broker: int, directory: bytes, online: bool) -> list[Any]:
        policy = self._policies.of(topic)
        change = policy.change(index, Election.ONLINE) if online else policy.without(index, broker)
        change.assigned[broker] = directory
        if online and topic.partitions[index].replicas == (broker,):
            # Nobody else has it: a log that was begun anew on another disk takes nothing from anybody.
            change.may_lead = self._policies.is_active
        record = change.record(topic.id, index)
        return [] if record is None else [record]


def _problem(topic: TopicImage | None, index: int, broker: int) -> int:
    if topic is None:
        return ErrorCode.UNKNOWN_TOPIC_ID
    partition = topic.partitions.get(index)
    if partition is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return 0 if broker in partition.replicas else ErrorCode.NOT_LEADER_OR_FOLLOWER
