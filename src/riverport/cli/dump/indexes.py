"""The indexes of a segment, checked against the segment where that lies beside them."""

import struct
from collections.abc import Mapping

from riverport.cli.dump.items import Item, Items, damage

OFFSET_ENTRY = struct.Struct(">ii")
TIME_ENTRY = struct.Struct(">qi")
TRANSACTION_ENTRY = struct.Struct(">hqqqq")


def offset_index_items(raw: bytes, base_offset: int, bases: Mapping[int, int] | None) -> Items:
    """`bases` are the base offsets of the segment's batches by position, None where the segment is not there.

    An entry names an offset and the position of its batch, which so begins at or before the offset.
    """
    yield from _torn(raw, OFFSET_ENTRY)
    last = (-1, -1)
    entries = 0
    for at, (relative, position) in enumerate(OFFSET_ENTRY.iter_unpack(_whole(raw, OFFSET_ENTRY))):
        if (relative, position) == (0, 0):
            yield from _preallocated(raw, OFFSET_ENTRY, at)
            break
        entries += 1
        offset = base_offset + relative
        yield Item("entry", {"offset": offset, "position": position})
        if relative <= last[0] or position <= last[1]:
            yield damage("the entry does not ascend", entry=at)
        elif bases is not None and not (position in bases and bases[position] <= offset):
            yield damage(f"no batch at position {position} holds offset {offset}", entry=at)
        last = (relative, position)
    yield Item("total", {"entries": entries})


def time_index_items(raw: bytes, base_offset: int) -> Items:
    yield from _torn(raw, TIME_ENTRY)
    last = (-1, -1)
    entries = 0
    for at, (timestamp, relative) in enumerate(TIME_ENTRY.iter_unpack(_whole(raw, TIME_ENTRY))):
        if (timestamp, relative) == (0, 0):
            yield from _preallocated(raw, TIME_ENTRY, at)
            break
        entries += 1
        yield Item("entry", {"timestamp": timestamp, "offset": base_offset + relative})
        if timestamp <= last[0] or relative < last[1]:
            yield damage("the entry does not ascend", entry=at)
        last = (timestamp, relative)
    yield Item("total", {"entries": entries})


def transaction_index_items(raw: bytes) -> Items:
    yield from _torn(raw, TRANSACTION_ENTRY)
    newest = -1
    whole = _whole(raw, TRANSACTION_ENTRY)
    for at, (version, producer_id, first, last, stable) in enumerate(TRANSACTION_ENTRY.iter_unpack(whole)):
        fields = {"producer_id": producer_id, "first_offset": first, "last_offset": last, "last_stable_offset": stable}
        yield Item("aborted", {"version": version, **fields})
        if version != 0 or not 0 <= first <= last or last <= newest:
            yield damage("the entry cannot be right", entry=at)
        newest = last
    yield Item("total", {"entries": len(whole) // TRANSACTION_ENTRY.size})


def _whole(raw: bytes, entry: struct.Struct) -> bytes:
    return raw[: len(raw) // entry.size * entry.size]


def _torn(raw: bytes, entry: struct.Struct) -> Items:
    if rest := len(raw) % entry.size:
        yield damage(f"{rest} bytes behind the last whole entry of {entry.size}")


def _preallocated(raw: bytes, entry: struct.Struct, at: int) -> Items:
    """Kafka makes its index files as large as they may become; a batch at position 0 never has an entry."""
    yield Item("preallocated", {"entries": len(raw) // entry.size - at})
    if raw.count(0, at * entry.size) != len(raw) - at * entry.size:
        yield damage("entries stand behind preallocated room", entry=at)
