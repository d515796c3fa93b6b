"""What a log no longer keeps: by time, by size, and below its log start (KIP-107). Whole segments only."""

from riverport.base.logging import get_logger
from riverport.kafka.log.log import Log

log = get_logger(__name__)


def drop_old_segments(log_: Log, now_ms: int) -> int:
    """Drop segments as the topic's configuration says; the active one is rolled first if it is due itself."""
    dropped = _drop_below_start(log_)
    if not log_.config.delete:
        return dropped
    return dropped + _drop_by_time(log_, now_ms) + _drop_by_size(log_, now_ms)


def _drop_below_start(log_: Log) -> int:
    count = 0
    while len(log_.segments) > 1 and log_.segments[1].base_offset <= log_.log_start_offset:
        count += _drop_first(log_, "log start")
    return count


def _drop_by_time(log_: Log, now_ms: int) -> int:
    retention_ms = log_.config.retention_ms
    if retention_ms < 0:
        return 0
    count = 0
    while _droppable(log_):
        segment = log_.segments[0]
        newest = segment.read_max_timestamp()
        if newest < 0:
            newest = segment.created_ms
        if now_ms - newest <= retention_ms:
            break
        if len(log_.segments) == 1:
            log_.roll(now_ms)
        count += _drop_first(log_, "retention.ms")
    return count


def _drop_by_size(log_: Log, now_ms: int) -> int:
    limit = log_.config.retention_bytes
    if limit < 0:
        return 0
    count, excess = 0, log_.size - limit
    while _droppable(log_) and excess - log_.segments[0].size >= 0:
        excess -= log_.segments[0].size
        if len(log_.segments) == 1:
            log_.roll(now_ms)
        count += _drop_first(log_, "retention.bytes")
    return count


def _droppable(log_: Log) -> bool:
    """Nothing of the first segment lies above the high watermark. An empty one goes too, unless it is all there is."""
    if len(log_.segments) == 1:
        return log_.active.size > 0 and log_.log_end_offset <= log_.high_watermark
    return log_.segments[1].base_offset <= log_.high_watermark


def _drop_first(log_: Log, reason: str) -> int:
    first = log_.segments[0]
    start = log_.segments[1].base_offset
    log.info("segment deleted", log=log_, base=first.base_offset, size=first.size, reason=reason)
    log_.drop_segments([first])
    log_.delete_records(max(start, log_.log_start_offset))
    return 1
