"""AlterPartition: a leader tells who is in sync (KIP-497, KIP-704, KIP-841, KIP-903).

What the leader says counts only if it knows the partition's present state: its leader epoch and partition epoch are
those of the image, and every replica it takes in is alive in the very incarnation that the leader has seen.
"""

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.partition_change import RECOVERED, RECOVERING
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.registrations import NO_LEADER_CHANGE, PartitionRegistration, changed_partition
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

_Asked = m.AlterPartitionRequest.PartitionData
_Answer = m.AlterPartitionResponse.PartitionData
_NO_EPOCH = -1


class IsrChanges:
    """Decisions on in-sync replicas; the image is only read. The caller has checked the broker's epoch."""

    def __init__(self, image: MetadataImage, policies: Policies) -> None:
        self._image = image
        self._policies = policies

    def alter(self, request: m.AlterPartitionRequest) -> Outcome:
        response, records = m.AlterPartitionResponse(), []
        for asked in request.topics:
            topic = self._image.topic_by_id(asked.topic_id)
            answers: list[_Answer] = []
            response.topics.append(m.AlterPartitionResponse.TopicData(asked.topic_id, answers))
            policy = None if topic is None else self._policies.of(topic)
            for entry in asked.partitions:
                if topic is None or policy is None:
                    answers.append(_refused(entry, ErrorCode.UNKNOWN_TOPIC_ID))
                    continue
                partition = topic.partitions.get(entry.partition_index)
                code = self._problem(request.broker_id, partition, entry)
                if code is not None or partition is None:
                    answers.append(_refused(entry, code or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
                    continue
                change = policy.change(entry.partition_index)
                change.isr, change.recovery = tuple(_new_isr(entry)), entry.leader_recovery_state
                record = change.record(topic.id, entry.partition_index)
                if record is not None:
                    records.append(record)
                answers.append(_answered(request.broker_id, partition, entry, record))
        return Outcome(response, records)

    def _problem(self, broker: int, partition: PartitionRegistration | None, asked: _Asked) -> ErrorCode | None:
        if partition is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if asked.leader_epoch > partition.leader_epoch or asked.partition_epoch > partition.partition_epoch:
            # The leader knows of a later state than we do: somebody else has become the controller.
            return ErrorCode.NOT_CONTROLLER
        if asked.leader_epoch < partition.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if broker != partition.leader:
            return ErrorCode.INVALID_REQUEST
        if asked.partition_epoch < partition.partition_epoch:
            return ErrorCode.INVALID_UPDATE_VERSION
        isr = _new_isr(asked)
        if len(set(isr)) < len(isr) or not set(isr) <= set(partition.replicas) or broker not in isr:
            return ErrorCode.INVALID_REQUEST
        if asked.leader_recovery_state == RECOVERING and (len(isr) > 1 or partition.recovering == RECOVERED):
            return ErrorCode.INVALID_REQUEST
        return None if self._all_eligible(asked) else ErrorCode.INELIGIBLE_REPLICA

    def _all_eligible(self, asked: _Asked) -> bool:
        if not all(self._policies.is_active(id_) for id_ in _new_isr(asked)):
            return False
        return all(
            state.broker_epoch in (_NO_EPOCH, self._image.brokers[state.broker_id].epoch)
            for state in asked.new_isr_with_epochs
        )


def _new_isr(asked: _Asked) -> list[int]:
    """Until version 2 ids alone were given."""
    return [state.broker_id for state in asked.new_isr_with_epochs] or list(asked.new_isr)


def _answered(
    broker: int, before: PartitionRegistration, asked: _Asked, record: m.PartitionChangeRecord | None
) -> _Answer:
    after = before if record is None else changed_partition(before, record)
    if record is not None and record.leader not in (NO_LEADER_CHANGE, broker):
        # The change completed a move, and who asked for it does not lead any more.
        return _refused(asked, ErrorCode.NEW_LEADER_ELECTED)
    return _Answer(
        asked.partition_index,
        0,
        after.leader,
        after.leader_epoch,
        list(after.isr),
        after.recovering,
        after.partition_epoch,
    )


def _refused(asked: _Asked, code: ErrorCode) -> _Answer:
    return _Answer(partition_index=asked.partition_index, error_code=code)
