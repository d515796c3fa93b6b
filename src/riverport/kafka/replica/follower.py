"""What a follower does to its log: append what the leader sends, cut what the leader does not have.

The high watermark never goes back here but with a cut: what was committed under one leader is in the logs of all that
may follow it, and a new leader learns only with time how far that is.
"""

from collections.abc import Callable
from typing import Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log import Log
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.replica.partition import Partition
from riverport.kafka.wire.errors import ApiError, ErrorCode

log = get_logger(__name__)


def begin(partition: Partition, now_ms: int) -> None:
    """Before the first fetch in a leader's epoch. Raises ApiError KAFKA_STORAGE_ERROR.

    Records that are older than leader epochs cannot be compared with the leader's: what is not committed goes.
    """
    own = partition.log
    if own is not None and own.leader_epochs.latest < 0 and own.log_end_offset > own.high_watermark:
        truncate(partition, own.high_watermark, now_ms)


def take(partition: Partition, records: Any, high_watermark: int, log_start: int, now_ms: int) -> bool:
    """Append what a leader has sent, and take over its watermark and log start; True where the watermark moved.

    Raises ApiError: CORRUPT_MESSAGE, OFFSET_OUT_OF_RANGE for what does not fit the log, KAFKA_STORAGE_ERROR.
    """
    own = partition.log
    if own is None:
        raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
    before = own.high_watermark
    try:
        if records:
            _append(own, records, now_ms)
        if high_watermark > before:
            own.update_high_watermark(high_watermark)
        if log_start > own.log_start_offset:
            own.delete_records(min(log_start, own.high_watermark))
    except StorageError as error:
        partition.storage_failed(own, error)
        raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR) from error
    return own.high_watermark > before


def _append(own: Log, records: Any, now_ms: int) -> None:
    if own.log_start_offset == own.log_end_offset:
        # The leader's log may start in the middle of a batch: ours is to begin with all of it.
        first = next(iter_headers(records), None)
        if first is not None and first.base_offset < own.log_end_offset <= first.last_offset:
            start = own.log_start_offset
            own.truncate_fully_and_start_at(first.base_offset, now_ms)
            own.append_as_follower(records, now_ms)
            own.log_start_offset = start
            return
    own.append_as_follower(records, now_ms)


def truncate(partition: Partition, offset: int, now_ms: int) -> bool:
    """Drop what lies behind `offset`; True where there was something. Raises ApiError KAFKA_STORAGE_ERROR."""
    own = partition.log
    if own is not None and offset < own.high_watermark:
        # Only an election outside of the in-sync replicas brings this about.
        log.warning("committed records are cut", partition=partition, offset=offset, high_watermark=own.high_watermark)
    if own is not None and offset < own.segments[0].base_offset:
        return start_at(partition, offset, now_ms)
    return _cut(partition, lambda log: log.truncate_to(offset))


def start_at(partition: Partition, offset: int, now_ms: int) -> bool:
    """Drop everything, and go on at `offset`. Raises ApiError KAFKA_STORAGE_ERROR."""
    return _cut(partition, lambda log: log.truncate_fully_and_start_at(offset, now_ms))


def _cut(partition: Partition, cut: Callable[[Log], None]) -> bool:
    own = partition.log
    if own is None:
        raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
    before = own.truncations
    try:
        cut(own)
    except StorageError as error:
        partition.storage_failed(own, error)
        raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR) from error
    return own.truncations > before
