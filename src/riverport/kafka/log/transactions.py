"""Aborted transactions of a log: what a read_committed consumer must skip (KIP-98; `.txnindex` files)."""

import struct
from bisect import bisect_left
from collections.abc import Collection, Iterable

_ENTRY = struct.Struct(">hqqqq")
ENTRY_BYTES = _ENTRY.size

AbortedTransaction = tuple[int, int, int, int]
"""(last offset, first offset, producer id, last stable offset); the last offset is the marker's."""


def encode_entries(entries: Iterable[AbortedTransaction]) -> bytes:
    """The content of a `.txnindex`."""
    return b"".join(_ENTRY.pack(0, producer, first, last, stable) for last, first, producer, stable in entries)


class AbortedTransactions:
    """In the order of their markers."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[AbortedTransaction] = []

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, producer_id: int, first_offset: int, last_offset: int, stable_offset: int) -> None:
        self._entries.append((last_offset, first_offset, producer_id, stable_offset))

    def knows(self, last_offset: int) -> bool:
        return bool(self._entries) and self._entries[-1][0] >= last_offset

    def any_between(self, start: int, end: int) -> bool:
        """Whether a marker lies in [start, end)."""
        at = bisect_left(self._entries, (start,))
        return at < len(self._entries) and self._entries[at][0] < end

    def between(self, start: int, end: int) -> list[tuple[int, int]]:
        """(producer id, first offset) of every transaction with records in [start, end)."""
        found = []
        for last, first, producer_id, _ in self._entries[bisect_left(self._entries, (start,)) :]:
            if first < end and last >= start:
                found.append((producer_id, first))
        return found

    def truncate_from_start(self, offset: int) -> None:
        self._entries = [entry for entry in self._entries if entry[0] >= offset]

    def truncate_from_end(self, offset: int) -> None:
        self._entries = [entry for entry in self._entries if entry[0] < offset]

    def entries(self) -> list[AbortedTransaction]:
        return list(self._entries)

    def retain(self, start: int, end: int, kept: Collection[int]) -> None:
        """Of the transactions that end in [start, end), keep those whose last offset is in `kept`."""
        self._entries = [entry for entry in self._entries if not start <= entry[0] < end or entry[0] in kept]

    def encode(self, start: int, end: int) -> bytes:
        """The `.txnindex` of the segment that holds [start, end)."""
        return encode_entries([entry for entry in self._entries if start <= entry[0] < end])

    def load(self, raw: bytes) -> bool:
        """Take a file's entries behind those that are here; False, and none of them, where it cannot be right."""
        if len(raw) % ENTRY_BYTES:
            return False
        loaded = []
        newest = self._entries[-1][0] if self._entries else -1
        for version, producer, first, last, stable in _ENTRY.iter_unpack(raw):
            if version != 0 or producer < 0 or not 0 <= first < last or last <= newest or stable < 0:
                return False
            loaded.append((last, first, producer, stable))
            newest = last
        self._entries += loaded
        return True

    def clear(self) -> None:
        self._entries.clear()
