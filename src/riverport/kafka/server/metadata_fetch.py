"""Fetches of the metadata log from its leader, by observers and by whoever reads it as a consumer (KIP-595, KIP-630).

A fetch without news waits until something is committed, at most its max.wait. Followers read up to the log's end,
consumers up to the high watermark.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.log import Isolation
from riverport.kafka.raft.voters import ReplicaKey
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Answer = m.FetchResponse.PartitionData
MAX_WAITING = 10_000
"""Fetches that may wait at a time; more are answered at once."""


class MetadataFetches:
    """Fetches that wait for the next commit."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._waiting: dict[_Waiting, None] = {}

    def fetch(self, request: Request) -> m.FetchResponse | asyncio.Future[m.FetchResponse]:
        body: m.FetchRequest = request.body
        if body.cluster_id is not None and body.cluster_id != self._broker.cluster_id:
            return m.FetchResponse(error_code=ErrorCode.INCONSISTENT_CLUSTER_ID)
        partition = self._partition_of(request)
        if isinstance(partition, m.FetchResponse):
            return partition
        answer = self._read(body, partition)
        if _replica_id(body) >= 0 and _is_level(answer):
            # It has everything below: that may be what was missing, and the answer tells of it.
            key = ReplicaKey(_replica_id(body), bytes(partition.replica_directory_id))
            self._broker.metadata.replica_fetched(key, partition.fetch_offset)
            answer = self._read(body, partition)
        if _has_news(answer, partition) or body.max_wait_ms <= 0 or len(self._waiting) >= MAX_WAITING:
            return self._response(request.version, answer)
        waiting = _Waiting(self, request, partition)
        self._waiting[waiting] = None
        return waiting.future

    def look_again(self) -> None:
        """The log has grown, more of it is committed, or the lead is lost."""
        for waiting in list(self._waiting):
            waiting.look_again()

    def _partition_of(self, request: Request) -> Any:
        """The partition that is asked for, or the answer to who asks for another."""
        body: m.FetchRequest = request.body
        for topic in body.topics:
            known = (
                topic.topic_id == METADATA_TOPIC_ID if request.version >= 13 else topic.topic == "__cluster_metadata"
            )
            if known and len(topic.partitions) == 1 and topic.partitions[0].partition == 0 and len(body.topics) == 1:
                return topic.partitions[0]
        code = ErrorCode.UNKNOWN_TOPIC_ID if request.version >= 13 else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        answers = [
            m.FetchResponse.FetchableTopicResponse(
                topic.topic, topic.topic_id, [_Answer(p.partition, code, -1, records=b"") for p in topic.partitions]
            )
            for topic in body.topics
        ]
        return m.FetchResponse(responses=answers)

    def _read(self, body: m.FetchRequest, partition: Any) -> Any:
        metadata = self._broker.metadata
        log, epoch = metadata.log, metadata.epoch
        answer = _Answer(
            0,
            0,
            metadata.quorum.told_high_watermark,
            -1,
            log.log_start_offset,
            current_leader=m.FetchResponse.LeaderIdAndEpoch(metadata.leader_id, epoch),
            records=b"",
        )
        asked = partition.current_leader_epoch
        if 0 <= asked < epoch:
            answer.error_code = ErrorCode.FENCED_LEADER_EPOCH
        elif asked > epoch:
            answer.error_code = ErrorCode.UNKNOWN_LEADER_EPOCH
        elif not metadata.is_leader:
            answer.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
        elif partition.fetch_offset < 0 or body.max_wait_ms < 0:
            answer.error_code = ErrorCode.INVALID_REQUEST
        elif _needs_snapshot(metadata, body, partition):
            snapshot = metadata.newest_snapshot()
            if snapshot is None:
                answer.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
            else:
                answer.snapshot_id = m.FetchResponse.SnapshotId(*snapshot)
        elif (end := _divergence(log, partition)) is not None:
            answer.diverging_epoch = m.FetchResponse.EpochEndOffset(*end)
        else:
            isolation = Isolation.LOG_END if _replica_id(body) >= 0 else Isolation.HIGH_WATERMARK
            limit = min(body.max_bytes, self._broker.config["controller.quorum.fetch.max.bytes"])
            answer.records = log.read(partition.fetch_offset, limit, isolation=isolation, min_one=True).records
        return answer

    def _response(self, version: int, answer: Any) -> m.FetchResponse:
        if version < 12:
            # Before versions that are fit for a quorum the answer has no room for what a member of one is told.
            answer.current_leader = m.FetchResponse.LeaderIdAndEpoch()
            answer.diverging_epoch = m.FetchResponse.EpochEndOffset()
            answer.snapshot_id = m.FetchResponse.SnapshotId()
        topic = m.FetchResponse.FetchableTopicResponse("__cluster_metadata", METADATA_TOPIC_ID, [answer])
        endpoint = m.FetchResponse.NodeEndpoint
        endpoints = [endpoint(id_, host, port) for id_, host, port in self._broker.leader_endpoints() if version >= 16]
        return m.FetchResponse(responses=[topic], node_endpoints=endpoints)


class _Waiting:
    """One fetch without news so far."""

    __slots__ = ("_body", "_fetches", "_partition", "_timer", "_version", "future")

    def __init__(self, fetches: MetadataFetches, request: Request, partition: Any) -> None:
        loop = fetches._broker.loop
        self.future: asyncio.Future[m.FetchResponse] = loop.create_future()
        self._fetches = fetches
        self._version = request.version
        self._body: m.FetchRequest = request.body
        self._partition = partition
        self._timer = loop.call_later(self._body.max_wait_ms / 1000, self._expire)

    def look_again(self) -> None:
        answer = self._fetches._read(self._body, self._partition)
        if _has_news(answer, self._partition):
            self._answer(answer)

    def _expire(self) -> None:
        self._answer(self._fetches._read(self._body, self._partition))

    def _answer(self, answer: Any) -> None:
        self._timer.cancel()
        self._fetches._waiting.pop(self, None)
        if not self.future.done():
            self.future.set_result(self._fetches._response(self._version, answer))


def _replica_id(body: m.FetchRequest) -> int:
    return max(body.replica_id, body.replica_state.replica_id)


def _is_level(answer: Any) -> bool:
    """Whether the replica's log agrees with this one, as far as it goes."""
    return not answer.error_code and answer.diverging_epoch.epoch < 0 and answer.snapshot_id.epoch < 0


def _needs_snapshot(metadata: Any, body: m.FetchRequest, partition: Any) -> bool:
    """A replica that begins gets the newest checkpoint rather than a long log (as Apache Kafka)."""
    if partition.fetch_offset < metadata.log.log_start_offset:
        return True
    newest = metadata.newest_snapshot()
    return partition.fetch_offset == 0 and _replica_id(body) >= 0 and newest is not None and newest.end_offset > 0


def _has_news(answer: Any, partition: Any) -> bool:
    return bool(
        answer.error_code
        or answer.records
        or answer.snapshot_id.epoch >= 0
        or answer.diverging_epoch.epoch >= 0
        # A replica that tells what it knows (v18, KIP-1166) hears of a new high watermark at once.
        or answer.high_watermark > partition.high_watermark
    )


def _divergence(log: Any, partition: Any) -> tuple[int, int] | None:
    """(epoch, end offset) where the replica's last epoch ends elsewhere in this log."""
    if partition.last_fetched_epoch <= 0 and partition.fetch_offset == 0:
        return None
    epoch, end_offset = log.offset_for_leader_epoch(partition.last_fetched_epoch)
    if epoch == partition.last_fetched_epoch and end_offset >= partition.fetch_offset:
        return None
    return max(epoch, 0), max(end_offset, 0)
