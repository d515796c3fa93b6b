"""FetchSnapshot v0-1 (KIP-630): a slice of a checkpoint, for a replica whose log ends before ours begins."""

from typing import TYPE_CHECKING, Any

from riverport.base.files import StorageError
from riverport.kafka.raft.snapshots import SnapshotId
from riverport.kafka.raft.voters import ReplicaKey
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Of = m.FetchSnapshotResponse


def handle(broker: "Broker", request: Request) -> m.FetchSnapshotResponse:
    body: m.FetchSnapshotRequest = request.body
    if body.cluster_id is not None and body.cluster_id != broker.cluster_id:
        return _Of(error_code=ErrorCode.INCONSISTENT_CLUSTER_ID)
    topics = []
    for topic in body.topics:
        answers = []
        for wanted in topic.partitions:
            if topic.name == "__cluster_metadata" and wanted.partition == 0:
                answers.append(_slice(broker, wanted, body.max_bytes))
                if not answers[-1].error_code:
                    broker.metadata.replica_listens(ReplicaKey(body.replica_id, bytes(wanted.replica_directory_id)))
            else:
                answers.append(_answer(broker, wanted, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
        topics.append(_Of.TopicSnapshot(topic.name, answers))
    endpoint = _Of.NodeEndpoint
    endpoints = [endpoint(id_, host, port) for id_, host, port in broker.leader_endpoints()]
    return _Of(topics=topics, node_endpoints=endpoints if request.version >= 1 else [])


def _answer(broker: "Broker", wanted: Any, code: ErrorCode = ErrorCode.NONE) -> Any:
    metadata = broker.metadata
    return _Of.PartitionSnapshot(
        wanted.partition,
        code,
        _Of.SnapshotId(wanted.snapshot_id.end_offset, wanted.snapshot_id.epoch),
        _Of.LeaderIdAndEpoch(metadata.leader_id, metadata.epoch),
        unaligned_records=b"",
    )


def _slice(broker: "Broker", wanted: Any, max_bytes: int) -> Any:
    metadata, epoch = broker.metadata, wanted.current_leader_epoch
    if epoch < metadata.epoch:
        return _answer(broker, wanted, ErrorCode.FENCED_LEADER_EPOCH)
    if epoch > metadata.epoch:
        return _answer(broker, wanted, ErrorCode.UNKNOWN_LEADER_EPOCH)
    if not metadata.is_leader:
        return _answer(broker, wanted, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    id_ = SnapshotId(wanted.snapshot_id.end_offset, wanted.snapshot_id.epoch)
    if id_ not in metadata.snapshots:
        return _answer(broker, wanted, ErrorCode.SNAPSHOT_NOT_FOUND)
    try:
        file = broker.files.open(metadata.snapshot_path(id_))
    except StorageError:
        return _answer(broker, wanted, ErrorCode.SNAPSHOT_NOT_FOUND)
    try:
        size = file.size()
        if not 0 <= wanted.position < size:
            return _answer(broker, wanted, ErrorCode.POSITION_OUT_OF_RANGE)
        limit = min(max_bytes, broker.config["controller.quorum.fetch.snapshot.max.bytes"], size - wanted.position)
        answer = _answer(broker, wanted)
        answer.size, answer.position = size, wanted.position
        answer.unaligned_records = file.pread(max(limit, 0), wanted.position)
        return answer
    finally:
        file.close()
