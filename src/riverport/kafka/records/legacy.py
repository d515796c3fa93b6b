"""Message sets of magic 0 and 1, which only old logs hold: read, never written (producing them is refused).

A message is `offset i64, size i32, crc u32, magic i8, attributes i8, [timestamp i64 from magic 1], key, value` with
int32 lengths. A compressed message's value is a message set; its own offset is that of the last inner message. Inner
offsets are absolute in magic 0 and count from 0 in magic 1.
"""

import struct
import zlib
from collections.abc import Iterator

from riverport.kafka.records.batch import (
    CODEC_MASK,
    LEGACY_OVERHEAD,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    MAGIC_AT,
    NO_TIMESTAMP,
    BatchHeader,
    Buffer,
)
from riverport.kafka.records.codecs import Codec, codec_of, decompress
from riverport.kafka.records.errors import corrupt
from riverport.kafka.records.record import Record

_MESSAGE = struct.Struct(">qiIbb")
_TIMESTAMP = struct.Struct(">q")
_LENGTH = struct.Struct(">i")
_LZ4_DESCRIPTOR_AT = 4


def iter_legacy(buf: Buffer, header: BatchHeader, limit: int) -> Iterator[Record]:
    """Open a message, or the messages inside a compressed one, in offset order."""
    message = bytes(memoryview(buf)[header.position : header.end])
    codec = codec_of(header.codec)
    record, _, _ = _read_message(message, 0)
    if codec is Codec.NONE:
        yield record
        return
    if record.value is None:
        raise corrupt("A compressed message without a value")
    inner = bytes(decompress(codec, _repair(codec, header.magic, record.value), limit))
    records = []
    pos = 0
    while pos < len(inner):
        nested, attributes, pos = _read_message(inner, pos)
        if attributes & CODEC_MASK:
            raise corrupt("A compressed message within a compressed message")
        records.append(nested)
    if not records:
        raise corrupt("A compressed message without messages")
    # Relative offsets count up to the last, which has the offset of the whole.
    shift = header.base_offset - records[-1].offset if header.magic == 1 else 0
    append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None
    for nested in records:
        nested.offset += shift
        if append_time is not None:
            nested.timestamp = append_time
        yield nested


def _read_message(data: bytes, pos: int) -> tuple[Record, int, int]:
    """The message at `pos`: (record, attributes, next position)."""
    try:
        offset, size, crc, magic, attributes = _MESSAGE.unpack_from(data, pos)
        end = pos + LOG_OVERHEAD + size
        if magic not in (0, 1) or end > len(data) or end - pos < LEGACY_OVERHEAD[magic]:
            raise corrupt(f"A message of magic {magic} and {size} bytes where {len(data) - pos} remain")
        if zlib.crc32(data[pos + MAGIC_AT : end]) != crc:
            raise corrupt(f"The checksum of the message at offset {offset} is wrong")
        at = pos + _MESSAGE.size
        timestamp = NO_TIMESTAMP
        if magic == 1:
            (timestamp,) = _TIMESTAMP.unpack_from(data, at)
            at += 8
        key, at = _read_bytes(data, at, end)
        value, at = _read_bytes(data, at, end)
    except struct.error:
        raise corrupt("The message set ends within a message") from None
    if at != end:
        raise corrupt(f"{end - at} bytes remain behind a message's value")
    return Record(offset, timestamp, key, value, []), attributes, end


def _read_bytes(data: bytes, pos: int, end: int) -> tuple[bytes | None, int]:
    (size,) = _LENGTH.unpack_from(data, pos)
    pos += 4
    if size < 0:
        return None, pos
    if size > end - pos:
        raise corrupt(f"A field of {size} bytes where {end - pos} remain in the message")
    return data[pos : pos + size], pos + size


def _repair(codec: Codec, magic: int, value: bytes) -> bytes:
    """Magic 0 writers computed the LZ4 header checksum over four bytes too many (KIP-57): store what readers expect."""
    if codec is not Codec.LZ4 or magic != 0 or len(value) < 7:
        return value
    return _with_lz4_header_checksum(value)


def _with_lz4_header_checksum(frame: bytes) -> bytes:
    size = 10 if frame[_LZ4_DESCRIPTOR_AT] & 0x08 else 2
    at = _LZ4_DESCRIPTOR_AT + size
    checksum = _xxh32(frame[_LZ4_DESCRIPTOR_AT:at]) >> 8 & 0xFF
    return frame[:at] + bytes((checksum,)) + frame[at + 1 :]


def _xxh32(data: bytes) -> int:
    """xxHash32 with seed 0 of less than 16 bytes."""
    mask = 0xFFFFFFFF
    value = (374761393 + len(data)) & mask
    pos = 0
    while pos + 4 <= len(data):
        value = value + int.from_bytes(data[pos : pos + 4], "little") * 3266489917 & mask
        value = (value << 17 | value >> 15) * 668265263 & mask
        pos += 4
    for byte in data[pos:]:
        value = value + byte * 374761393 & mask
        value = (value << 11 | value >> 21) * 2654435761 & mask
    value = (value ^ value >> 15) * 2246822519 & mask
    value = (value ^ value >> 13) * 3266489917 & mask
    return value ^ value >> 16
