"""Elections that somebody asks for (KIP-460), and those that are held to bring leaders back to where they belong.

An unclean election takes any live replica where none is in sync or eligible; what only the others had is lost then.
"""

from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.memberships import TopicPartition
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.partition_change import Election
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.registrations import NO_LEADER, TopicImage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

PREFERRED, UNCLEAN = 0, 1
MAX_ELECTIONS = 1_000
"""Elections that nobody asked for, at a time: the metadata log stays free for others in between."""
_Result = m.ElectLeadersResponse.PartitionResult


class Elections:
    """Decisions on leaders; the image is only read."""

    def __init__(self, image: MetadataImage, policies: Policies) -> None:
        self._image = image
        self._policies = policies

    def elect(self, request: m.ElectLeadersRequest) -> Outcome:
        if request.election_type not in (PREFERRED, UNCLEAN):
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown election type {request.election_type}")
        if request.topic_partitions is None:
            wanted = [(name, list(topic.partitions)) for name, topic in self._image.topics.items()]
        else:
            wanted = [(topic.topic, topic.partitions) for topic in request.topic_partitions]
        response, records = m.ElectLeadersResponse(), []
        for name, indexes in wanted:
            results: list[_Result] = []
            for index in indexes:
                try:
                    records.append(self._elect(name, index, request.election_type))
                    results.append(_Result(index))
                except ApiError as refused:
                    # Who asks for all partitions is not told of those that have the right leader.
                    if request.topic_partitions is not None or refused.code is not ErrorCode.ELECTION_NOT_NEEDED:
                        results.append(_Result(index, refused.code, refused.message))
            response.replica_election_results.append(m.ElectLeadersResponse.ReplicaElectionResult(name, results))
        return Outcome(response, records)

    def _elect(self, name: str, index: int, kind: int) -> Any:
        topic = self._image.topics.get(name)
        if topic is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
        partition = topic.partitions.get(index)
        if partition is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
        satisfied = partition.replicas[0] if kind == PREFERRED else partition.leader
        if partition.leader != NO_LEADER and partition.leader == satisfied:
            raise ApiError(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
        record = self._record(topic, index, Election.PREFERRED if kind == PREFERRED else Election.UNCLEAN)
        if record is None:
            code = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
            raise ApiError(code if kind == PREFERRED else ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE)
        return record

    def _record(self, topic: TopicImage, index: int, election: Election) -> Any:
        return self._policies.of(topic).change(index, election).record(topic.id, index)

    # --- without being asked

    def balance(self) -> Outcome:
        """Preferred replicas lead again where they can (`auto.leader.rebalance.enable`); whether there may be more."""
        return self._elected_of(list(self._image.memberships.imbalanced), Election.PREFERRED)

    def revive(self) -> Outcome:
        """Leaderless partitions get a leader where that may cost records (`unclean.leader.election.enable`)."""
        return self._elected_of(
            [key for key in self._image.memberships.leaderless if self._allows_unclean(key)], Election.UNCLEAN
        )

    def _allows_unclean(self, key: TopicPartition) -> bool:
        return self._policies.allows_unclean(self._image.topic_names[key[0]])

    def _elected_of(self, keys: list[TopicPartition], election: Election) -> Outcome:
        records: list[Any] = []
        for topic_id, index in keys:
            if len(records) >= MAX_ELECTIONS:
                return Outcome(True, records)
            topic = self._image.topic_by_id(topic_id)
            assert topic is not None, topic_id
            record = self._record(topic, index, election)
            if record is not None:
                records.append(record)
        return Outcome(False, records)
