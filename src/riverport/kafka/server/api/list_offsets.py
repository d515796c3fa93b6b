"""ListOffsets v1-11 (KIP-79 timestamps, KIP-734 max timestamp, KIP-405 tiered specials, KIP-1005, KIP-1023).

Without tiered storage the earliest local offset is the log start, and there is no last tiered offset.
"""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.log import Log
    from riverport.kafka.server.broker import Broker

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
_SINCE = {MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING_UPLOAD: 11}
"""The version that introduced each special timestamp."""

_Answer = m.ListOffsetsResponse.ListOffsetsPartitionResponse


def handle(broker: "Broker", request: Request) -> m.ListOffsetsResponse:
    body: m.ListOffsetsRequest = request.body
    seen: set[tuple[str, int]] = set()
    twice: set[tuple[str, int]] = set()
    for topic in body.topics:
        for partition in topic.partitions:
            key = (topic.name, partition.partition_index)
            (twice if key in seen else seen).add(key)
    topics = []
    for topic in body.topics:
        answers = []
        for partition in topic.partitions:
            key = (topic.name, partition.partition_index)
            if key in twice:
                if key in seen:
                    answers.append(_Answer(partition.partition_index, ErrorCode.INVALID_REQUEST))
                seen.discard(key)
                continue
            try:
                answers.append(_find(broker, request, topic.name, partition))
            except ApiError as error:
                answers.append(_Answer(partition.partition_index, error.code))
        topics.append(m.ListOffsetsResponse.ListOffsetsTopicResponse(topic.name, answers))
    return m.ListOffsetsResponse(topics=topics)


def _find(broker: "Broker", request: Request, topic: str, wanted: m.ListOffsetsRequest.ListOffsetsPartition) -> _Answer:
    timestamp = wanted.timestamp
    if timestamp < EARLIEST_PENDING_UPLOAD or request.version < _SINCE.get(timestamp, 0):
        raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
    log = broker.partition(topic, wanted.partition_index).leader_log(wanted.current_leader_epoch)
    found_timestamp, offset = _look_up(log, timestamp, request.body)
    epoch = log.epoch_for_offset(offset) if offset >= 0 and request.version >= 4 else -1
    return _Answer(wanted.partition_index, 0, timestamp=found_timestamp, offset=offset, leader_epoch=epoch)


def _look_up(log: "Log", timestamp: int, body: m.ListOffsetsRequest) -> tuple[int, int]:
    """(timestamp, offset), both -1 where there is none; offsets that a fetch could not read yet do not count."""
    if body.replica_id >= 0:
        end = log.log_end_offset
    elif body.isolation_level not in (READ_UNCOMMITTED, READ_COMMITTED):
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
    elif body.isolation_level == READ_COMMITTED:
        end = log.last_stable_offset
    else:
        end = log.high_watermark
    match timestamp:
        case -1:  # LATEST
            return -1, end
        case -2 | -4:  # EARLIEST, EARLIEST_LOCAL
            return -1, log.log_start_offset
        case -3:  # MAX_TIMESTAMP
            found = log.max_timestamp_offset()
        case -5 | -6:  # LATEST_TIERED, EARLIEST_PENDING_UPLOAD: nothing is tiered
            return -1, -1
        case _:
            found = log.offset_for_timestamp(timestamp)
    if found is None or found[1] >= end:
        return -1, -1
    return found
