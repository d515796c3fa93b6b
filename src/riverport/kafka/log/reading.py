"""Finding bytes and records in the segments of a log: by offset for fetches, by time for ListOffsets."""

from collections.abc import Sequence

from riverport.base.files import FileSlice
from riverport.kafka.log.segment import HEADER_BYTES, Segment
from riverport.kafka.records.batch import BatchHeader, read_header
from riverport.kafka.records.record import iter_records

SLICE_BYTES = 64 * 1024
"""As much and more is sent from the file; below that, reading it takes less than what sending a slice takes around."""
LOOK_AHEAD_BYTES = 8 * 1024
"""Read to find a batch: index entries are `index.interval.bytes` apart, and a batch."""


def read_segment(
    segment: Segment, position: int, end: int, offset: int, max_bytes: int, min_one: bool, to_send: bool
) -> bytes | FileSlice | None:
    """The bytes from the batch that holds `offset` on, which is sought from `position` to `end` of the file.

    None where every batch there lies below `offset`. The other arguments are those of `Log.read`.
    """
    ahead = max(max_bytes, HEADER_BYTES)
    if to_send and end - position >= SLICE_BYTES:
        ahead = min(ahead, LOOK_AHEAD_BYTES)
    while position < end:
        data = segment.file.pread(min(ahead, end - position), position)
        if len(data) < HEADER_BYTES:
            return b"" if data else None
        skip = 0
        header = read_header(data)
        while header.last_offset < offset:
            skip += header.size
            if skip + HEADER_BYTES > len(data):
                break
            header = read_header(data, skip)
        if header.last_offset < offset:
            position += skip
            continue
        size = max(min(max_bytes, end - position - skip), 0)
        if header.size > max_bytes:
            # Without a whole batch there is nothing that a client could go on with (KIP-74).
            size = header.size if min_one else 0 if to_send else size
        if skip + size <= len(data):
            return data[skip : skip + size]
        if to_send and size >= SLICE_BYTES:
            return segment.file.slice(size, position + skip)
        return segment.file.pread(size, position + skip)
    return None


def first_since(segments: Sequence[Segment], timestamp: int, log_start: int) -> tuple[int, int] | None:
    """(timestamp, offset) of the first record at or after a time, None where there is none."""
    for segment in segments:
        if segment.read_max_timestamp() < timestamp:
            continue
        start = segment.offset_index.position_of(segment.time_index.offset_before(timestamp))
        for header in segment.headers(start):
            if header.max_timestamp >= timestamp and header.last_offset >= log_start:
                found = _first_in(segment, header, timestamp, log_start)
                if found is not None:
                    return found
    return None


def first_of_newest(segments: Sequence[Segment], log_start: int) -> tuple[int, int] | None:
    """(timestamp, offset) of the first record that has the greatest timestamp of all."""
    best = max(segments, key=lambda segment: segment.read_max_timestamp(), default=None)
    if best is None or best.max_timestamp < 0:
        return None
    start = best.offset_index.position_of(best.time_index.offset_before(best.max_timestamp))
    for header in best.headers(start):
        if header.max_timestamp == best.max_timestamp:
            return _first_in(best, header, best.max_timestamp, log_start)
    return None


def _first_in(segment: Segment, header: BatchHeader, timestamp: int, log_start: int) -> tuple[int, int] | None:
    raw = segment.file.pread(header.size, header.position)
    for record in iter_records(raw, read_header(raw)):
        if record.timestamp >= timestamp and record.offset >= log_start:
            return record.timestamp, record.offset
    return None
