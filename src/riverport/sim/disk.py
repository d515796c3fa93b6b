"""A simulated file system, for power cuts, failing disks and full ones: `Files` over the inodes of `inodes`.

`crash` is a power cut, `kill` the end of a process: what was written stays. Both close every file and lock; a handle
from before is dead.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random

from riverport.base.files import Buffer, File, StorageError
from riverport.sim.inodes import DirInode, FileInode, Inode

DEFAULT_CAPACITY = 1 << 40


@dataclass(slots=True)
class Fault:
    """From the `nth` matching operation on, `times` of them fail with `number`; -1 for all that follow."""

    operation: str  # as StorageError names it: open, read, write, sync, rename, remove, list, mkdir, stat, truncate
    pattern: str  # of the path, with `*` for anything
    number: int = errno.EIO
    nth: int = 1
    times: int = -1
    met: int = 0

    @property
    def is_pending(self) -> bool:
        return self.times < 0 or self.met < self.nth + self.times - 1

    def strikes(self, operation: str, path: str) -> bool:
        if operation != self.operation or not fnmatchcase(path, self.pattern):
            return False
        self.met += 1
        return self.met >= self.nth and (self.times < 0 or self.met < self.nth + self.times)


class SimDisk:
    """`Files` in memory. Paths are absolute; `/` is there from the start."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.faults: list[Fault] = []
        self.reads: list[str] = []
        """The paths of all `pread` and `read` calls, for tests that count them."""
        self._root = DirInode()
        self._locked: set[str] = set()
        self._life = 0

    # --- what tests do to it

    def fail(self, operation: str, pattern: str, number: int = errno.EIO, *, nth: int = 1, times: int = -1) -> Fault:
        """Let operations on matching paths fail. See `Fault`."""
        fault = Fault(operation, pattern, number, nth, times)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        self.faults.clear()

    @property
    def is_ailing(self) -> bool:
        """Whether something is still bound to fail: it is full, or a fault is waiting for its operation."""
        return self.capacity < DEFAULT_CAPACITY or any(fault.is_pending for fault in self.faults)

    def crash(self, rng: Random) -> None:
        """A power cut."""
        self.kill()
        self._root.crash(rng)

    def kill(self) -> None:
        """The end of the process that used the disk."""
        self._life += 1
        self._locked.clear()

    @property
    def life(self) -> int:
        """Counts crashes and kills: a handle of an earlier life is dead."""
        return self._life

    def used(self) -> int:
        return self._root.size()

    def flip(self, path: str, offset: int, mask: int) -> None:
        """Bit rot: change a byte, on the disk too."""
        node = self._file(path, "write")
        node.written[offset] ^= mask
        if offset < len(node.synced):
            node.synced[offset] ^= mask

    # --- Files

    def open(self, path: str, *, create: bool = False) -> File:
        self.check("open", path)
        parent, name = self._parent(path, "open")
        if create and name not in parent.entries:
            parent.change({name: FileInode()})
        return SimFile(self, path, self._file(path, "open"))

    def exists(self, path: str) -> bool:
        return self._find(path) is not None

    def is_dir(self, path: str) -> bool:
        return isinstance(self._find(path), DirInode)

    def size(self, path: str) -> int:
        self.check("stat", path)
        return len(self._file(path, "stat").written)

    def listdir(self, path: str) -> list[str]:
        self.check("list", path)
        return sorted(self._dir(path, "list").entries)

    def mkdir(self, path: str) -> None:
        self.check("mkdir", path)
        at = self._root
        for name in _parts(path):
            if name not in at.entries:
                at.change({name: DirInode()})
            found = at.entries[name]
            if not isinstance(found, DirInode):
                raise _error("mkdir", path, errno.EEXIST)
            at = found

    def read(self, path: str) -> bytes:
        self.check("read", path)
        self.reads.append(path)
        return bytes(self._file(path, "read").written)

    def write(self, path: str, content: Buffer, *, sync: bool = True) -> None:
        self.check("write", path)
        parent, name = self._parent(path, "write")
        if name not in parent.entries:
            parent.change({name: FileInode()})
        node = self._file(path, "write")
        node.truncate(0)
        self.reserve(path, len(content))
        node.put(bytes(content), 0)
        if sync:
            self.sync_node(path, node)

    def replace(self, path: str, content: Buffer, *, mode: int = 0o644) -> None:
        temporary = path + ".tmp"
        self.write(temporary, content)
        self.rename(temporary, path)
        self.sync_dir(os.path.dirname(path))

    def rename(self, old: str, new: str) -> None:
        self.check("rename", old)
        source, source_name = self._parent(old, "rename")
        target, target_name = self._parent(new, "rename")
        found = source.entries.get(source_name)
        if found is None:
            raise _error("rename", old, errno.ENOENT)
        replaced = target.entries.get(target_name)
        if isinstance(replaced, DirInode) and (replaced.entries or not isinstance(found, DirInode)):
            raise _error("rename", old, errno.ENOTEMPTY if isinstance(found, DirInode) else errno.EISDIR)
        if source is target:
            source.change({source_name: None, target_name: found})
        else:
            target.change({target_name: found})
            source.change({source_name: None})

    def remove(self, path: str) -> None:
        self.check("remove", path)
        parent = self._find(os.path.dirname(path))
        name = os.path.basename(path)
        if not isinstance(parent, DirInode) or name not in parent.entries:
            return
        if isinstance(parent.entries[name], DirInode):
            raise _error("remove", path, errno.EISDIR)
        parent.change({name: None})

    def rmtree(self, path: str) -> None:
        self.check("remove", path)
        found = self._find(path)
        if found is None:
            return
        if not isinstance(found, DirInode):
            raise _error("remove", path, errno.ENOTDIR)
        for name in sorted(found.entries):
            inner = f"{path}/{name}"
            self.rmtree(inner) if isinstance(found.entries[name], DirInode) else self.remove(inner)
        parent, name = self._parent(path, "remove")
        parent.change({name: None})

    def sync_dir(self, path: str) -> None:
        self.check("sync", path)
        self._dir(path, "sync").sync()

    def lock(self, path: str) -> "SimLock":
        self.open(path, create=True)
        if path in self._locked:
            raise StorageError("lock", path, errno.EWOULDBLOCK, "another process is using this directory")
        self._locked.add(path)
        return SimLock(self, path)

    def unlock(self, path: str) -> None:
        self._locked.discard(path)

    def disk_usage(self, path: str) -> tuple[int, int]:
        self.check("stat", path)
        self._dir(path, "stat")
        return self.capacity, max(self.capacity - self.used(), 0)

    # --- for its files

    def check(self, operation: str, path: str) -> None:
        """Raises what a test asked for."""
        for fault in self.faults:
            if fault.strikes(operation, path):
                raise _error(operation, path, fault.number)

    def reserve(self, path: str, size: int) -> None:
        if self.capacity < DEFAULT_CAPACITY and self.used() + size > self.capacity:
            raise _error("write", path, errno.ENOSPC)

    def sync_node(self, path: str, node: FileInode) -> None:
        try:
            self.check("sync", path)
        except StorageError:
            node.sync_failed()
            raise
        node.sync()

    # --- paths

    def _find(self, path: str) -> Inode | None:
        at: Inode | None = self._root
        for name in _parts(path):
            if not isinstance(at, DirInode):
                return None
            at = at.entries.get(name)
        return at

    def _dir(self, path: str, operation: str) -> DirInode:
        found = self._find(path)
        if not isinstance(found, DirInode):
            raise _error(operation, path, errno.ENOENT if found is None else errno.ENOTDIR)
        return found

    def _file(self, path: str, operation: str) -> FileInode:
        found = self._find(path)
        if not isinstance(found, FileInode):
            raise _error(operation, path, errno.ENOENT if found is None else errno.EISDIR)
        return found

    def _parent(self, path: str, operation: str) -> tuple[DirInode, str]:
        found = self._find(os.path.dirname(path))
        if not isinstance(found, DirInode):
            raise _error(operation, path, errno.ENOENT if found is None else errno.ENOTDIR)
        return found, os.path.basename(path)


class SimFile:
    """An open file of a `SimDisk`. It goes on working on a file that was removed or renamed, as on any Unix."""

    __slots__ = ("_disk", "_life", "_node", "_open", "path")

    def __init__(self, disk: SimDisk, path: str, node: FileInode) -> None:
        self.path = path
        self._disk = disk
        self._node = node
        self._life = disk.life
        self._open = True

    def append(self, chunks: Sequence[Buffer]) -> int:
        self._check("write")
        content = b"".join(chunks)
        self._disk.reserve(self.path, len(content))
        self._node.put(content, len(self._node.written))
        return len(content)

    def pread(self, size: int, offset: int) -> bytes:
        self._check("read")
        self._disk.reads.append(self.path)
        return bytes(self._node.written[offset : offset + size])

    def slice(self, size: int, offset: int) -> bytes:
        return self.pread(size, offset)

    def size(self) -> int:
        return len(self._node.written)

    def trim(self) -> None:
        pass  # room is reserved for nobody

    def truncate(self, size: int) -> None:
        self._check("truncate")
        self._node.truncate(size)

    def sync(self) -> None:
        self._check_alive("sync")
        self._disk.sync_node(self.path, self._node)

    def close(self) -> None:
        self._open = False

    def _check(self, operation: str) -> None:
        self._check_alive(operation)
        self._disk.check(operation, self.path)

    def _check_alive(self, operation: str) -> None:
        if not self._open or self._life != self._disk.life:
            raise _error(operation, self.path, errno.EBADF)


class SimLock:
    """Held until `release`, `crash` or `kill`."""

    def __init__(self, disk: SimDisk, path: str) -> None:
        self.path = path
        self._disk = disk
        self._life = disk.life

    def release(self) -> None:
        if self._life == self._disk.life:
            self._disk.unlock(self.path)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _error(operation: str, path: str, number: int) -> StorageError:
    return StorageError(operation, path, number)
