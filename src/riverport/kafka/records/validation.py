"""One client's produce payload for one partition, judged as Apache Kafka's log judges it (KIP-98, KIP-32, KIP-467).

    the section's length, magic, one batch only          CORRUPT_MESSAGE, INVALID_RECORD
    base offset 0, size, checksum                        INVALID_RECORD, MESSAGE_TOO_LARGE, CORRUPT_MESSAGE
    counts, control bit, sequence                        INVALID_RECORD
    the walk: every length, every count, to the last     INVALID_RECORD
    timestamps in range, keys on a compacted topic       INVALID_TIMESTAMP, INVALID_RECORD, with the records at fault

in this order, and only then is a byte changed. Most batches have nothing about them that takes so many looks: a glance
says so, in a fifth of the time, and what it does not vouch for is judged as above. The walk yields the extreme
timestamps and whether a key is missing, so a batch without fault is never opened; one at fault is, to name the records.
See docs/adr/0003-record-validation.md.
"""

from dataclasses import dataclass

from riverport.base.checksum import crc32c
from riverport.kafka.records.batch import (
    ATTRIBUTES_AT,
    BATCH_OVERHEAD,
    CODEC_MASK,
    CURRENT_MAGIC,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    MAGIC_AT,
    NO_TIMESTAMP,
    BatchHeader,
    Buffer,
    check_crc,
    clear_log_append_time,
    iter_headers,
    patch_log_append_time,
    patch_max_timestamp,
    read_header,
)
from riverport.kafka.records.builder import NewRecord, build_batch, reassemble
from riverport.kafka.records.codecs import MAX_DECOMPRESSED_BYTES, Codec, codec_of, compress
from riverport.kafka.records.errors import RecordError, corrupt, invalid
from riverport.kafka.records.record import iter_section, records_section
from riverport.kafka.records.walk import Walk, glance, walk
from riverport.kafka.wire.errors import ErrorCode

_MAX_LONG = 2**63 - 1
ZSTD_SINCE = 7
"""The Produce version whose clients know zstd (KIP-110)."""

MAX_RECORD_FAULTS = 1_000
"""As many records of a refused batch are named in the answer."""


@dataclass(slots=True, frozen=True)
class ValidationPolicy:
    """What a topic's configuration asks of a batch. `codec` None keeps the producer's (compression.type=producer)."""

    compacted: bool = False
    codec: Codec | None = None
    level: int | None = None
    log_append_time: bool = False
    before_max_ms: int = _MAX_LONG  # message.timestamp.before.max.ms
    after_max_ms: int = 3_600_000  # message.timestamp.after.max.ms
    max_message_bytes: int = 1_048_588  # the whole batch
    max_decompressed_bytes: int = MAX_DECOMPRESSED_BYTES


@dataclass(slots=True)
class Validated:
    """A batch that may be appended once `batch.patch` has given it its offset and leader epoch.

    `records` is the slice that came in, changed in place where it could be, or new bytes: it is writable in both cases.
    `header` was read from it, at position 0. `log_append_time_ms` is -1 under CreateTime. The greatest timestamp goes
    to the time index with the batch's last offset, as Kafka has it for every batch of magic 2.
    """

    header: BatchHeader
    records: bytearray | memoryview
    log_append_time_ms: int


def check_zstd_allowed(payload: Buffer, produce_version: int) -> None:
    """Refuse zstd from producers whose Produce version is older than zstd (KIP-110)."""
    if produce_version >= ZSTD_SINCE:
        return
    for header in iter_headers(payload):
        if header.codec == Codec.ZSTD:
            raise RecordError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs version 7 of the Produce API")


def validate(payload: Buffer, policy: ValidationPolicy, now_ms: int) -> Validated:
    """Judge what a client sent for one partition. Raises RecordError, and has then changed nothing."""
    if not policy.codec and not policy.log_append_time:
        ordinary = _at_a_glance(payload, policy, now_ms)
        if ordinary is not None:
            return ordinary
    header = _only_batch(payload)
    _check_header(payload, header, policy)
    section = records_section(payload, header, policy.max_decompressed_bytes)
    found = walk(section, header.count)
    if found is None:
        raise _malformed(section, header)
    _check_records(section, header, found, policy, now_ms)
    target = codec_of(header.codec) if policy.codec is None else policy.codec
    appended_ms = now_ms if policy.log_append_time else NO_TIMESTAMP
    if not found[3] or target != header.codec:
        records = _rebuilt(section, header, found, policy, target, now_ms)
        return Validated(read_header(records), records, appended_ms)
    view, is_changed = _in_place(payload, header, found, policy, now_ms)
    return Validated(read_header(view) if is_changed else header, view, appended_ms)


def _at_a_glance(payload: Buffer, policy: ValidationPolicy, now_ms: int) -> Validated | None:
    """The batch, where nothing about it is wrong or to be changed; None is no judgement."""
    found = glance(payload, policy.max_message_bytes)
    if found is None:
        return None
    header = BatchHeader()
    header.position = 0
    (
        header.base_offset,
        length,
        header.leader_epoch,
        header.magic,
        header.crc,
        header.attributes,
        header.last_offset_delta,
        header.base_timestamp,
        max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.count,
        least,
        null_key,
    ) = found
    header.size = length + LOG_OVERHEAD
    header.max_timestamp = max_timestamp
    if least < now_ms - policy.before_max_ms or max_timestamp > now_ms + policy.after_max_ms:
        return None
    records = memoryview(payload)
    if (null_key and policy.compacted) or crc32c(records[ATTRIBUTES_AT:]) != header.crc or records.readonly:
        return None
    return Validated(header, records, NO_TIMESTAMP)


def _only_batch(payload: Buffer) -> BatchHeader:
    """The header of the one batch. A partial batch behind it is ignored, as Kafka ignores it."""
    if len(payload) >= BATCH_OVERHEAD and payload[MAGIC_AT] == CURRENT_MAGIC:
        whole = read_header(payload)
        if whole.size == len(payload):
            return whole  # what nearly every client sends; below it takes 2 us more
    headers = iter_headers(payload)
    header = next(headers, None)
    if header is None:
        raise invalid("A produce request must hold one record batch per partition, but there is none")
    if header.magic != CURRENT_MAGIC:
        raise invalid(f"Record batches of magic {header.magic} can no longer be produced, only those of magic 2")
    if next(headers, None) is not None:
        raise invalid("A produce request must hold one record batch per partition, but there are more")
    return header


def _check_header(payload: Buffer, header: BatchHeader, policy: ValidationPolicy) -> None:
    if header.base_offset != 0:
        raise invalid(f"The base offset of a produced batch must be 0, not {header.base_offset}")
    if header.size > policy.max_message_bytes:
        raise _too_large(header.size, policy)
    if not check_crc(payload, header):
        raise corrupt(f"The checksum of the batch is wrong (stored: {header.crc})")
    if header.count <= 0 or header.last_offset_delta != header.count - 1:
        raise invalid(f"A batch of {header.count} records whose last offset delta is {header.last_offset_delta}")
    if header.is_control:
        raise invalid("Clients may not write control records")
    if header.has_producer_id and header.base_sequence < 0:
        raise invalid(f"Sequence {header.base_sequence} in a batch of producer id {header.producer_id}")


def _malformed(section: memoryview, header: BatchHeader) -> RecordError:
    """What is wrong with a section that the walk refused, said by the reader that stumbles over it."""
    try:
        for _ in iter_section(section, header):
            pass
    except RecordError as error:
        return error
    return invalid("The records of the batch are malformed")


def _check_records(
    section: memoryview, header: BatchHeader, found: Walk, policy: ValidationPolicy, now_ms: int
) -> None:
    least, greatest, null_key, _ = found
    least, greatest = header.base_timestamp + least, header.base_timestamp + greatest
    if not -_MAX_LONG <= least <= greatest <= _MAX_LONG:
        raise invalid("A timestamp of more than 64 bits")
    if header.is_log_append_time:
        # Until that bit is cleared the batch's time is every record's time; from then on the records' own are.
        least, greatest = min(least, header.max_timestamp), max(greatest, header.max_timestamp)
    suspect = policy.compacted and null_key
    if policy.log_append_time:
        suspect = suspect or header.is_log_append_time
    else:
        suspect = suspect or least < now_ms - policy.before_max_ms or greatest > now_ms + policy.after_max_ms
        suspect = suspect or (header.is_log_append_time and header.max_timestamp == NO_TIMESTAMP)
    if suspect:
        _refuse_faulty(section, header, policy, now_ms)


def _refuse_faulty(section: memoryview, header: BatchHeader, policy: ValidationPolicy, now_ms: int) -> None:
    """Open the batch and name the records that may not be stored, if there are any."""
    untimely, keyless = [], []
    earliest, latest = now_ms - policy.before_max_ms, now_ms + policy.after_max_ms
    for index, record in enumerate(iter_section(section, header)):
        timestamp = record.timestamp
        if policy.compacted and record.key is None:
            keyless.append((index, "A compacted topic takes no record without a key"))
        elif not policy.log_append_time and timestamp != NO_TIMESTAMP:
            if not earliest <= timestamp <= latest:
                untimely.append((index, f"Timestamp {timestamp} is not within [{earliest}, {latest}]"))
        elif header.is_log_append_time:
            untimely.append((index, "A producer may not set LogAppendTime"))
    faults = sorted(untimely + keyless)
    if faults:
        code = ErrorCode.INVALID_TIMESTAMP if untimely else ErrorCode.INVALID_RECORD
        raise RecordError(code, f"{len(faults)} of {header.count} records are refused", faults[:MAX_RECORD_FAULTS])


def _in_place(
    payload: Buffer, header: BatchHeader, found: Walk, policy: ValidationPolicy, now_ms: int
) -> tuple[memoryview, bool]:
    """The batch where it lies, and whether its header was changed."""
    records = memoryview(payload)[header.position : header.end]
    if records.readonly:
        records = memoryview(bytearray(records))
    greatest = max(header.base_timestamp + found[1], NO_TIMESTAMP)
    if policy.log_append_time:
        patch_log_append_time(records, 0, now_ms)
    elif header.is_log_append_time:
        clear_log_append_time(records, 0, greatest)
    elif header.max_timestamp != greatest:
        patch_max_timestamp(records, 0, greatest)
    else:
        return records, False
    return records, True


def _rebuilt(
    section: memoryview, header: BatchHeader, found: Walk, policy: ValidationPolicy, target: Codec, now_ms: int
) -> bytearray:
    """The batch in the topic's codec. Records are re-encoded only if their offset deltas are not 0, 1, 2, ..."""
    if found[3]:
        stamped = LOG_APPEND_TIME_BIT if policy.log_append_time else 0
        records = reassemble(
            header,
            compress(target, section, policy.level),
            attributes=header.attributes & ~(LOG_APPEND_TIME_BIT | CODEC_MASK) | target | stamped,
            max_timestamp=now_ms if stamped else max(header.base_timestamp + found[1], NO_TIMESTAMP),
        )
    else:
        records = build_batch(
            [NewRecord(r.key, r.value, r.headers, r.timestamp) for r in iter_section(section, header)],
            leader_epoch=header.leader_epoch,
            codec=target,
            level=policy.level,
            producer_id=header.producer_id,
            producer_epoch=header.producer_epoch,
            base_sequence=header.base_sequence,
            transactional=header.is_transactional,
            log_append_time_ms=now_ms if policy.log_append_time else None,
        )
    if len(records) > policy.max_message_bytes:
        raise _too_large(len(records), policy)
    return records


def _too_large(size: int, policy: ValidationPolicy) -> RecordError:
    message = f"The batch of {size} bytes is larger than max.message.bytes, {policy.max_message_bytes}"
    return RecordError(ErrorCode.MESSAGE_TOO_LARGE, message)
