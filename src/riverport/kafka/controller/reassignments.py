"""Moving partitions between brokers (KIP-455, KIP-860).

    ordered        replicas = target + those to be removed; adding and removing say which are which
    in sync        once the ISR holds all that are added, the removed ones go: the reassignment is complete

A change that adds nothing and leaves somebody of the target in sync is complete at once.
"""

from collections.abc import Sequence
from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.partition_change import Election, PartitionChange
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.registrations import PartitionRegistration, TopicImage
from riverport.kafka.controller.topics import Topics
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

_Response = m.AlterPartitionReassignmentsResponse
_Listing = m.ListPartitionReassignmentsResponse


class Reassignments:
    """Decisions on where replicas are; the image is only read."""

    def __init__(self, image: MetadataImage, topics: Topics, policies: Policies) -> None:
        self._image = image
        self._topics = topics
        self._policies = policies

    # --- alter

    def alter(self, request: m.AlterPartitionReassignmentsRequest) -> Outcome:
        # The message of an answer about nothing is empty, of any other it is null.
        response = _Response(
            error_message=None if request.topics else "",
            allow_replication_factor_change=request.allow_replication_factor_change,
        )
        records: list[Any] = []
        for topic in request.topics:
            results = []
            for partition in topic.partitions:
                try:
                    records += self._alter_one(topic.name, partition, request.allow_replication_factor_change)
                    results.append(_Response.ReassignablePartitionResponse(partition.partition_index, 0, None))
                except ApiError as refused:
                    results.append(
                        _Response.ReassignablePartitionResponse(
                            partition.partition_index, refused.code, refused.message
                        )
                    )
            response.responses.append(_Response.ReassignableTopicResponse(topic.name, results))
        return Outcome(response, records)

    def _alter_one(self, name: str, wanted: Any, may_change_factor: bool) -> list[Any]:
        topic = self._image.topics.get(name)
        if topic is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
        index = wanted.partition_index
        partition = topic.partitions.get(index)
        if partition is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{index}.")
        if wanted.replicas is None:
            return self._cancel(topic, index, partition)
        self._topics.check_assignment(wanted.replicas, None)
        if not may_change_factor:
            _ensure_same_factor(partition, wanted.replicas)
        return self._change(topic, index, partition, list(wanted.replicas))

    def _cancel(self, topic: TopicImage, index: int, partition: PartitionRegistration) -> list[Any]:
        if not partition.adding and not partition.removing:
            raise ApiError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
        change = self._policies.of(topic).change(index)
        change.replicas = tuple(id_ for id_ in partition.replicas if id_ not in partition.adding)
        change.isr = tuple(id_ for id_ in partition.isr if id_ not in partition.adding)
        change.adding = change.removing = ()
        if not change.isr and change.election is not Election.UNCLEAN:
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Unable to revert partition assignment for {topic.name}:{index} because it would require an unclean "
                "leader election.",
            )
        # Nobody of those who stay is in sync: the first of them has to do.
        change.isr = change.isr or change.replicas[:1]
        return _written(change, topic, index)

    def _change(self, topic: TopicImage, index: int, partition: PartitionRegistration, target: list[int]) -> list[Any]:
        before = [id_ for id_ in partition.replicas if id_ not in partition.adding]
        change = self._policies.of(topic).change(index, Election.ONLINE)
        change.removing = tuple(id_ for id_ in sorted(partition.replicas) if id_ not in target)
        change.adding = tuple(id_ for id_ in sorted(target) if id_ not in before)
        change.replicas = (*target, *change.removing)
        return _written(change, topic, index)

    # --- list

    def ongoing(self, request: m.ListPartitionReassignmentsRequest) -> m.ListPartitionReassignmentsResponse:
        if request.topics is None:
            wanted = [(name, list(topic.partitions)) for name, topic in self._image.topics.items()]
        else:
            wanted = [(topic.name, topic.partition_indexes) for topic in request.topics]
        response = _Listing(error_message=None)
        for name, indexes in wanted:
            moving = self._moving(name, indexes)
            if moving:
                response.topics.append(_Listing.OngoingTopicReassignment(name, moving))
        return response

    def _moving(self, name: str, indexes: Sequence[int]) -> list[_Listing.OngoingPartitionReassignment]:
        topic = self._image.topics.get(name)
        if topic is None:
            return []
        found = []
        for index in indexes:
            partition = topic.partitions.get(index)
            if partition is not None and (partition.adding or partition.removing):
                found.append(
                    _Listing.OngoingPartitionReassignment(
                        index, list(partition.replicas), list(partition.adding), list(partition.removing)
                    )
                )
        return found


def _written(change: PartitionChange, topic: TopicImage, index: int) -> list[Any]:
    record = change.record(topic.id, index)
    return [] if record is None else [record]


def _ensure_same_factor(partition: PartitionRegistration, target: Sequence[int]) -> None:
    factor = len({*partition.replicas, *partition.adding} - {*partition.removing})
    if factor != len(target):
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The replication factor is changed from {factor} to {len(target)}",
        )
