"""Sparse indexes of a segment: relative offset -> position, timestamp -> relative offset (KIP-33).

Entries are kept in memory for the active segment and written when it is rolled or closed; an older segment's are read
when they are first needed. Kafka preallocates its index files: the zeros behind the last entry are cut off on reading.
"""

import struct
from bisect import bisect_right

from riverport.base.files import Files

_OFFSET = struct.Struct(">ii")
_TIME = struct.Struct(">qi")


class OffsetIndex:
    """`(offset - base, file position)`, both ascending."""

    __slots__ = ("offsets", "positions")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.positions: list[int] = []

    def __len__(self) -> int:
        return len(self.offsets)

    def append(self, relative: int, position: int) -> None:
        self.offsets.append(relative)
        self.positions.append(position)

    def position_of(self, relative: int) -> int:
        """Where to start reading for an offset: at or before its batch."""
        at = bisect_right(self.offsets, relative) - 1
        return self.positions[at] if at >= 0 else 0

    def truncate(self, relative: int, position: int) -> None:
        while self.offsets and (self.offsets[-1] >= relative or self.positions[-1] >= position):
            self.offsets.pop()
            self.positions.pop()

    def encode(self) -> bytes:
        return b"".join(map(_OFFSET.pack, self.offsets, self.positions))

    def load(self, raw: bytes, log_size: int) -> bool:
        """Take a file's entries; False where they cannot be right and the index must be built again."""
        if len(raw) % _OFFSET.size:
            return False
        last = (-1, -1)
        for entry in _OFFSET.iter_unpack(raw):
            if entry == (0, 0) and last != (-1, -1):
                break  # preallocated room
            if entry[0] <= last[0] or entry[1] <= last[1] or entry[1] >= max(log_size, 1):
                if entry == (0, 0):
                    break
                return False
            if entry == (0, 0):
                continue
            self.append(*entry)
            last = entry
        return True


class TimeIndex:
    """`(timestamp, offset - base)`: every record behind the offset's batch has a later one, or one not indexed."""

    __slots__ = ("offsets", "timestamps")

    def __init__(self) -> None:
        self.timestamps: list[int] = []
        self.offsets: list[int] = []

    def __len__(self) -> int:
        return len(self.offsets)

    def maybe_append(self, timestamp: int, relative: int) -> None:
        if not self.timestamps or timestamp > self.timestamps[-1]:
            self.timestamps.append(timestamp)
            self.offsets.append(relative)

    def offset_before(self, timestamp: int) -> int:
        """The relative offset from which to look for the first record at or after `timestamp`."""
        at = bisect_right(self.timestamps, timestamp) - 1
        while at >= 0 and self.timestamps[at] >= timestamp:
            at -= 1
        return self.offsets[at] if at >= 0 else 0

    def truncate(self, relative: int) -> None:
        while self.offsets and self.offsets[-1] >= relative:
            self.offsets.pop()
            self.timestamps.pop()

    def encode(self) -> bytes:
        return b"".join(map(_TIME.pack, self.timestamps, self.offsets))

    def load(self, raw: bytes) -> bool:
        if len(raw) % _TIME.size:
            return False
        last = (-2, -1)
        for entry in _TIME.iter_unpack(raw):
            if entry == (0, 0):
                break
            if entry[0] <= last[0] or entry[1] < last[1]:
                return False
            self.timestamps.append(entry[0])
            self.offsets.append(entry[1])
            last = entry
        return True


def read_if_there(files: Files, path: str) -> bytes | None:
    return files.read(path) if files.exists(path) else None
