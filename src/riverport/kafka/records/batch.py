"""The header of a record batch: read, checked and patched where it lies, the records untouched.

A batch travels as bytes from the producer's request to the consumer's response. What the broker must know stands in
the first 61 bytes, and what it assigns (base offset, leader epoch) lies outside the checksum: it is patched in place.
Byte table: docs/formats/record-batch.md.

Batches of magic 0 and 1 are still met in old logs. They get a `BatchHeader` too, as far as their format can fill one.
"""

import struct
import zlib
from collections.abc import Iterator

from riverport.base.checksum import crc32c
from riverport.kafka.records.errors import corrupt

Buffer = bytes | bytearray | memoryview

HEADER = struct.Struct(">qiibIhiqqqhii")
BATCH_OVERHEAD = 61  # the whole header
LOG_OVERHEAD = 12  # base offset and batch length, which the length does not count
MAGIC_AT = 16
CRC_AT = 17
ATTRIBUTES_AT = 21  # the checksum covers from here to the end
BASE_TIMESTAMP_AT = 27
MAX_TIMESTAMP_AT = 35

CURRENT_MAGIC = 2
CODEC_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1
NO_LEADER_EPOCH = -1
MAX_SEQUENCE = 2**31 - 1

_PREFIX = struct.Struct(">qi")
_LEGACY = struct.Struct(">qiIbb")
_EPOCH = struct.Struct(">i")
_OFFSET = struct.Struct(">q")
_CRC = struct.Struct(">I")
_ATTRIBUTES = struct.Struct(">h")

MIN_LEGACY_LENGTH = 14  # crc, magic, attributes, and the lengths of a null key and a null value
LEGACY_OVERHEAD = (LOG_OVERHEAD + MIN_LEGACY_LENGTH, LOG_OVERHEAD + MIN_LEGACY_LENGTH + 8)  # magic 1 adds a timestamp


class BatchHeader:
    """What a batch says about itself. `size` counts the whole batch in bytes, `position` is its place in the buffer.

    Of a legacy message set (magic 0 and 1) `base_offset` is the offset that stands there: of a compressed one, its last
    record's. `count` is then -1, and what the format lacks holds the "none" value of magic 2.
    """

    __slots__ = (
        "attributes",
        "base_offset",
        "base_sequence",
        "base_timestamp",
        "count",
        "crc",
        "last_offset_delta",
        "leader_epoch",
        "magic",
        "max_timestamp",
        "position",
        "producer_epoch",
        "producer_id",
        "size",
    )

    base_offset: int
    size: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int
    position: int

    @property
    def end(self) -> int:
        """Position of the byte after the batch."""
        return self.position + self.size

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        """Number of the compression codec (see `codecs.Codec`); 5 to 7 name none."""
        return self.attributes & CODEC_MASK

    @property
    def is_log_append_time(self) -> bool:
        return self.attributes & LOG_APPEND_TIME_BIT != 0

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL_BIT != 0

    @property
    def has_delete_horizon(self) -> bool:
        """Set by compaction: `base_timestamp` is then the time from which tombstones may go (KIP-534)."""
        return self.attributes & DELETE_HORIZON_BIT != 0

    @property
    def has_producer_id(self) -> bool:
        return self.producer_id > NO_PRODUCER_ID

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record, -1 where the batch has none. Sequences wrap from 2^31 - 1 to 0."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return add_sequence(self.base_sequence, self.last_offset_delta)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"BatchHeader({fields})"


def add_sequence(sequence: int, increment: int) -> int:
    """The sequence number `increment` records later, wrapping from 2^31 - 1 to 0."""
    return (sequence + increment) & MAX_SEQUENCE


def read_header(buf: Buffer, pos: int = 0) -> BatchHeader:
    """Read the header of the batch at `pos`; the records behind it need not be in the buffer.

    Raises RecordError (CORRUPT_MESSAGE) for an unknown magic, a batch smaller than its header, or a buffer that ends
    within the header.
    """
    header = BatchHeader()
    header.position = pos
    try:
        (
            header.base_offset,
            length,
            header.leader_epoch,
            header.magic,
            header.crc,
            header.attributes,
            header.last_offset_delta,
            header.base_timestamp,
            header.max_timestamp,
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.count,
        ) = HEADER.unpack_from(buf, pos)
    except struct.error:
        # An old message can be shorter than this header.
        return _read_legacy(buf, pos)
    header.size = length + LOG_OVERHEAD
    if header.magic != CURRENT_MAGIC:
        return _read_legacy(buf, pos)
    if length < BATCH_OVERHEAD - LOG_OVERHEAD:
        raise corrupt(f"A batch of {header.size} bytes is smaller than its header of {BATCH_OVERHEAD} bytes")
    return header


def iter_headers(buf: Buffer, pos: int = 0, end: int | None = None) -> Iterator[BatchHeader]:
    """The headers of all whole batches in buf[pos:end]; a partial one at the end is left out (a fetch may cut there).

    Raises RecordError (CORRUPT_MESSAGE) at a batch whose length or magic is impossible.
    """
    if end is None:
        end = len(buf)
    while end - pos >= LOG_OVERHEAD:
        _, length = _PREFIX.unpack_from(buf, pos)
        if length < MIN_LEGACY_LENGTH:
            raise corrupt(f"A batch length of {length} bytes is below the least possible, {MIN_LEGACY_LENGTH}")
        if end - pos <= MAGIC_AT:
            return
        magic = buf[pos + MAGIC_AT]
        if magic > CURRENT_MAGIC:
            raise corrupt(f"Magic {magic} is none of 0, 1 and 2")
        if end - pos < length + LOG_OVERHEAD:
            return
        header = read_header(buf, pos)
        yield header
        pos += header.size


def check_crc(buf: Buffer, header: BatchHeader) -> bool:
    """Whether the stored checksum is that of the bytes (CRC-32C; CRC-32 for magic 0 and 1)."""
    view = memoryview(buf)
    pos = header.position
    if header.magic == CURRENT_MAGIC:
        return bool(crc32c(view[pos + ATTRIBUTES_AT : pos + header.size]) == header.crc)
    return zlib.crc32(view[pos + MAGIC_AT : pos + header.size]) == header.crc


def patch(buf: bytearray | memoryview, pos: int, base_offset: int, leader_epoch: int) -> None:
    """Give the batch at `pos` its place in the log. Both fields lie outside the checksum. Magic 2 only."""
    _OFFSET.pack_into(buf, pos, base_offset)
    _EPOCH.pack_into(buf, pos + LOG_OVERHEAD, leader_epoch)


def patch_log_append_time(buf: bytearray | memoryview, pos: int, now_ms: int) -> None:
    """Stamp the batch at `pos` with the time of its arrival: bit 3, maxTimestamp and a new checksum.

    Base timestamp and deltas stay, as Kafka leaves them: readers take every record's time from maxTimestamp.
    """
    (attributes,) = _ATTRIBUTES.unpack_from(buf, pos + ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(buf, pos + ATTRIBUTES_AT, attributes | LOG_APPEND_TIME_BIT)
    _OFFSET.pack_into(buf, pos + MAX_TIMESTAMP_AT, now_ms)
    write_crc(buf, pos)


def clear_log_append_time(buf: bytearray | memoryview, pos: int, max_timestamp: int) -> None:
    """Make the batch at `pos` one of CreateTime with this maxTimestamp, with a new checksum."""
    (attributes,) = _ATTRIBUTES.unpack_from(buf, pos + ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(buf, pos + ATTRIBUTES_AT, attributes & ~LOG_APPEND_TIME_BIT)
    patch_max_timestamp(buf, pos, max_timestamp)


def patch_max_timestamp(buf: bytearray | memoryview, pos: int, max_timestamp: int) -> None:
    """Correct maxTimestamp of the batch at `pos`, with a new checksum."""
    _OFFSET.pack_into(buf, pos + MAX_TIMESTAMP_AT, max_timestamp)
    write_crc(buf, pos)


def write_crc(buf: bytearray | memoryview, pos: int) -> None:
    """Compute and store the checksum of the batch at `pos`."""
    _, length = _PREFIX.unpack_from(buf, pos)
    crc = crc32c(memoryview(buf)[pos + ATTRIBUTES_AT : pos + LOG_OVERHEAD + length])
    _CRC.pack_into(buf, pos + CRC_AT, crc)


def _read_legacy(buf: Buffer, pos: int) -> BatchHeader:
    """The header of a message of magic 0 or 1, or of a batch too short to hold its own header."""
    header = BatchHeader()
    header.position = pos
    try:
        header.base_offset, length, header.crc, magic, attributes = _LEGACY.unpack_from(buf, pos)
    except struct.error:
        raise corrupt(f"The buffer ends within the header of the batch at {pos}") from None
    if not 0 <= magic <= CURRENT_MAGIC:
        raise corrupt(f"Magic {magic} is none of 0, 1 and 2")
    if magic == CURRENT_MAGIC:
        raise corrupt(f"The buffer ends within the header of the batch at {pos}")
    if length + LOG_OVERHEAD < LEGACY_OVERHEAD[magic]:
        raise corrupt(f"A message of {length + LOG_OVERHEAD} bytes is smaller than its header")
    header.size = length + LOG_OVERHEAD
    header.magic = magic
    header.attributes = attributes & (CODEC_MASK | LOG_APPEND_TIME_BIT) if magic else attributes & CODEC_MASK
    header.last_offset_delta = 0
    timestamp = NO_TIMESTAMP
    if magic == 1:
        if len(buf) < pos + LEGACY_OVERHEAD[1]:
            raise corrupt(f"The buffer ends within the header of the message at {pos}")
        (timestamp,) = _OFFSET.unpack_from(buf, pos + 18)
    header.base_timestamp = header.max_timestamp = timestamp
    header.leader_epoch = NO_LEADER_EPOCH
    header.producer_id = NO_PRODUCER_ID
    header.producer_epoch = NO_PRODUCER_EPOCH
    header.base_sequence = NO_SEQUENCE
    header.count = -1
    return header
