"""The short way of the requests that come most: Produce for one partition that has no other replicas.

One pass reads the frame, the partition appends, and a prepared struct writes the answer: 11 us instead of 33. The lane
says nothing of its own. It takes what it can answer at once, and leaves everything else to the general way, before
anything is done: quotas, faults of tests, waiting for followers or for the disk, internal topics, and whatever is
refused, which is then judged, and refused, once more. See docs/adr/0006-produce-lane.md.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from riverport.kafka.records.batch import ATTRIBUTES_AT, BATCH_OVERHEAD, CODEC_MASK, TRANSACTIONAL_BIT
from riverport.kafka.records.validation import ZSTD_SINCE
from riverport.kafka.server.waiting import wake
from riverport.kafka.wire.errors import ApiError
from riverport.kafka.wire.produce_frame import BY_ID_SINCE, answer_packer, read

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

MAX_PACKERS = 10_000
"""Prepared answers, one for each topic and version in use; all are made anew when there are more."""

_NEVER = 2**63 - 1
_ATTRIBUTES_AT = ATTRIBUTES_AT + 1  # their low byte
_UNUSUAL = TRANSACTIONAL_BIT
_UNUSUAL_TO_OLD = TRANSACTIONAL_BIT | CODEC_MASK  # producers of that time may use some of the codecs only
Pack = Callable[[int, int, int, int, int], bytes]


class ProduceLane:
    """One for all connections of a broker's listeners."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._quotas = broker.client_quotas
        self._packers: dict[tuple[int, str | bytes], Pack] = {}

    def serve(self, buffer: memoryview, start: int, stop: int) -> bytes | None:
        """The whole answer to the request in buffer[start:stop]; None where it is to go the general way."""
        found = read(buffer, start, stop)
        broker = self._broker
        if found is None or broker.request_filter or self._quotas.active:
            return None
        version, correlation_id, acks, topic, index, at, end = found
        name = broker.topic_names.get(topic) if version >= BY_ID_SINCE else topic  # type: ignore[arg-type]
        partition = broker.partitions.get((name, index))  # type: ignore[arg-type]
        if partition is None or len(partition.replicas) != 1 or name in broker.internal_topics:
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
        if partition.waiters and not info.duplicate:
            wake(partition, end - at, broker.loop)
        pack = self._packers.get((version, topic)) or self._prepare(version, topic)
        return pack(correlation_id, index, info.first_offset, info.log_append_time_ms, info.log_start_offset)

    def _prepare(self, version: int, topic: str | bytes) -> Pack:
        if len(self._packers) >= MAX_PACKERS:
            self._packers.clear()
        packer = self._packers[version, topic] = answer_packer(version, topic)
        return packer
