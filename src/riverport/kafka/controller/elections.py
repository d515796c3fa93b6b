"""Who leads a partition when somebody asks for an election (KIP-460), with eligible leader replicas (KIP-966).

A leader is live and either in sync or, under ELR, eligible. An unclean election takes any live replica where there is
no such one; what only the others had is lost then.
"""

from typing import Any

from riverport.kafka.controller.image import NO_LEADER, MetadataImage, PartitionRegistration
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

PREFERRED, UNCLEAN = 0, 1
RECOVERING = 1
_Result = m.ElectLeadersResponse.PartitionResult


class Elections:
    """Decisions on leaders; the image is only read."""

    def __init__(self, image: MetadataImage) -> None:
        self._image = image

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
        needed = partition.leader == NO_LEADER or (kind == PREFERRED and partition.leader != partition.replicas[0])
        if not needed:
            raise ApiError(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
        leader = self.leader_of(partition, unclean=kind == UNCLEAN)
        if leader in (NO_LEADER, partition.leader):
            code = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
            raise ApiError(code if kind == PREFERRED else ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE)
        record = m.PartitionChangeRecord(index, topic.id)
        self.lead(record, partition, leader)
        return record

    def leader_of(self, partition: PartitionRegistration, *, unclean: bool = False) -> int:
        """The best leader: the preferred replica if it may lead, else the present one, else whoever may."""
        live = [id_ for id_ in partition.replicas if self._is_live(id_)]
        fit = [id_ for id_ in live if id_ in partition.isr or id_ in partition.elr]
        if fit:
            return partition.leader if partition.leader in fit and fit[0] != partition.replicas[0] else fit[0]
        return live[0] if unclean and live else NO_LEADER

    def lead(self, record: m.PartitionChangeRecord, partition: PartitionRegistration, leader: int) -> None:
        """Note the new leader in a change of `partition`, and what that makes of its in-sync and eligible replicas."""
        record.leader = leader
        if leader in partition.isr or leader == NO_LEADER:
            return
        record.isr = [leader]
        if leader not in partition.elr:
            record.leader_recovery_state = RECOVERING
        if partition.elr:
            record.eligible_leader_replicas = [id_ for id_ in partition.elr if id_ != leader]
        if partition.last_known_elr:
            record.last_known_elr = []

    def _is_live(self, id_: int) -> bool:
        broker = self._image.brokers.get(id_)
        return broker is not None and not broker.fenced and not broker.in_controlled_shutdown
