"""Control batches: the ends of transactions (KIP-98), and what a raft leader notes in its own log (KIP-595, 630, 853).

The key of a control record is `int16 version, int16 type`. An end-of-transaction marker holds `int16 version,
int32 coordinator epoch`; the raft values are flexible messages whose first field is their own version.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from riverport.kafka.records.batch import NO_LEADER_EPOCH
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.errors import invalid
from riverport.kafka.records.record import Record
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.errors import WireError

_KEY = struct.Struct(">hh")
_MARKER = struct.Struct(">hi")
_KEY_VERSION = 0
_MARKER_VERSION = 0


class ControlType(IntEnum):
    """What a control record says."""

    ABORT = 0
    COMMIT = 1
    LEADER_CHANGE = 2
    SNAPSHOT_HEADER = 3
    SNAPSHOT_FOOTER = 4
    KRAFT_VERSION = 5
    KRAFT_VOTERS = 6


def end_txn_marker(
    commit: bool,
    *,
    coordinator_epoch: int,
    producer_id: int,
    producer_epoch: int,
    timestamp: int,
    base_offset: int = 0,
    leader_epoch: int = NO_LEADER_EPOCH,
) -> bytearray:
    """The batch of 78 bytes that ends a producer's transaction in one partition."""
    kind = ControlType.COMMIT if commit else ControlType.ABORT
    value = _MARKER.pack(_MARKER_VERSION, coordinator_epoch)
    return build_batch(
        [NewRecord(_KEY.pack(_KEY_VERSION, kind), value, timestamp=timestamp)],
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
    )


def raft_control_batch(
    messages: Sequence[Any], *, timestamp: int, base_offset: int = 0, leader_epoch: int = NO_LEADER_EPOCH
) -> bytearray:
    """One batch of raft control records, in order. What the record is follows from the message's class.

    Every message is written in the version that its own `version` field names.
    """
    records = [
        NewRecord(_KEY.pack(_KEY_VERSION, _type_of(message)), encode(message, message.version), timestamp=timestamp)
        for message in messages
    ]
    return build_batch(records, base_offset=base_offset, leader_epoch=leader_epoch, control=True)


def control_type(record: Record) -> ControlType | None:
    """The type of a control record; None for one that a later version defines. RecordError for a malformed key."""
    if record.key is None or len(record.key) < _KEY.size:
        raise invalid("A control record without a whole key")
    version, kind = _KEY.unpack_from(record.key)
    if version < 0 or kind < 0:
        raise invalid(f"A control record of version {version} and type {kind}")
    try:
        return ControlType(kind)
    except ValueError:
        return None


def coordinator_epoch(record: Record) -> int:
    """The epoch of the transaction coordinator that wrote this COMMIT or ABORT marker."""
    if record.value is None or len(record.value) < _MARKER.size:
        raise invalid("An end-of-transaction marker without a whole value")
    version, epoch = _MARKER.unpack_from(record.value)
    if version < 0:
        raise invalid(f"An end-of-transaction marker of version {version}")
    return int(epoch)


def raft_control_message(record: Record) -> Any:
    """The message in a raft control record. RecordError for another control type or a malformed value."""
    kind = control_type(record)
    classes = _classes()
    if kind not in classes or record.value is None or len(record.value) < 2:
        raise invalid(f"No raft control record: type {kind}")
    cls = classes[kind]
    version = int.from_bytes(record.value[:2], "big", signed=True)
    try:
        # A later version is read as the newest known: flexible messages only grow at their end.
        return decode(cls, min(version, cls._message.versions.high), record.value)[0]
    except WireError as error:
        raise invalid(f"A malformed raft control record: {error}") from error


def _classes() -> dict[ControlType | None, Any]:
    return {
        ControlType.LEADER_CHANGE: m.LeaderChangeMessage,
        ControlType.SNAPSHOT_HEADER: m.SnapshotHeaderRecord,
        ControlType.SNAPSHOT_FOOTER: m.SnapshotFooterRecord,
        ControlType.KRAFT_VERSION: m.KRaftVersionRecord,
        ControlType.KRAFT_VOTERS: m.VotersRecord,
    }


def _type_of(message: Any) -> ControlType:
    for kind, cls in _classes().items():
        if type(message) is cls and kind is not None:
            return kind
    raise TypeError(f"{type(message).__name__} is no raft control record")
