"""What is wrong with a request of another voter, and what it means for this one."""

from typing import Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.raft.voters import Address, ReplicaKey
from riverport.kafka.wire.errors import ErrorCode


def vote_problem(asked: Any, epoch: int) -> ErrorCode | None:
    """`asked` is the partition of a Vote request, `epoch` ours."""
    newest = asked.replica_epoch if asked.pre_vote else asked.replica_epoch - 1
    if asked.last_offset < 0 or not 0 <= asked.last_offset_epoch <= newest:
        # A candidate's epoch is always new, a prospective's may be that of its log.
        return ErrorCode.INVALID_REQUEST
    if asked.replica_epoch < epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    return ErrorCode.INVALID_REQUEST if asked.replica_id < 0 else None


def told_problem(told: Any, epoch: int) -> ErrorCode | None:
    """`told` is the partition of a BeginQuorumEpoch or EndQuorumEpoch request."""
    if told.leader_epoch < epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    return ErrorCode.INVALID_REQUEST if told.leader_id < 0 else None


def is_for(own: ReplicaKey, voter_id: int, directory: bytes) -> bool:
    """Whether a request is meant for this replica; older versions do not say for whom it is."""
    if voter_id < 0:
        return True
    return voter_id == own.id and bytes(directory) in (ZERO_UUID, own.directory)


def first_endpoint(endpoints: list[Any]) -> Address | None:
    return Address(endpoints[0].host, endpoints[0].port) if endpoints else None


def successor_delay_ms(own: ReplicaKey, told: Any, maximum_ms: int) -> float:
    """How long to wait with an election after the leader has resigned: its first choice begins at once."""
    keys = [ReplicaKey(c.candidate_id, bytes(c.candidate_directory_id)) for c in told.preferred_candidates]
    keys = keys or [ReplicaKey(id_) for id_ in told.preferred_successors]
    place = next((place for place, key in enumerate(keys) if key.covers(own)), len(keys))
    if place == 0 and keys:
        return 0
    if place >= len(keys):
        return maximum_ms
    # The longest wait is the last one's, each before it waits half as long.
    return min(maximum_ms, (maximum_ms >> (len(keys) - 1)) << (place - 1))
