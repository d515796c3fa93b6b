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
CONSUMER, DEBUGGING = -1, -2
"""Replica ids of those who are no replica; the latter may ask any replica, and sees everything."""
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
    partition = broker.partition(topic, wanted.partition_index)
    anybody = request.body.replica_id == DEBUGGING
    log = (partition.local_log if anybody else partition.leader_log)(wanted.current_leader_epoch)
    behind = partition.leadership is not None and log.high_watermark < partition.leadership.epoch_start_offset
    found = _look_up(log, timestamp, request.body, is_behind=behind and request.body.replica_id == CONSUMER)
    if found is None:
        # A new leader does not know yet how far the records reach that a consumer may know of.
        raise ApiError(ErrorCode.OFFSET_NOT_AVAILABLE if request.version >= 5 else ErrorCode.LEADER_NOT_AVAILABLE)
    found_timestamp, offset = found
    epoch = log.epoch_for_offset(offset) if offset >= 0 and request.version >= 4 else -1
    return _Answer(wanted.partition_index, 0, timestamp=found_timestamp, offset=offset, leader_epoch=epoch)


def _look_up(log: "Log", timestamp: int, body: m.ListOffsetsRequest, *, is_behind: bool) -> tuple[int, int] | None:
    """(timestamp, offset), both -1 where there is none; offsets that a fetch could not read yet do not count.

    None where that cannot be told while the high watermark `is_behind` the start of the leader's epoch.
    """
    if body.replica_id != CONSUMER:
        end = log.log_end_offset
    elif body.isolation_level not in (READ_UNCOMMITTED, READ_COMMITTED):
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
    elif body.isolation_level == READ_COMMITTED:
        end = log.last_stable_offset
    else:
        end = log.high_watermark
    match timestamp:
        case -1:  # LATEST
            return None if is_behind else (-1, end)
        case -2 | -4:  # EARLIEST, EARLIEST_LOCAL
            return -1, log.log_start_offset
        case -3:  # MAX_TIMESTAMP
            found = log.max_timestamp_offset()
        case -5 | -6:  # LATEST_TIERED, EARLIEST_PENDING_UPLOAD: nothing is tiered
            return -1, -1
        case _:
            found = log.offset_for_timestamp(timestamp)
    if found is None or found[1] >= end:
        return None if is_behind else (-1, -1)
    return found
