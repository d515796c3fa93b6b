"""Batches and records of a segment, of a metadata checkpoint, of any file of record batches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from riverport.cli.dump.items import Item, Items, damage
from riverport.cli.record_json import bytes_json
from riverport.kafka.records.batch import BatchHeader, check_crc, iter_headers
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.control import ControlType, control_type, coordinator_epoch, raft_control_message
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import Record, iter_records, records_section
from riverport.kafka.records.walk import walk
from riverport.kafka.wire.errors import WireError

MARKERS = (ControlType.ABORT, ControlType.COMMIT)
ZEROS_AT_ONCE = 64 * 1024

Meaning = Callable[[Record], dict[str, Any]]
"""What a record of a topic of Kafka's own says; raises WireError for one that cannot be read."""


@dataclass(slots=True)
class Totals:
    batches: int = 0
    records: int = 0
    first_offset: int | None = None
    next_offset: int = 0
    end: int = 0  # the position behind the last whole batch
    bases: dict[int, int] = field(default_factory=dict)  # position -> base offset, for those who check indexes


def segment_items(
    raw: memoryview, *, base_offset: int | None, with_records: bool, meaning: Meaning | None, totals: Totals
) -> Items:
    """`base_offset` is the one in the file's name, None for files whose offsets count from 0."""
    headers = iter_headers(raw)
    while True:
        try:
            header = next(headers, None)
        except RecordError as error:
            if not _is_zero(raw[totals.end :]):
                yield damage(str(error), position=totals.end)
                return
            header = None
        if header is None:
            break
        yield _batch(header)
        yield from _checked(raw, header, base_offset, totals)
        totals.batches += 1
        totals.bases[header.position] = header.base_offset
        if totals.first_offset is None:
            totals.first_offset = header.base_offset
        totals.next_offset, totals.end = header.next_offset, header.position + header.size
        yield from _records(raw, header, with_records, meaning, totals)
    if totals.end < len(raw):
        rest = len(raw) - totals.end
        if _is_zero(raw[totals.end :]):
            yield Item("preallocated", {"position": totals.end, "size": rest})
        else:
            yield damage(f"{rest} bytes that are no whole batch", position=totals.end)
    yield Item("total", {"batches": totals.batches, "records": totals.records, "next_offset": totals.next_offset})


def _is_zero(raw: memoryview) -> bool:
    """Room that log.preallocate has taken and nothing has been written to; it may be most of a gigabyte."""
    zeros = bytes(ZEROS_AT_ONCE)
    starts = range(0, len(raw), ZEROS_AT_ONCE)
    return all(raw[at : at + ZEROS_AT_ONCE] == zeros[: len(raw) - at] for at in starts)


def _batch(header: BatchHeader) -> Item:
    flags = {
        "control": header.is_control,
        "transactional": header.is_transactional,
        "log_append_time": header.is_log_append_time,
        "delete_horizon": header.has_delete_horizon,
    }
    has_producer = header.has_producer_id
    return Item(
        "batch",
        {
            "base_offset": header.base_offset,
            "last_offset": header.last_offset,
            "count": header.count if header.count >= 0 else None,
            "position": header.position,
            "size": header.size,
            "magic": header.magic,
            "compression": _codec(header.codec),
            "leader_epoch": header.leader_epoch,
            "max_timestamp": header.max_timestamp,
            "producer_id": header.producer_id if has_producer else None,
            "producer_epoch": header.producer_epoch if has_producer else None,
            "base_sequence": header.base_sequence if has_producer else None,
            "crc": header.crc,
            "flags": [name for name, is_set in flags.items() if is_set] or None,
        },
    )


def _codec(number: int) -> str:
    try:
        return Codec(number).name.lower()
    except ValueError:
        return str(number)


def _checked(raw: memoryview, header: BatchHeader, base_offset: int | None, totals: Totals) -> Items:
    if not check_crc(raw, header):
        yield damage("the checksum is not that of the bytes", position=header.position)
    if base_offset is not None and totals.first_offset is None and header.base_offset < base_offset:
        yield damage(f"the first offset is below {base_offset}, which the file is named for", position=header.position)
    if totals.first_offset is not None and header.magic >= 2 and header.base_offset < totals.next_offset:
        before = totals.next_offset - 1
        yield damage(f"offset {header.base_offset} stands behind offset {before}", position=header.position)


def _records(
    raw: memoryview, header: BatchHeader, with_records: bool, meaning: Meaning | None, totals: Totals
) -> Items:
    """Records that are not shown are walked all the same: the file is only whole if they can be opened."""
    shown = with_records or meaning is not None or header.is_control
    count = 0
    try:
        if not shown and header.magic >= 2 and header.count > 0:
            if walk(records_section(raw, header), header.count) is None:
                yield damage("records that cannot be opened", position=header.position)
            count = header.count
        else:
            for record in iter_records(raw, header):
                count += 1
                if shown:
                    yield _record_or_damage(header, record, with_records, meaning)
    except RecordError as error:
        yield damage(f"records that cannot be opened: {error}", position=header.position)
    totals.records += count


def _record_or_damage(header: BatchHeader, record: Record, with_records: bool, meaning: Meaning | None) -> Item:
    try:
        return _record(header, record, with_records, meaning)
    except WireError as error:
        return damage(f"a record that cannot be read: {error}", offset=record.offset)


def _record(header: BatchHeader, record: Record, with_records: bool, meaning: Meaning | None) -> Item:
    fields: dict[str, Any] = {"offset": record.offset}
    if with_records:
        fields["timestamp"] = record.timestamp
    if header.is_control:
        return Item("control", fields | _control(record), depth=1)
    if meaning is not None:
        return Item("record", fields | meaning(record), depth=1)
    fields |= {"key": bytes_json(record.key), "value": bytes_json(record.value)}
    if record.headers:
        fields["headers"] = [[_header_name(name), bytes_json(value)] for name, value in record.headers]
    return Item("record", fields, depth=1)


def _header_name(name: str) -> str:
    """Without lone surrogates, which stand for bytes that are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _control(record: Record) -> dict[str, Any]:
    from riverport.cli.dump.decoded import message_json

    kind = control_type(record)
    if kind is None:
        return {"type": "unknown", "key": bytes_json(record.key)}
    if kind in MARKERS:
        return {"type": kind.name, "coordinator_epoch": coordinator_epoch(record)}
    return {"type": kind.name, "data": message_json(raft_control_message(record))}
