"""Produce requests of the shape that nearly all have, read in one pass; and what is answered to them.

One topic, one partition, no transaction, nothing tagged, an answer wanted: such a request needs no object of its own.
Whatever is of another shape, or wrong, is left to the general decoder (`codec`), which knows what to say of it. The
general path reads a request in 5 us and writes its answer in 3. `_produce_frame.c` reads one in 0.4, and its twin in
Python, which takes over where no compiler was at hand, in 4. See docs/adr/0006-produce-lane.md.
"""

import struct
from collections.abc import Callable

from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.varint import Buffer, read_uvarint, uvarint

Ordinary = tuple[int, int, int, str | bytes, int, int, int]
"""(version, correlation id, acks, the topic's name or from v13 on its id, partition, start and stop of the records)."""

OLDEST, FLEXIBLE_SINCE, BY_ID_SINCE, NEWEST = 3, 9, 13, 13
_START_OFFSET_SINCE = 5
_RECORD_ERRORS_SINCE = 8

_HEADER = struct.Struct(">hhih")
_ACKS = struct.Struct(">hi")
_SHORT, _INT = struct.Struct(">h"), struct.Struct(">i")


def read_python(buffer: Buffer, start: int, stop: int) -> Ordinary | None:
    """Read the frame without its size in buffer[start:stop]; None where it is of another shape, or damaged."""
    if not 0 <= start <= stop <= len(buffer):
        raise ValueError("no such part of the buffer")
    try:
        return _read(memoryview(buffer)[:stop], start)
    except (struct.error, IndexError, UnicodeDecodeError, WireError):
        return None


def _read(buf: memoryview, pos: int) -> Ordinary | None:
    key, version, correlation_id, client_size = _HEADER.unpack_from(buf, pos)
    if key != 0 or not OLDEST <= version <= NEWEST or client_size < -1:
        return None
    pos += _HEADER.size
    flexible = version >= FLEXIBLE_SINCE
    if client_size > 0:
        str(_piece(buf, pos, client_size), "ascii")
        pos += client_size
    tags = buf[pos] if flexible else 0
    transactional, pos = _length(buf, pos + flexible, flexible, _SHORT)
    acks, _ = _ACKS.unpack_from(buf, pos)
    topics, pos = _length(buf, pos + _ACKS.size, flexible, _INT)
    if tags or transactional != -1 or topics != 1 or acks not in (1, -1):
        return None
    topic: str | bytes
    if version >= BY_ID_SINCE:
        topic, pos = bytes(_piece(buf, pos, 16)), pos + 16
    else:
        size, pos = _length(buf, pos, flexible, _SHORT)
        topic, pos = str(_piece(buf, pos, size), "ascii"), pos + size
    partitions, pos = _length(buf, pos, flexible, _INT)
    (partition,) = _INT.unpack_from(buf, pos)
    size, pos = _length(buf, pos + _INT.size, flexible, _INT)
    stop = pos + size
    if partitions != 1 or size <= 0 or stop > len(buf) or bytes(buf[stop:]) != (b"\0\0\0" if flexible else b""):
        return None
    return version, correlation_id, acks, topic, partition, pos, stop


def _length(buf: memoryview, pos: int, flexible: bool, fixed: struct.Struct) -> tuple[int, int]:
    if not flexible:
        return fixed.unpack_from(buf, pos)[0], pos + fixed.size
    if buf[pos] < 128:
        return buf[pos] - 1, pos + 1
    found, pos = read_uvarint(buf, pos)
    return found - 1, pos


def _piece(buf: memoryview, pos: int, size: int) -> memoryview:
    if size < 0 or pos + size > len(buf):
        raise IndexError
    return buf[pos : pos + size]


def read_timeout(buffer: Buffer, start: int) -> int:
    """How long the request that `read` has read from `start` on may wait for its acknowledgement, in milliseconds."""
    (client_size,) = _SHORT.unpack_from(buffer, start + _HEADER.size - _SHORT.size)
    # Behind the header are two bytes in every version, tags and transactional id or the latter alone; then come acks.
    found: int = _INT.unpack_from(buffer, start + _HEADER.size + max(client_size, 0) + 4)[0]
    return found


def answer_packer(version: int, topic: str | bytes) -> Callable[[int, int, int, int, int], bytes]:
    """Writes whole answer frames for one topic: (correlation id, partition, first offset, append time, log start).

    It says what the general encoder says of a partition without an error.
    """
    flexible = version >= FLEXIBLE_SINCE
    if isinstance(topic, bytes):
        name = topic
    else:
        text = topic.encode()
        name = (uvarint(len(text) + 1) if flexible else _SHORT.pack(len(text))) + text
    before = b"\0\2%b\2" % name if flexible else b"\0\0\0\1%b\0\0\0\1" % name
    after = b""
    if flexible:
        after = b"\1\0\0\0"  # no record errors, no message, no tags of partition and topic
    elif version >= _RECORD_ERRORS_SINCE:
        after = b"\0\0\0\0\xff\xff"
    after += bytes(5 if flexible else 4)  # throttle time, tags
    has_start = version >= _START_OFFSET_SINCE
    whole = struct.Struct(f">ii{len(before)}sihqq{'q' if has_start else ''}{len(after)}s")
    pack, size = whole.pack, whole.size - 4

    if has_start:
        return lambda correlation_id, partition, first, time_ms, start: pack(
            size, correlation_id, before, partition, 0, first, time_ms, start, after
        )
    return lambda correlation_id, partition, first, time_ms, start: pack(
        size, correlation_id, before, partition, 0, first, time_ms, after
    )


try:
    from riverport.kafka.wire._produce_frame import read as _compiled
except ImportError:
    read: Callable[[Buffer, int, int], Ordinary | None] = read_python
else:
    read = _compiled
