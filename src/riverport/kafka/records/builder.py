"""Batches made here: by coordinators, the controller, our own clients, recompression and compaction."""

import struct
from collections.abc import Iterable, Sequence

from riverport.kafka.records.batch import (
    BATCH_OVERHEAD,
    CONTROL_BIT,
    CURRENT_MAGIC,
    DELETE_HORIZON_BIT,
    HEADER,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    BatchHeader,
    write_crc,
)
from riverport.kafka.records.codecs import Codec, compress
from riverport.kafka.records.errors import invalid
from riverport.kafka.records.record import Header, Record, encode_record


class NewRecord:
    """A record to be written; its offset comes from its place in the batch. `timestamp` in ms, -1 for none."""

    __slots__ = ("headers", "key", "timestamp", "value")

    def __init__(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[Header] = (),
        timestamp: int = NO_TIMESTAMP,
    ) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp = timestamp

    def __repr__(self) -> str:
        return f"NewRecord({self.key!r}, {self.value!r}, {self.headers!r}, {self.timestamp})"


def build_batch(
    records: Sequence[NewRecord],
    *,
    base_offset: int = 0,
    leader_epoch: int = NO_LEADER_EPOCH,
    codec: Codec = Codec.NONE,
    level: int | None = None,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    transactional: bool = False,
    control: bool = False,
    log_append_time_ms: int | None = None,
) -> bytearray:
    """One batch of magic 2 that holds `records`, at least one, at consecutive offsets.

    With `log_append_time_ms` every record has that time: bit 3 is set and maxTimestamp is that time.
    """
    assert records, "a batch is built from at least one record"
    base_timestamp = records[0].timestamp
    body = b"".join(
        [
            encode_record(delta, record.timestamp - base_timestamp, record.key, record.value, record.headers)
            for delta, record in enumerate(records)
        ]
    )
    return assemble(
        body if codec is Codec.NONE else compress(codec, body, level),
        count=len(records),
        last_offset_delta=len(records) - 1,
        attributes=attributes_of(codec, transactional, control, log_append_time_ms is not None),
        base_timestamp=base_timestamp,
        max_timestamp=greatest_timestamp(records) if log_append_time_ms is None else log_append_time_ms,
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def greatest_timestamp(records: Iterable[NewRecord | Record]) -> int:
    """The maxTimestamp of a batch: -1 where every record's time lies before 1970, as Kafka has it."""
    return max(NO_TIMESTAMP, *[record.timestamp for record in records])


def reassemble(
    header: BatchHeader,
    section: bytes,
    *,
    attributes: int,
    max_timestamp: int,
    base_timestamp: int | None = None,
    count: int | None = None,
) -> bytearray:
    """The batch of `header` with another records section: what is not given stays as it was."""
    return assemble(
        section,
        count=header.count if count is None else count,
        last_offset_delta=header.last_offset_delta,
        attributes=attributes,
        base_timestamp=header.base_timestamp if base_timestamp is None else base_timestamp,
        max_timestamp=max_timestamp,
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
    )


def attributes_of(
    codec: int, transactional: bool, control: bool, log_append_time: bool, delete_horizon: bool = False
) -> int:
    """The attributes field of a batch."""
    return (
        codec
        | (TRANSACTIONAL_BIT if transactional else 0)
        | (CONTROL_BIT if control else 0)
        | (LOG_APPEND_TIME_BIT if log_append_time else 0)
        | (DELETE_HORIZON_BIT if delete_horizon else 0)
    )


def assemble(
    section: bytes,
    *,
    count: int,
    last_offset_delta: int,
    attributes: int,
    base_timestamp: int,
    max_timestamp: int,
    base_offset: int,
    leader_epoch: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
) -> bytearray:
    """A header in front of an encoded (and compressed) records section, with its checksum.

    Raises RecordError for a time or an offset that no batch can hold.
    """
    batch = bytearray(BATCH_OVERHEAD + len(section))
    try:
        HEADER.pack_into(
            batch,
            0,
            base_offset,
            len(batch) - LOG_OVERHEAD,
            leader_epoch,
            CURRENT_MAGIC,
            0,
            attributes,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            count,
        )
    except struct.error as error:
        # Times and offsets are sums, of a base and a delta: those of a damaged batch need not fit.
        raise invalid("A time or an offset that no batch can hold") from error
    batch[BATCH_OVERHEAD:] = section
    write_crc(batch, 0)
    return batch
