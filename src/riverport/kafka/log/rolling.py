"""When the active segment of a log takes no more: by its size, its age, its offsets, or the room in its indexes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from riverport.kafka.log.segment import Segment
from riverport.kafka.records.batch import BatchHeader

if TYPE_CHECKING:
    from riverport.kafka.log.log import Log

MAX_RELATIVE_OFFSET = 2**31 - 1
"""Indexes hold offsets as 32 bits from the segment's base on."""


def must_roll(log: "Log", segment: Segment, size: int, headers: Sequence[BatchHeader], now_ms: int) -> bool:
    """Whether these batches, of `size` bytes together, go into a new segment. The active one is not empty."""
    config, last = log.config, headers[-1]
    if segment.size + size > config.segment_bytes:
        return True
    if last.base_offset + last.last_offset_delta - segment.base_offset > MAX_RELATIVE_OFFSET:
        return True
    first = segment.read_first_timestamp()
    newest = last.max_timestamp if len(headers) == 1 else max([header.max_timestamp for header in headers])
    age = newest - first if first >= 0 else now_ms - segment.created_ms
    jitter_ms = _jitter_ms(log, segment) if config.segment_jitter_ms else 0
    if age > log.max_segment_ms - jitter_ms:
        return True
    # The last place of the time index is for the entry that is written when the segment is rolled.
    room = config.segment_index_bytes
    return segment.is_index_full(room // 8, room // 12 - 1)


def _jitter_ms(log: "Log", segment: Segment) -> int:
    """A part of `segment.jitter.ms` that differs from log to log, so that those made together roll apart."""
    limit = min(log.config.segment_jitter_ms, log.max_segment_ms)
    return crc32(f"{log}-{segment.base_offset}".encode()) % limit if limit > 0 else 0
