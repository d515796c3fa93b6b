"""Whether a records section holds what its header says: every length, every count, to the last byte, nothing opened.

This is what protects consumers: a record whose lengths lie stops whoever reads it, for good. Every produced batch is
walked, so it must be cheap. `_walk.c` takes 10 ns a record. `walk_python`, its twin where no compiler was at hand,
takes 0.9 us a record in general, and 25 ns where many records in a row have the same shape (see `columns`). The numbers
and the choice: docs/adr/0003-record-validation.md.
"""

from collections.abc import Callable

from riverport.kafka.records.batch import BATCH_OVERHEAD, CURRENT_MAGIC, HEADER, LOG_OVERHEAD, TRANSACTIONAL_BIT, Buffer
from riverport.kafka.records.columns import count_alike
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import read_varint, read_varlong

Walk = tuple[int, int, bool, bool]
"""(least timestamp delta, greatest, whether any key is null, whether the offset deltas are 0, 1, 2, ...)."""

Glance = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, bool]
"""The thirteen fields of a batch's header in their order, the least timestamp, whether any key is null."""

MIN_RECORD_BYTES = 7  # length, attributes, two deltas, null key, null value, no headers
_MANY = 16  # records that are left over; fewer are not worth a comparison in columns


def walk_python(section: Buffer, count: int) -> Walk | None:
    """Walk `count` records; None if any of them is malformed, or if they do not fill the section exactly."""
    if count < 1 or count * MIN_RECORD_BYTES > len(section):
        return None
    try:
        return _walk(bytes(section), count)
    except (IndexError, RecordError):
        return None


def _walk(data: bytes, count: int) -> Walk | None:
    """Varints of one byte are decoded in place: calls would take twice the time of all the rest."""
    least, greatest = 2**63 - 1, -(2**63)
    null_key = False
    consecutive = True
    index = pos = 0
    end = len(data)
    while index < count:
        start = pos
        lead = data[pos]
        if lead < 128:
            pos += 1
            stop = pos + _SMALL[lead]
        else:
            size, pos = read_varint(data, pos)
            stop = pos + size
        if not pos < stop <= end:
            return None
        pos += 1  # attributes may be anything
        timestamp, pos = (_SMALL[data[pos]], pos + 1) if data[pos] < 128 else read_varlong(data, pos)
        if timestamp < least:
            least = timestamp
        if timestamp > greatest:
            greatest = timestamp
        offset, pos = (_SMALL[data[pos]], pos + 1) if data[pos] < 128 else read_varint(data, pos)
        if offset != index:
            consecutive = False
        key, pos = (_SMALL[data[pos]], pos + 1) if data[pos] < 128 else read_varint(data, pos)
        if key > 0:
            pos += key
        elif key < 0:
            null_key = True
        value, pos = (_SMALL[data[pos]], pos + 1) if data[pos] < 128 else read_varint(data, pos)
        if value > 0:
            pos += value
        # The fields may have run on into the next record: only here is it known that they ended where they must.
        pos = pos + 1 if data[pos] == 0 else _skip_headers(data, pos, stop)
        if pos != stop:
            return None
        index += 1
        if consecutive and pos < end and data[pos] == lead and _repeats(data, start, pos, count - index):
            alike, low, high = count_alike(data, start, pos, index, count)
            if alike:
                least, greatest = min(least, low), max(greatest, high)
                index += alike
                pos += alike * (pos - start)
    return (least, greatest, null_key, consecutive) if pos == end else None


_SMALL = [(n >> 1) ^ -(n & 1) for n in range(128)]


def _repeats(data: bytes, start: int, pos: int, remaining: int) -> bool:
    """Whether the next three records seem to be as long as the one in data[start:pos]."""
    prefix = data[start : start + 2]
    size = pos - start
    return (
        remaining >= _MANY
        and data[pos : pos + 2] == prefix
        and data[pos + size : pos + size + 2] == prefix
        and data[pos + 2 * size : pos + 2 * size + 2] == prefix
    )


def _skip_headers(data: bytes, pos: int, stop: int) -> int:
    """Position behind the headers, or some position that is not `stop` where they are malformed."""
    count, pos = read_varint(data, pos)
    if not 0 <= count <= stop - pos:
        return -1
    for _ in range(count):
        name, pos = read_varint(data, pos)
        if name < 0:
            return -1
        value, pos = read_varint(data, pos + name)
        pos += max(value, 0)
        if pos > stop:
            return -1
    return pos


def glance_python(batch: Buffer, most_bytes: int) -> Glance | None:
    """What is to be known of a batch that takes no closer look; None for one that is at fault, or only unusual.

    One whole batch of magic 2, not compressed, whose header says what its records do. The checksum is not looked at.
    """
    if not BATCH_OVERHEAD < len(batch) <= most_bytes:
        return None
    header = HEADER.unpack_from(batch)
    offset, length, _, magic, _, attributes, last_delta, base_timestamp, max_timestamp, *producer, count = header
    producer_id, _, sequence = producer
    if offset != 0 or length + LOG_OVERHEAD != len(batch) or magic != CURRENT_MAGIC or attributes & ~TRANSACTIONAL_BIT:
        return None
    if last_delta != count - 1 or (producer_id >= 0 and sequence < 0) or max_timestamp < -1:
        return None
    found = walk(memoryview(batch)[BATCH_OVERHEAD:], count)
    if found is None or not found[3]:
        return None
    least, greatest = base_timestamp + found[0], base_timestamp + found[1]
    if least <= -(2**63) or greatest != max_timestamp:
        return None
    return (*header, least, found[2])


try:
    from riverport.kafka.records._walk import glance as _compiled_glance
    from riverport.kafka.records._walk import walk as _compiled_walk
except ImportError:
    walk: Callable[[Buffer, int], Walk | None] = walk_python
    glance: Callable[[Buffer, int], Glance | None] = glance_python
else:
    walk, glance = _compiled_walk, _compiled_glance
