"""Aborted transactions of a log: what a read_committed consumer must skip (KIP-98; `.txnindex` files)."""

import struct
from bisect import bisect_left

_ENTRY = struct.Struct(">hqqqq")
ENTRY_BYTES = _ENTRY.size


class AbortedTransactions:
    """(last offset, first offset, producer id, last stable offset) in the order of their markers."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, producer_id: int, first_offset: int, last_offset: int, stable_offset: int) -> None:
        self._entries.append((last_offset, first_offset, producer_id, stable_offset))

    def knows(self, last_offset: int) -> bool:
        return bool(self._entries) and self._entries[-1][0] >= last_offset

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

    def encode(self, start: int, end: int) -> bytes:
        """The `.txnindex` of the segment that holds [start, end)."""
        rows = [entry for entry in self._entries if start <= entry[0] < end]
        return b"".join(_ENTRY.pack(0, producer, first, last, stable) for last, first, producer, stable in rows)

    def load(self, raw: bytes) -> bool:
        """Take a file's entries; False where it cannot be right."""
        if len(raw) % ENTRY_BYTES:
            return False
        for version, producer, first, last, stable in _ENTRY.iter_unpack(raw):
            if version != 0 or first > last or (self._entries and last < self._entries[-1][0]):
                return False
            self._entries.append((last, first, producer, stable))
        return True
