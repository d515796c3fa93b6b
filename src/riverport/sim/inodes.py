"""What lies on a simulated disk: each file and directory as it is now, and as it is on the platter.

What a power cut leaves (`crash`):

    of a file         every page that was not synced is the old one, the new one, or torn between the two at a sector;
                      its size lies anywhere between the synced one and the one it had
    of a directory    creations, renames and removals that no `sync` followed happened up to some point, in order; each
                      directory by itself, so that a synced file in an unsynced directory can be gone

That is less than most real file systems keep, and no more than POSIX promises. After a sync that failed the pages that
it should have written count as clean, as Linux has it: a later one does not bring them to the disk.
"""

from dataclasses import dataclass, field
from random import Random

PAGE_BYTES = 4096
SECTOR_BYTES = 512


class FileInode:
    """The content of a file: as it is read now, and as it is on the disk."""

    __slots__ = ("dirty", "resized", "synced", "written")

    def __init__(self) -> None:
        self.written = bytearray()
        self.synced = bytearray()
        self.dirty: set[int] = set()  # pages to be synced
        self.resized = False

    def size(self) -> int:
        return len(self.written)

    def touch(self, start: int, end: int) -> None:
        self.dirty.update(range(start // PAGE_BYTES, (max(end, start + 1) - 1) // PAGE_BYTES + 1))

    def put(self, content: bytes, offset: int) -> None:
        end = offset + len(content)
        self.resized = self.resized or end > len(self.written)
        self.written[offset:end] = content
        self.touch(offset, end)

    def truncate(self, size: int) -> None:
        self.resized = True
        before = len(self.written)
        if size > before:
            # The disk may still have there what was cut off before.
            self.written.extend(bytes(size - before))
            self.touch(before, size)
        del self.written[size:]
        self.dirty = {page for page in self.dirty if page * PAGE_BYTES < size}
        if size % PAGE_BYTES:
            self.touch(size - 1, size)

    def sync(self) -> None:
        self._resize(self.synced, len(self.written))
        for page in self.dirty:
            start = page * PAGE_BYTES
            self.synced[start : start + PAGE_BYTES] = self.written[start : start + PAGE_BYTES]
        self.sync_failed()

    def sync_failed(self) -> None:
        """The pages are called clean, whether they were written or not."""
        self.dirty.clear()
        self.resized = False

    def crash(self, rng: Random) -> None:
        survivor = self.synced
        if self.resized or self.dirty:
            self._resize(survivor, self._size_after_crash(rng))
            for page in sorted(self.dirty):
                self._crash_page(survivor, page * PAGE_BYTES, rng)
        self.written = bytearray(survivor)
        self.sync_failed()

    def _size_after_crash(self, rng: Random) -> int:
        low, high = sorted((len(self.synced), len(self.written)))
        between = rng.randint(low, high) // PAGE_BYTES * PAGE_BYTES
        return rng.choice((len(self.synced), len(self.written), max(between, low)))

    def _crash_page(self, survivor: bytearray, start: int, rng: Random) -> None:
        new = self.written[start : start + PAGE_BYTES]
        fate = rng.randrange(3)
        if fate == 0:
            return
        if fate == 2:
            del new[rng.randrange(PAGE_BYTES // SECTOR_BYTES) * SECTOR_BYTES :]
        room = max(len(survivor) - start, 0)
        survivor[start : start + min(len(new), room)] = new[:room]

    @staticmethod
    def _resize(content: bytearray, size: int) -> None:
        if len(content) < size:
            content.extend(bytes(size - len(content)))
        del content[size:]


@dataclass(slots=True)
class DirInode:
    """A directory: its entries now, those on the disk, and the changes between the two in their order."""

    entries: "dict[str, Inode]" = field(default_factory=dict)
    synced: "dict[str, Inode]" = field(default_factory=dict)
    changes: "list[Changes]" = field(default_factory=list)

    def size(self) -> int:
        """Of all that is in it."""
        return sum(found.size() for found in self.entries.values())

    def change(self, changes: "Changes") -> None:
        """One step that happens as a whole: names and what they stand for from now on, None for nothing."""
        self._apply(self.entries, changes)
        self.changes.append(changes)

    def sync(self) -> None:
        self.synced = dict(self.entries)
        self.changes.clear()

    def crash(self, rng: Random) -> None:
        for change in self.changes[: rng.randint(0, len(self.changes))]:
            self._apply(self.synced, change)
        self.entries = dict(self.synced)
        self.changes.clear()
        for name in sorted(self.entries):
            self.entries[name].crash(rng)

    @staticmethod
    def _apply(entries: "dict[str, Inode]", changes: "Changes") -> None:
        for name, found in changes.items():
            if found is None:
                entries.pop(name, None)
            else:
                entries[name] = found


Inode = FileInode | DirInode
Changes = dict[str, Inode | None]
"""Names, and what they stand for from now on."""
