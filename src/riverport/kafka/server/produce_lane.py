"""The short way of the requests that come most: Produce for one partition.

One pass reads the frame, the partition appends, and a prepared struct writes the answer: 11 us instead of 33. With
acks=all it waits for the followers. The lane says nothing of its own, but what becomes of such a wait. It leaves
everything else to the general way, before anything is done: quotas, faults of tests, waiting for the disk, internal
topics, and whatever is refused, which is then judged, and refused, once more. See docs/adr/0006-produce-lane.md.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from riverport.kafka.log import AppendInfo
from riverport.kafka.records.batch import ATTRIBUTES_AT, BATCH_OVERHEAD, CODEC_MASK, TRANSACTIONAL_BIT
from riverport.kafka.records.validation import ZSTD_SINCE
from riverport.kafka.replica.partition import ACKS_ALL, Partition
from riverport.kafka.server.acknowledgements import leave, wait_in
from riverport.kafka.server.connection import LATER
from riverport.kafka.server.request import Request
from riverport.kafka.server.waiting import appended
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.kafka.wire.produce_frame import BY_ID_SINCE, answer_packer, read, read_timeout

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.connection import Connection
    from riverport.kafka.server.dispatch import Dispatch

MAX_PACKERS = 10_000
"""Prepared answers, one for each topic and version in use; all are made anew when there are more."""

_NEVER = 2**63 - 1
_ATTRIBUTES_AT = ATTRIBUTES_AT + 1  # their low byte
_UNUSUAL = TRANSACTIONAL_BIT
_UNUSUAL_TO_OLD = TRANSACTIONAL_BIT | CODEC_MASK  # producers of that time may use some of the codecs only
Pack = Callable[[int, int, int, int, int], bytes]


class ProduceLane:
    """One for all connections of a broker's listeners."""

    def __init__(self, broker: "Broker", dispatch: "Dispatch") -> None:
        self._broker = broker
        self._dispatch = dispatch
        self._quotas = broker.client_quotas
        self._packers: dict[tuple[int, str | bytes], Pack] = {}

    def serve(self, buffer: memoryview, start: int, stop: int, connection: "Connection") -> bytes | None:
        """The whole answer to the request in buffer[start:stop], or LATER; None where it is to go the general way."""
        found = read(buffer, start, stop)
        broker = self._broker
        if found is None or broker.request_filter or self._quotas.active:
            return None
        version, correlation_id, acks, topic, index, at, end = found
        name = broker.topic_names.get(topic) if version >= BY_ID_SINCE else topic  # type: ignore[arg-type]
        partition = broker.partitions.get((name, index))  # type: ignore[arg-type]
        if partition is None or name in broker.internal_topics:
            return None
        log = partition.log
        # Stamping changes the batch: if it were refused after that, it would be judged another one the second time.
        if log is None or log.config.flush_messages != _NEVER or log.stamps_time:
            return None
        records = buffer[at:end]
        if end - at <= BATCH_OVERHEAD or records[_ATTRIBUTES_AT] & (
            _UNUSUAL if version >= ZSTD_SINCE else _UNUSUAL_TO_OLD
        ):
            return None
        try:
            info = partition.append(records, acks, broker.clock.wall_ms())
        except ApiError:
            return None
        if not info.duplicate and (partition.waiters or partition.watchers or partition.produces):
            appended(partition, end - at, broker.loop)
        pack = self._packers.get((version, topic)) or self._prepare(version, topic)
        answer = pack(correlation_id, index, info.first_offset, info.log_append_time_ms, info.log_start_offset)
        if acks != ACKS_ALL or log.high_watermark > info.last_offset:
            return answer
        timeout_ms = read_timeout(buffer, start)
        _Unacknowledged(self, connection, partition, info, answer, version, topic, broker.loop, timeout_ms)
        return LATER

    def unacknowledged(self, waiting: "_Unacknowledged", code: int) -> list[Any]:
        """The answer where the followers did not get, or it is not known whether they got, what was appended."""
        from riverport.kafka.server.api import produce

        version, info, topic = waiting.version, waiting.info, waiting.topic
        correlation_id = int.from_bytes(waiting.answer[4:8], "big", signed=True)
        request = Request(ApiKey.PRODUCE, version, correlation_id, None, None, waiting.connection, 0.0)
        made = m.ProduceResponse
        entry = made.PartitionProduceResponse(
            waiting.partition.index, code, info.first_offset, info.log_append_time_ms, info.log_start_offset
        )
        name, topic_id = ("", topic) if isinstance(topic, bytes) else (topic, bytes(16))
        answer = produce.respond(self._broker, request, [made.TopicProduceResponse(name, topic_id, [entry])])
        operation = self._dispatch.operation(ApiKey.PRODUCE, version)
        assert operation is not None
        return operation.encode_answer(answer, correlation_id)

    def _prepare(self, version: int, topic: str | bytes) -> Pack:
        if len(self._packers) >= MAX_PACKERS:
            self._packers.clear()
        packer = self._packers[version, topic] = answer_packer(version, topic)
        return packer


class _Unacknowledged:
    """One request that waits for the high watermark, with the answer that it is to have."""

    __slots__ = ("_lane", "_place", "_timer", "answer", "connection", "info", "partition", "topic", "version")

    def __init__(
        self,
        lane: ProduceLane,
        connection: "Connection",
        partition: Partition,
        info: AppendInfo,
        answer: bytes,
        version: int,
        topic: str | bytes,
        loop: asyncio.AbstractEventLoop,
        timeout_ms: int,
    ) -> None:
        self._lane = lane
        self._place = connection.defer(ApiKey.PRODUCE)
        self._timer = loop.call_later(max(timeout_ms, 0) / 1000, self._time_out)
        self.answer = answer
        self.connection = connection
        self.info = info
        self.partition = partition
        self.topic = topic
        self.version = version
        wait_in(partition.produces, info.last_offset + 1, self, None)

    def settle(self, answer: None, code: int) -> None:
        self._timer.cancel()
        parts = self._lane.unacknowledged(self, code) if code else (self.answer,)
        self.connection.deliver(self._place, parts)

    def _time_out(self) -> None:
        if leave(self.partition.produces, self):
            self.settle(None, ErrorCode.REQUEST_TIMED_OUT)
