"""A batch rebuilt with some of its records, as compaction leaves it.

What stays: base offset, last offset and the producer's fields, even where the records that had those offsets go. The
last sequence follows from them, and a producer that came back would otherwise be told that it is out of order.
Therefore a batch may stay without any record at all.

The first cleaning that meets a tombstone sets the delete horizon (KIP-534): attribute bit 6, and the time from which
the tombstone may go in place of the base timestamp; the timestamp deltas are computed anew, the timestamps stay.
"""

from collections.abc import Callable
from dataclasses import dataclass

from riverport.kafka.records.batch import (
    CODEC_MASK,
    CURRENT_MAGIC,
    DELETE_HORIZON_BIT,
    NO_TIMESTAMP,
    BatchHeader,
    Buffer,
)
from riverport.kafka.records.builder import assemble, greatest_timestamp, reassemble
from riverport.kafka.records.codecs import MAX_DECOMPRESSED_BYTES, Codec, codec_of, compress
from riverport.kafka.records.record import Record, encode_record, iter_records


@dataclass(slots=True)
class Retained:
    """What is left of a batch: `batch` is None if nothing is; it is a slice of the buffer if all of it is."""

    batch: bytearray | memoryview | None
    records_read: int
    records_kept: int


def retain(
    buf: Buffer,
    header: BatchHeader,
    keep: Callable[[Record], bool],
    *,
    keep_empty: bool,
    delete_horizon_ms: int,
    marks_empty_transaction: bool = False,
    limit: int = MAX_DECOMPRESSED_BYTES,
) -> Retained:
    """Keep the records that `keep` says yes to. With `keep_empty` the batch stays even if none does (magic 2 only).

    `delete_horizon_ms` is set if the batch has none yet and keeps a tombstone, or is the marker of a transaction whose
    records are all gone (`marks_empty_transaction`). Raises RecordError for a batch that cannot be opened.
    """
    read = 0
    kept: list[Record] = []
    for record in iter_records(buf, header, limit):
        read += 1
        if keep(record):
            kept.append(record)
    if not kept:
        empty = _emptied(header) if keep_empty and header.magic == CURRENT_MAGIC else None
        return Retained(empty, read, 0)
    if header.magic != CURRENT_MAGIC:
        unchanged = len(kept) == read
        return Retained(_slice(buf, header) if unchanged else _upgraded(header, kept), read, len(kept))
    horizon = header.base_timestamp if header.has_delete_horizon else None
    expires = marks_empty_transaction or any(record.value is None for record in kept)
    if horizon is None and expires:
        horizon = delete_horizon_ms
    elif len(kept) == read:
        return Retained(_slice(buf, header), read, read)
    return Retained(_rebuilt(header, kept, horizon), read, len(kept))


def _slice(buf: Buffer, header: BatchHeader) -> memoryview:
    return memoryview(buf)[header.position : header.end]


def _rebuilt(header: BatchHeader, kept: list[Record], horizon: int | None) -> bytearray:
    base_timestamp = kept[0].timestamp if horizon is None else horizon
    codec = codec_of(header.codec)
    return reassemble(
        header,
        compress(codec, _encode(kept, header.base_offset, base_timestamp)),
        attributes=header.attributes & ~DELETE_HORIZON_BIT | (0 if horizon is None else DELETE_HORIZON_BIT),
        base_timestamp=base_timestamp,
        max_timestamp=header.max_timestamp if header.is_log_append_time else greatest_timestamp(kept),
        count=len(kept),
    )


def _emptied(header: BatchHeader) -> bytearray:
    return reassemble(
        header,
        b"",
        attributes=header.attributes & ~(CODEC_MASK | DELETE_HORIZON_BIT),
        base_timestamp=NO_TIMESTAMP,
        max_timestamp=header.max_timestamp,
        count=0,
    )


def _upgraded(header: BatchHeader, kept: list[Record]) -> bytearray:
    """What is left of a message set of magic 0 or 1, as a batch of magic 2: the old formats are written no more."""
    codec = Codec(header.codec)
    base_offset, base_timestamp = kept[0].offset, kept[0].timestamp
    return assemble(
        compress(codec, _encode(kept, base_offset, base_timestamp)),
        count=len(kept),
        last_offset_delta=kept[-1].offset - base_offset,
        attributes=header.attributes,
        base_timestamp=base_timestamp,
        max_timestamp=header.max_timestamp if header.is_log_append_time else greatest_timestamp(kept),
        base_offset=base_offset,
        leader_epoch=header.leader_epoch,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
    )


def _encode(kept: list[Record], base_offset: int, base_timestamp: int) -> bytes:
    return b"".join(
        [
            encode_record(
                record.offset - base_offset, record.timestamp - base_timestamp, record.key, record.value, record.headers
            )
            for record in kept
        ]
    )
