"""Produce payloads that must be refused, by name: with what, and what Apache Kafka answers where that is different."""

from dataclasses import dataclass, field

from tests.kafka.records.samples import NOW_MS, edited, with_section

from riverport.kafka.records import batch as b
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec, compress
from riverport.kafka.records.control import end_txn_marker
from riverport.kafka.records.validation import ValidationPolicy
from riverport.kafka.wire.errors import ErrorCode

CORRUPT = ErrorCode.CORRUPT_MESSAGE
INVALID = ErrorCode.INVALID_RECORD
UNTIMELY = ErrorCode.INVALID_TIMESTAMP
UNKNOWN = ErrorCode.UNKNOWN_SERVER_ERROR

HOUR_MS = 3_600_000


@dataclass
class Hostile:
    """`kafka` is Apache Kafka's code where ours is better; `indexes` are the records at fault."""

    name: str
    payload: bytes
    code: ErrorCode
    policy: ValidationPolicy = field(default_factory=ValidationPolicy)
    indexes: list[int] = field(default_factory=list)
    kafka: ErrorCode | None = None


def sound(codec: Codec = Codec.NONE, count: int = 3, **options: int | bool) -> bytearray:
    records = [NewRecord(b"k%d" % n, b"value", [("h", b"x")], NOW_MS + n) for n in range(count)]
    return build_batch(records, codec=codec, **options)  # type: ignore[arg-type]


def message_set(magic: int) -> bytes:
    """One uncompressed message of magic 0 or 1, as Java's producers of 2016 sent it."""
    import zlib

    timestamp = NOW_MS.to_bytes(8, "big") if magic else b""
    body = bytes((magic, 0)) + timestamp + (-1).to_bytes(4, "big", signed=True) + (5).to_bytes(4, "big") + b"value"
    return bytes(8) + (len(body) + 4).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def i32(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def i64(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def wrong_crc() -> bytes:
    payload = sound()
    payload[b.CRC_AT] ^= 1
    return bytes(payload)


def lies_about_counts(codec: Codec) -> list[Hostile]:
    name = codec.name.lower()
    whole = sound(codec)
    section = bytes(sound()[b.BATCH_OVERHEAD :])

    def counts(count: int, delta: int) -> bytes:
        return bytes(edited(edited(whole, 57, i32(count)), 23, i32(delta)))

    def holding(encoded: bytes) -> bytes:
        return bytes(with_section(whole, compress(codec, encoded)))

    # Kafka skips through compressed records by their fields and never looks at their lengths: its consumers fail later.
    unseen = None if codec is Codec.NONE else ErrorCode.NONE
    second = len(section) // 3
    return [
        Hostile(f"{name}: count 0", counts(0, -1), INVALID),
        Hostile(f"{name}: count 0, last offset delta 2", counts(0, 2), INVALID),
        Hostile(f"{name}: count negative", counts(-3, -4), INVALID),
        Hostile(f"{name}: count 2^31 - 1", counts(2**31 - 1, 2**31 - 2), INVALID),
        Hostile(f"{name}: last offset delta one less", counts(3, 1), INVALID),
        Hostile(f"{name}: last offset delta one more", counts(3, 3), INVALID),
        Hostile(f"{name}: last offset delta negative", counts(3, -1), INVALID),
        Hostile(f"{name}: one record less than counted", counts(4, 3), INVALID),
        Hostile(f"{name}: one record more than counted", counts(2, 1), INVALID),
        Hostile(f"{name}: no records in the section", holding(b""), INVALID),
        Hostile(f"{name}: a byte behind the last record", holding(section + b"\x00"), INVALID),
        Hostile(f"{name}: the last record is cut", holding(section[:-1]), INVALID),
        Hostile(
            f"{name}: a record's length one too small", holding(patched(section, second, -2)), INVALID, kafka=unseen
        ),
        Hostile(
            f"{name}: a record's length one too large", holding(patched(section, second, +2)), INVALID, kafka=unseen
        ),
        Hostile(f"{name}: a record's length negative", holding(b"\x01" + section[1:]), INVALID, kafka=unseen),
        Hostile(
            f"{name}: a record's length 2^31 - 1", holding(b"\xfe\xff\xff\xff\x0f" + section[1:]), INVALID, kafka=unseen
        ),
        Hostile(f"{name}: a key longer than its record", holding(patched(section, second + 4, 60)), INVALID),
        Hostile(f"{name}: a value longer than its record", holding(patched(section, second + 7, 60)), INVALID),
        Hostile(f"{name}: a value one too short", holding(patched(section, second + 7, -2)), INVALID),
        Hostile(f"{name}: two headers where one is", holding(patched(section, second + 13, 2)), INVALID),
        Hostile(f"{name}: a negative number of headers", holding(patched(section, second + 13, -1)), INVALID),
        Hostile(f"{name}: a header without a key", holding(patched(section, second + 14, -1)), INVALID),
        Hostile(f"{name}: a header value too long", holding(patched(section, second + 16, 2)), INVALID),
    ]


def patched(section: bytes, at: int, by: int) -> bytes:
    copy = bytearray(section)
    copy[at] += by
    return bytes(copy)


def all_hostile() -> list[Hostile]:
    whole = sound()
    compacted = ValidationPolicy(compacted=True)
    keyless = build_batch([NewRecord(b"k", b"v", (), NOW_MS), NewRecord(None, b"v", (), NOW_MS)] * 2)
    timely = [NewRecord(b"k", b"v", (), NOW_MS + n * HOUR_MS) for n in (-3, -1, 0, 1, 2)]
    found = [
        Hostile("no bytes", b"", INVALID),
        Hostile("half a batch", bytes(whole[:-1]), INVALID),
        Hostile("half a header", bytes(whole[:40]), INVALID),
        Hostile("a length past the end", bytes(edited_raw(whole, 8, i32(len(whole)))), INVALID),
        Hostile("a negative length", bytes(edited_raw(whole, 8, i32(-1))), CORRUPT),
        Hostile("length 0", bytes(edited_raw(whole, 8, i32(0))), CORRUPT),
        Hostile("a length shorter than the header", bytes(edited_raw(whole, 8, i32(40)))[:52], CORRUPT),
        Hostile("wrong checksum", wrong_crc(), CORRUPT),
        Hostile("a flipped bit in a value", bytes(edited_raw(whole, len(whole) - 4, b"!")), CORRUPT),
        Hostile("magic 3", bytes(edited_raw(whole, b.MAGIC_AT, b"\x03")), CORRUPT),
        Hostile("magic -1", bytes(edited_raw(whole, b.MAGIC_AT, b"\xff")), CORRUPT),
        Hostile("magic 0", message_set(0), INVALID),
        Hostile("magic 1", message_set(1), INVALID),
        Hostile("two batches", bytes(whole + whole), INVALID),
        Hostile("a batch and one of magic 9", bytes(whole + edited_raw(whole, b.MAGIC_AT, b"\x09")), CORRUPT),
        Hostile("base offset 1", bytes(sound(base_offset=1)), INVALID),
        Hostile("base offset -1", bytes(edited_raw(whole, 0, i64(-1))), INVALID),
        Hostile("a transaction marker", bytes(marker()), INVALID),
        Hostile("a control batch", bytes(edited(whole, 21, b"\x00\x20")), INVALID),
        Hostile("a producer id without a sequence", bytes(sound(producer_id=7, producer_epoch=0)), INVALID),
        Hostile("larger than max.message.bytes", bytes(whole), ErrorCode.MESSAGE_TOO_LARGE, limited(len(whole) - 1)),
        Hostile("a key missing on a compacted topic", bytes(keyless), INVALID, compacted, [1, 3]),
        Hostile("timestamps out of range", bytes(build_batch(timely)), UNTIMELY, between(), [0, 4]),
        Hostile("LogAppendTime set by a producer", bytes(stamped(NOW_MS)), UNTIMELY, stamping(), [0, 1, 2]),
        Hostile("LogAppendTime without a time", bytes(stamped(-1)), UNTIMELY, indexes=[0, 1, 2]),
        Hostile("codec 5", bytes(edited(whole, 21, b"\x00\x05")), INVALID, kafka=UNKNOWN),
        Hostile("codec 7", bytes(edited(whole, 21, b"\x00\x07")), INVALID, kafka=UNKNOWN),
    ]
    for codec in Codec:
        found += lies_about_counts(codec)
        if codec is not Codec.NONE:
            name = codec.name.lower()
            garbage = bytes(edited(whole, 21, bytes((0, codec))))
            found.append(Hostile(f"{name}: not compressed at all", garbage, CORRUPT, kafka=UNKNOWN))
    return found


def edited_raw(payload: bytearray, at: int, new: bytes) -> bytearray:
    """As `edited`, but the checksum stays as it is."""
    return payload[:at] + new + payload[at + len(new) :]


def stamped(timestamp: int) -> bytearray:
    payload = sound()
    b.patch_log_append_time(payload, 0, timestamp)
    return payload


def marker() -> bytearray:
    return end_txn_marker(True, coordinator_epoch=1, producer_id=1, producer_epoch=0, timestamp=NOW_MS)


def limited(size: int) -> ValidationPolicy:
    return ValidationPolicy(max_message_bytes=size)


def between() -> ValidationPolicy:
    return ValidationPolicy(before_max_ms=2 * HOUR_MS, after_max_ms=HOUR_MS)


def stamping() -> ValidationPolicy:
    return ValidationPolicy(log_append_time=True)
