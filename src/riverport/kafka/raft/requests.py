"""The quorum's messages: made, and opened. Each is about one partition, `__cluster_metadata-0`."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.raft.snapshots import SnapshotId
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

TOPIC = "__cluster_metadata"
FETCH_MAX_WAIT_MS = 500
"""How long a leader without news may keep a fetch."""


class LogEnd(NamedTuple):
    """Where a log ends: the epoch of its last record first, so that the greater is the longer one (Raft 5.4.1)."""

    epoch: int
    offset: int


def vote_request(
    cluster_id: str, epoch: int, own: ReplicaKey, voter: ReplicaKey, end: LogEnd, *, is_pre_vote: bool
) -> "m.VoteRequest":
    of = m.VoteRequest
    partition = of.PartitionData(0, epoch, own.id, own.directory, voter.directory, end.epoch, end.offset, is_pre_vote)
    return of(cluster_id, voter.id, [of.TopicData(TOPIC, [partition])])


def begin_request(
    cluster_id: str, epoch: int, leader_id: int, voter: ReplicaKey, endpoints: Iterable[Endpoint]
) -> "m.BeginQuorumEpochRequest":
    of = m.BeginQuorumEpochRequest
    partition = of.PartitionData(0, voter.directory, leader_id, epoch)
    listed = [of.LeaderEndpoint(*endpoint) for endpoint in endpoints]
    return of(cluster_id, voter.id, [of.TopicData(TOPIC, [partition])], listed)


def end_request(
    cluster_id: str, epoch: int, leader_id: int, successors: list[ReplicaKey], endpoints: Iterable[Endpoint]
) -> "m.EndQuorumEpochRequest":
    of = m.EndQuorumEpochRequest
    candidates = [of.ReplicaInfo(*key) for key in successors]
    partition = of.PartitionData(0, leader_id, epoch, [key.id for key in successors], candidates)
    listed = [of.LeaderEndpoint(*endpoint) for endpoint in endpoints]
    return of(cluster_id, [of.TopicData(TOPIC, [partition])], listed)


def fetch_request(
    cluster_id: str, epoch: int, own: ReplicaKey, end: LogEnd, high_watermark: int, max_bytes: int
) -> "m.FetchRequest":
    of = m.FetchRequest
    partition = of.FetchPartition(
        0,
        current_leader_epoch=epoch,
        fetch_offset=end.offset,
        last_fetched_epoch=end.epoch,
        partition_max_bytes=0,
        replica_directory_id=own.directory,
        high_watermark=high_watermark,
    )
    return of(
        cluster_id=cluster_id,
        replica_state=of.ReplicaState(own.id, -1),
        max_wait_ms=FETCH_MAX_WAIT_MS,
        min_bytes=0,
        max_bytes=max_bytes,
        session_id=0,
        session_epoch=-1,
        topics=[of.FetchTopic(TOPIC, METADATA_TOPIC_ID, [partition])],
    )


def snapshot_request(
    cluster_id: str, epoch: int, own: ReplicaKey, id_: SnapshotId, position: int, max_bytes: int
) -> "m.FetchSnapshotRequest":
    of = m.FetchSnapshotRequest
    partition = of.PartitionSnapshot(0, epoch, of.SnapshotId(*id_), position, own.directory)
    return of(cluster_id, own.id, max_bytes, [of.TopicSnapshot(TOPIC, [partition])])


def update_voter_request(
    cluster_id: str, epoch: int, own: ReplicaKey, endpoints: Iterable[Endpoint], kraft_versions: tuple[int, int]
) -> "m.UpdateRaftVoterRequest":
    of = m.UpdateRaftVoterRequest
    listed = [of.Listener(*endpoint) for endpoint in endpoints]
    return of(cluster_id, epoch, own.id, own.directory, listed, of.KRaftVersionFeature(*kraft_versions))


def add_voter_request(
    cluster_id: str, own: ReplicaKey, endpoints: Iterable[Endpoint], timeout_ms: int
) -> "m.AddRaftVoterRequest":
    """Of a replica that adds itself: it will see in the log that it has a vote (KIP-1186)."""
    of = m.AddRaftVoterRequest
    listed = [of.Listener(*endpoint) for endpoint in endpoints]
    return of(cluster_id, timeout_ms, own.id, own.directory, listed, False)


def remove_voter_request(cluster_id: str, key: ReplicaKey) -> "m.RemoveRaftVoterRequest":
    return m.RemoveRaftVoterRequest(cluster_id, *key)


def partition_of(topics: list[Any]) -> Any:
    """The metadata partition of a request or an answer, None where it speaks of anything else."""
    if len(topics) != 1 or len(topics[0].partitions) != 1:
        return None
    topic, partition = topics[0], topics[0].partitions[0]
    name = getattr(topic, "topic_name", None)
    if name is None:
        name = getattr(topic, "name", None)
    index = getattr(partition, "partition_index", 0)
    return partition if name in (TOPIC, None) and index == 0 else None


def endpoint_of(endpoints: Iterable[Any], id_: int) -> Address | None:
    """Where a node is, by an answer's node endpoints."""
    return next((Address(e.host, e.port) for e in endpoints if e.node_id == id_), None)


class Standing(NamedTuple):
    """What every answer of a voter tells: its epoch, and the leader of that, -1 where it knows none."""

    epoch: int
    leader_id: int
    address: Address | None


def vote_answer(code: ErrorCode, standing: Standing, granted: bool) -> "m.VoteResponse":
    of = m.VoteResponse
    partition = of.PartitionData(0, code, standing.leader_id, standing.epoch, granted)
    return of(0, [of.TopicData(TOPIC, [partition])], _endpoints(of, standing))


def begin_answer(code: ErrorCode, standing: Standing) -> "m.BeginQuorumEpochResponse":
    of = m.BeginQuorumEpochResponse
    partition = of.PartitionData(0, code, standing.leader_id, standing.epoch)
    return of(0, [of.TopicData(TOPIC, [partition])], _endpoints(of, standing))


def end_answer(code: ErrorCode, standing: Standing) -> "m.EndQuorumEpochResponse":
    of = m.EndQuorumEpochResponse
    partition = of.PartitionData(0, code, standing.leader_id, standing.epoch)
    return of(0, [of.TopicData(TOPIC, [partition])], _endpoints(of, standing))


def _endpoints(of: Any, standing: Standing) -> list[Any]:
    return [] if standing.address is None else [of.NodeEndpoint(standing.leader_id, *standing.address)]
