"""Archives into a directory that no entry can leave, as layers or as plain files.

Every name is resolved by the kernel inside the root (openat2, RESOLVE_IN_ROOT), so a link that the archive itself made
leads nowhere else; names and hard links that climb above the root are refused outright. Refused, too: devices other
than the harmless ones, and too many entries. Attributes that are overlayfs's own are dropped: they could point at the
host's files. The caller removes the directory when this raises.

Of a layer, `.wh.NAME` and `.wh..wh..opq` become overlayfs's whiteouts and opaque directories. They hide what is below
the layer, never what it brings itself, wherever in the archive they stand (OCI image specification, "Whiteouts").
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from riverport.engine.linux.inroot import Root
from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage import trees
from riverport.engine.storage.recipe import RecipeWriter
from riverport.engine.storage.tar_reader import Entry, InvalidArchive, Source, TarReader

MAX_ENTRIES: Final = 4_000_000
WHITEOUT: Final = b".wh."
OPAQUE_MARK: Final = b".wh..wh..opq"
_AUFS_OWN: Final = b".wh..wh."
_MAX_ID: Final = (1 << 32) - 2
_MAX_SECONDS: Final = 1 << 40
_OPEN_PARENTS: Final = 64
_HARMLESS: Final = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)}) | {
    (4, minor) for minor in range(64)
}
"""Character devices by (major, minor): null, zero, full, random, urandom, tty, console, ptmx and virtual consoles."""
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Unpacked:
    size: int = 0
    """Bytes of regular files; a hard link adds none."""
    entries: int = 0
    """Implied directories count, too."""
    implied: list[bytes] = field(default_factory=list)
    """Directories that had to be made because an entry lies in them while the archive has none for themselves."""
    opaque_root: bool = False
    """Nothing of the layers below is left; overlayfs has no way to say so of a layer's root."""


def unpack(source: Source, root: Path, recipe: RecipeWriter | None = None) -> Unpacked:
    """Unpack a layer. Raises InvalidArchive, or OSError of the file system."""
    with Root(root) as opened:
        unpacker = Unpacker(opened, recipe=recipe)
        try:
            unpacker.run(TarReader(source, recipe.raw if recipe is not None else None))
        finally:
            unpacker.close()
        return unpacker.result


class Unpacker:
    """One archive on its way into `root`, below `base` (a path inside the root, already there).

    `layer=False` takes whiteouts for ordinary files. `owner` replaces the owners in the archive.
    """

    def __init__(
        self,
        root: Root,
        base: bytes = b"",
        *,
        layer: bool = True,
        owner: tuple[int, int] | None = None,
        recipe: RecipeWriter | None = None,
    ) -> None:
        self.result = Unpacked()
        self._root = root
        self._base = base.strip(b"/")
        self._layer = layer
        self._owner = owner
        self._recipe = recipe
        self._parents: dict[bytes, int] = {}
        self._directory_times: dict[bytes, int] = {}

    def run(self, reader: TarReader) -> None:
        for entry in reader:
            self._count_one()
            try:
                self._place(entry, reader)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE):
                    raise
                raise InvalidArchive(f"{_shown(entry.name)}: {(error.strerror or str(error)).lower()}") from error
        self._set_directory_times()

    def _count_one(self) -> None:
        self.result.entries += 1
        if self.result.entries > MAX_ENTRIES:
            raise InvalidArchive(f"the archive has more than {MAX_ENTRIES} entries")

    def close(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    # ---- one entry

    def _place(self, entry: Entry, reader: TarReader) -> None:
        path = clean(entry.name)
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise InvalidArchive(f"{_shown(entry.name)}: owner {entry.uid}:{entry.gid} is out of range")
        if not path:
            if entry.type == tar.DIRECTORY:
                self._dress(self._parent(b""), b"", entry)
                self._directory_times[b""] = entry.mtime_ns
            return
        directory, _, name = path.rpartition(b"/")
        if self._layer and name.startswith(WHITEOUT):
            self._hide(directory, name)
            return
        parent = self._parent(directory)
        match entry.type:
            case tar.REGULAR:
                self._regular(entry, reader, path, parent, name)
                return
            case tar.DIRECTORY:
                self._directory(path, parent, name)
                self._directory_times[path] = entry.mtime_ns
                self._dress(parent, name, entry)
                return
            case tar.LINK:
                self._link(entry, parent, name)
                return
            case tar.SYMLINK:
                if not entry.link:
                    raise InvalidArchive(f"{_shown(entry.name)}: a symbolic link to nothing")
                self._make(parent, name, lambda: os.symlink(entry.link, name, dir_fd=parent))
            case tar.FIFO:
                self._make(parent, name, lambda: os.mkfifo(name, 0o600, dir_fd=parent))
            case _:
                self._device(entry, parent, name)
        self._dress(parent, name, entry)
        os.utime(name, ns=_times(entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _regular(self, entry: Entry, reader: TarReader, path: bytes, parent: int, name: bytes) -> None:
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.segments is not None:
                self._write_sparse(fd, entry, reader, path)
            else:
                for piece in reader.data():
                    _write(fd, piece)
                if self._recipe is not None and entry.size:
                    self._recipe.file(path, 0, entry.size)
            os.fchown(fd, *(self._owner or (entry.uid, entry.gid)))
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                _set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=_times(entry.mtime_ns))
        finally:
            os.close(fd)
        self.result.size += entry.size

    def _write_sparse(self, fd: int, entry: Entry, reader: TarReader, path: bytes) -> None:
        segments = iter(entry.segments or [])
        offset = left = 0
        for piece in reader.data():  # pieces and segments do not end together
            while piece:
                while not left:
                    offset, left = next(segments)
                part, piece = piece[:left], piece[left:]
                os.lseek(fd, offset, os.SEEK_SET)
                _write(fd, part)
                if self._recipe is not None:
                    self._recipe.file(path, offset, len(part))
                offset, left = offset + len(part), left - len(part)
        os.ftruncate(fd, entry.size)

    def _directory(self, path: bytes, parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        except FileExistsError:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(there.st_mode):
            return
        self._clear(parent, name)
        os.mkdir(name, 0o755, dir_fd=parent)
        if self._layer and trees.is_whiteout(there):
            # The whiteout said that the directory below is gone: this one does not merge with it.
            os.setxattr(trees.at(parent, name), trees.OPAQUE, b"y")

    def _link(self, entry: Entry, parent: int, name: bytes) -> None:
        target = clean(entry.link)
        directory, _, last = target.rpartition(b"/")
        if not last:
            raise InvalidArchive(f"{_shown(entry.name)}: a hard link to {_shown(entry.link)}")
        source = self._parent(directory)
        if self._layer and trees.is_whiteout(os.stat(last, dir_fd=source, follow_symlinks=False)):
            raise InvalidArchive(f"{_shown(entry.name)}: a hard link to {_shown(entry.link)}, which is not there")
        if target == clean(entry.name):
            return
        try:
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            self._clear(parent, name)
            source = self._parent(directory)
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _device(self, entry: Entry, parent: int, name: bytes) -> None:
        if entry.type != tar.CHARACTER or entry.device not in _HARMLESS:
            major, minor = entry.device
            kind = "character" if entry.type == tar.CHARACTER else "block"
            raise InvalidArchive(f"{_shown(entry.name)}: {kind} device {major}:{minor} is refused")
        node = os.makedev(*entry.device)
        self._make(parent, name, lambda: os.mknod(name, stat.S_IFCHR | 0o600, node, dir_fd=parent))

    def _hide(self, directory: bytes, name: bytes) -> None:
        parent = self._parent(directory)
        if name == OPAQUE_MARK:
            self.result.opaque_root |= not directory
            os.setxattr(trees.at(parent), trees.OPAQUE, b"y")
            return
        hidden = name[len(WHITEOUT) :]
        if name.startswith(_AUFS_OWN):
            return
        if hidden in (b"", b".", b".."):
            raise InvalidArchive(f"invalid whiteout {_shown(name)}")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # The layer brings the name itself: its file hides the one below anyway, its directory must not merge.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent, follow_symlinks=False).st_mode):
                os.setxattr(trees.at(parent, hidden), trees.OPAQUE, b"y")

    # ---- means

    def _make(self, parent: int, name: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._clear(parent, name)
            make()

    def _clear(self, parent: int, name: bytes) -> None:
        """Make room for an entry where another one is; what hard links share with it stays."""
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if self._recipe is not None and not trees.is_whiteout(there):
            self._recipe.spoilt = True
        # Open parents may lie below a directory that goes, or have been reached through a link that goes. `parent`
        # itself is in use.
        for path, fd in list(self._parents.items()):
            if fd != parent:
                os.close(self._parents.pop(path))
        trees.remove(name, dir_fd=parent)

    def _dress(self, parent: int, name: bytes, entry: Entry) -> None:
        """Owner, mode, attributes: in this order, as a change of the owner takes set-uid and capabilities away."""
        owner = self._owner or (entry.uid, entry.gid)
        where = trees.at(parent, name)
        if not name:
            os.chown(where, *owner)
            os.chmod(where, entry.mode)
        else:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
            if entry.type != tar.SYMLINK:
                os.chmod(name, entry.mode, dir_fd=parent)
        if entry.xattrs:
            _set_xattrs(where, entry.xattrs, follow=not name)

    def _parent(self, directory: bytes, make: bool = True) -> int:
        """Open until other directories have been asked for many times; the latest two are safe (a link needs both)."""
        fd = self._parents.pop(directory, None)
        if fd is None:
            path = b"/".join(part for part in (self._base, directory) if part)
            fd = self._open_parent(path) if make else self._open_directory(path)
            if len(self._parents) >= _OPEN_PARENTS:
                os.close(self._parents.pop(next(iter(self._parents))))
        self._parents[directory] = fd
        return fd

    def _open_parent(self, path: bytes) -> int:
        try:
            return self._open_directory(path)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            if not self._layer:
                raise
        return self._open_implied(path)

    def _open_implied(self, path: bytes) -> int:
        """Go down from the root, making what is missing; a whiteout on the way becomes an opaque directory."""
        fd = self._open_directory(b"")
        reached = b""
        for part in path.split(b"/"):
            reached = reached + b"/" + part if reached else part
            try:
                below = self._open_or_make(fd, part, reached)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _open_or_make(self, fd: int, part: bytes, reached: bytes) -> int:
        try:
            return self._open_directory(reached)
        except FileNotFoundError:
            self._count_one()  # a name of two thousand directories must not count as one
            os.mkdir(part, 0o755, dir_fd=fd)
            self.result.implied.append(reached)
        except NotADirectoryError:
            if not (self._layer and trees.is_whiteout(os.stat(part, dir_fd=fd, follow_symlinks=False))):
                raise
            self._directory(reached, fd, part)
        return self._open_directory(reached)

    def _open_directory(self, path: bytes) -> int:
        return self._root.open(os.fsdecode(path), os.O_PATH | os.O_DIRECTORY)

    def _set_directory_times(self) -> None:
        """At the end, because whatever is made in a directory changes its time."""
        for path, mtime_ns in self._directory_times.items():
            directory, _, name = path.rpartition(b"/")
            try:
                parent = self._parent(directory, make=False)
                if not name:
                    os.utime(trees.at(parent), ns=_times(mtime_ns))
                elif stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    os.utime(name, ns=_times(mtime_ns), dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                # A later entry took its place or that of a directory above it, perhaps a link to itself.
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise


def clean(name: bytes) -> bytes:
    """A name without `.`, `..`, empty parts and the slash at its front; b"" is the root.

    Raises InvalidArchive for one that climbs above the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidArchive(f"invalid path {_shown(name)}: it leads out of the archive's root")
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def _set_xattrs(where: int | bytes, xattrs: dict[bytes, bytes], follow: bool = True) -> None:
    for name, value in xattrs.items():
        if name.startswith(trees.OVERLAY_XATTRS):
            continue
        try:
            if isinstance(where, int):
                os.setxattr(where, name, value)
            else:
                os.setxattr(where, name, value, follow_symlinks=follow)
        except OSError as error:
            # Attributes of a security module or file system that isn't here (security.selinux) are no loss.
            if error.errno not in (errno.ENOTSUP, errno.EINVAL) or name == b"security.capability":
                raise


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _times(mtime_ns: int) -> tuple[int, int]:
    limit = _MAX_SECONDS * 1_000_000_000
    bounded = max(-limit, min(limit, mtime_ns))
    return bounded, bounded


def _shown(name: bytes) -> str:
    return name[:256].decode("utf-8", "backslashreplace")
