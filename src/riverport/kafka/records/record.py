"""Records inside a batch: opened one by one where somebody must look into them, and encoded.

Opening costs two microseconds a record where moving a batch costs nothing per record: the hot paths never do it.
Whoever only needs to know that a batch holds what its header says asks `walk` instead.
"""

from collections.abc import Iterable, Iterator

from riverport.kafka.records.batch import BATCH_OVERHEAD, CURRENT_MAGIC, BatchHeader, Buffer
from riverport.kafka.records.codecs import MAX_DECOMPRESSED_BYTES, codec_of, decompress
from riverport.kafka.records.errors import invalid

Header = tuple[str, bytes | None]


class Record:
    """One record as a reader sees it. Header keys that are no UTF-8 keep their bytes through surrogate escapes."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(
        self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: list[Header]
    ) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.offset, self.timestamp, self.key, self.value, self.headers) == (
            other.offset,
            other.timestamp,
            other.key,
            other.value,
            other.headers,
        )

    def __repr__(self) -> str:
        return f"Record({self.offset}, {self.timestamp}, {self.key!r}, {self.value!r}, {self.headers!r})"


def records_section(buf: Buffer, header: BatchHeader, limit: int = MAX_DECOMPRESSED_BYTES) -> memoryview:
    """The encoded records of a magic 2 batch, decompressed into at most `limit` bytes."""
    section = memoryview(buf)[header.position + BATCH_OVERHEAD : header.position + header.size]
    if not header.codec:
        return section
    return decompress(codec_of(header.codec), section, limit)


def iter_records(buf: Buffer, header: BatchHeader, limit: int = MAX_DECOMPRESSED_BYTES) -> Iterator[Record]:
    """Open the records of the batch that `header` was read from.

    Under LogAppendTime every record has the batch's maxTimestamp. Raises RecordError at the first malformed record, and
    after the last one if bytes remain.
    """
    if header.magic != CURRENT_MAGIC:
        from riverport.kafka.records.legacy import iter_legacy

        return iter_legacy(buf, header, limit)
    if header.count == 0:
        return iter(())
    return iter_section(records_section(buf, header, limit), header)


def iter_section(section: Buffer, header: BatchHeader) -> Iterator[Record]:
    """Open the records of a section that is already decompressed; as `iter_records`."""
    if header.count < 0:
        raise invalid(f"A batch with {header.count} records")
    data = bytes(section)
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    append_time = header.max_timestamp if header.is_log_append_time else None
    pos = 0
    try:
        for _ in range(header.count):
            timestamp, offset, key, value, headers, pos = _open(data, pos)
            yield Record(
                base_offset + offset,
                base_timestamp + timestamp if append_time is None else append_time,
                key,
                value,
                headers,
            )
    except IndexError:
        raise invalid("The batch ends within a record") from None
    if pos != len(data):
        raise invalid(f"{len(data) - pos} bytes remain behind the last record")


def iter_keys(
    buf: Buffer, header: BatchHeader, limit: int = MAX_DECOMPRESSED_BYTES
) -> Iterator[tuple[int, bytes | None]]:
    """Offset and key of each record of a batch; values and headers are skipped, whatever is in them.

    Raises RecordError as `iter_records` does, but for what is skipped. Takes 0.45 of its time.
    """
    if header.magic != CURRENT_MAGIC:
        for record in iter_records(buf, header, limit):
            yield record.offset, record.key
        return
    data = bytes(records_section(buf, header, limit)) if header.count else b""
    base_offset, pos = header.base_offset, 0
    try:
        for _ in range(header.count):
            size, pos = read_varint(data, pos)
            end = pos + size
            if size < 0 or end > len(data):
                raise invalid(f"A record of {size} bytes where {len(data) - pos} remain")
            pos += 1  # attributes
            while data[pos] > 127:
                pos += 1  # timestamp
            pos += 1
            offset = data[pos]
            if offset < 128:
                offset = (offset >> 1) ^ -(offset & 1)
                pos += 1
            else:
                offset, pos = read_varint(data, pos)
            key, pos = _read_bytes(data, pos, end)
            yield base_offset + offset, key
            pos = end
    except IndexError:
        raise invalid("The batch ends within a record") from None
    if pos != len(data):
        raise invalid(f"{len(data) - pos} bytes remain behind the last record")


def _open(data: bytes, pos: int) -> tuple[int, int, bytes | None, bytes | None, list[Header], int]:
    """Open the record at `pos`: (timestamp delta, offset delta, key, value, headers, next position).

    Varints of one byte, by far the most, are decoded in place: a call costs as much as all the rest.
    """
    size = data[pos]
    if size < 128:
        size = (size >> 1) ^ -(size & 1)
        pos += 1
    else:
        size, pos = read_varint(data, pos)
    end = pos + size
    if size < 0 or end > len(data):
        raise invalid(f"A record of {size} bytes where {len(data) - pos} remain")
    pos += 1  # attributes: none are defined
    timestamp = data[pos]
    if timestamp < 128:
        timestamp = (timestamp >> 1) ^ -(timestamp & 1)
        pos += 1
    else:
        timestamp, pos = read_varlong(data, pos)
    offset = data[pos]
    if offset < 128:
        offset = (offset >> 1) ^ -(offset & 1)
        pos += 1
    else:
        offset, pos = read_varint(data, pos)
    key, pos = _read_bytes(data, pos, end)
    value, pos = _read_bytes(data, pos, end)
    if pos >= end:
        raise invalid("A record ends before its headers")
    headers: list[Header] = []
    if data[pos] == 0:
        pos += 1
    else:
        pos = _read_headers(data, pos, end, headers)
    if pos != end:
        raise invalid(f"A record of {size} bytes holds {size + pos - end}")
    return timestamp, offset, key, value, headers, pos


def _read_bytes(data: bytes, pos: int, end: int) -> tuple[bytes | None, int]:
    """A length and that many bytes; None for any negative length, as Java reads it."""
    size = data[pos]
    if size < 128:
        size = (size >> 1) ^ -(size & 1)
        pos += 1
    else:
        size, pos = read_varint(data, pos)
    if size < 0:
        return None, pos
    stop = pos + size
    if stop > end:
        raise invalid(f"A field of {size} bytes where {end - pos} remain in the record")
    return data[pos:stop], stop


def _read_headers(data: bytes, pos: int, end: int, headers: list[Header]) -> int:
    count, pos = read_varint(data, pos)
    if not 0 <= count <= end - pos:
        raise invalid(f"{count} headers in a record of which {end - pos} bytes remain")
    for _ in range(count):
        name, pos = _read_bytes(data, pos, end)
        if name is None:
            raise invalid("A header without a key")
        value, pos = _read_bytes(data, pos, end)
        headers.append((name.decode("utf-8", "surrogateescape"), value))
    return pos


def read_varint(data: Buffer, pos: int) -> tuple[int, int]:
    """A zigzag varint of at most five bytes and 32 bits: (value, next position). IndexError where the data ends."""
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            if value > 0xFFFFFFFF:
                break
            return (value >> 1) ^ -(value & 1), pos
        shift += 7
        if shift > 28:
            break
    raise invalid("A varint of more than 32 bits")


def read_varlong(data: Buffer, pos: int) -> tuple[int, int]:
    """A zigzag varint of at most ten bytes and 64 bits: (value, next position). IndexError where the data ends."""
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            if value >= 1 << 64:
                break
            return (value >> 1) ^ -(value & 1), pos
        shift += 7
        if shift > 63:
            break
    raise invalid("A varint of more than 64 bits")


def varint(value: int) -> bytes:
    """Encode a signed integer of up to 64 bits, zigzag, seven bits a byte."""
    if -64 <= value < 64:
        return _SMALL[value]
    value = value << 1 if value >= 0 else (-value << 1) - 1
    if not 0 <= value < 1 << 64:
        raise invalid("A number of more than 64 bits in a record")
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Indexed by -64 to 63: a negative index counts from the end.
_SMALL = [bytes((n << 1,)) for n in range(64)] + [bytes((-2 * n - 1,)) for n in range(-64, 0)]


def encode_record(
    offset_delta: int, timestamp_delta: int, key: bytes | None, value: bytes | None, headers: Iterable[Header]
) -> bytes:
    """One record as it stands in the records section."""
    body = [b"\x00", varint(timestamp_delta), varint(offset_delta)]
    if key is None:
        body.append(b"\x01")
    else:
        body += (varint(len(key)), key)
    if value is None:
        body.append(b"\x01")
    else:
        body += (varint(len(value)), value)
    if headers:
        _encode_headers(headers, body)
    else:
        body.append(b"\x00")
    encoded = b"".join(body)
    return varint(len(encoded)) + encoded


def _encode_headers(headers: Iterable[Header], body: list[bytes]) -> None:
    pairs = list(headers)
    body.append(varint(len(pairs)))
    for name, value in pairs:
        encoded = name.encode("utf-8", "surrogateescape")
        body += (varint(len(encoded)), encoded)
        if value is None:
            body.append(b"\x01")
        else:
            body += (varint(len(value)), value)
