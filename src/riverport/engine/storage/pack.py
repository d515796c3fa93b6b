"""A directory as a tar archive: what a container has changed as a layer, or a whole root as plain files.

Names are sorted, hard links point to the first of their names, sockets are left out, and times are cut to seconds, as
in Docker's layers; the same directory always gives the same bytes.
"""

import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from riverport.engine.errors import SystemFailure
from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage import trees
from riverport.engine.storage.lowers import Lowers
from riverport.engine.storage.recipe import RecipeWriter
from riverport.engine.storage.tar_writer import END, header, padding
from riverport.engine.storage.unpack import OPAQUE_MARK, WHITEOUT

MAX_DEPTH: Final = 1024
_READ: Final = 1 << 18
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A file that became a fifo a moment ago must not hang the reader.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TYPES: Final = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}


class Packer:
    """Iterate over it once, for the archive in pieces.

    `lowers` are the layers below, topmost first: given, whiteouts and opaque directories are written in the form of
    layers; None: the directory is packed as it is, below `prefix`. `recipe` is told how to write the same archive
    again.
    """

    def __init__(
        self,
        root: Path | str,
        lowers: Sequence[Path] | None = None,
        recipe: RecipeWriter | None = None,
        skip: Callable[[bytes], bool] | None = None,
        prefix: bytes = b"",
    ) -> None:
        self.size = 0
        """Bytes of regular files, each counted once."""
        self._root = root
        self._lowers = Lowers.of(lowers) if lowers is not None else None
        self._recipe = recipe
        self._skip = skip
        self._prefix = prefix
        self._linked: dict[tuple[int, int], bytes] = {}

    def __iter__(self) -> Iterator[bytes]:
        levels = [_Level(os.open(self._root, _DIRECTORY), self._prefix, self._lowers)]
        try:
            while levels:
                name = levels[-1].next()
                if name is None:
                    os.close(levels.pop().fd)
                    continue
                below = yield from self._entry(levels[-1], name)
                if below is not None:
                    levels.append(below)
                    if len(levels) > MAX_DEPTH:
                        raise SystemFailure(f"directories are nested deeper than {MAX_DEPTH}")
        finally:
            for level in levels:
                os.close(level.fd)
        yield self._raw(END)

    def _entry(self, level: "_Level", name: bytes) -> Generator[bytes, None, "_Level | None"]:
        """One name's part of the archive; returns the level below it if it is a directory."""
        path = level.path + b"/" + name if level.path else name
        if self._skip is not None and self._skip(path):
            return None
        try:
            status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None  # of a running container
        if level.lowers is not None and trees.is_whiteout(status):
            if level.lowers.find(name) is not None:
                hidden = level.path + b"/" + WHITEOUT + name if level.path else WHITEOUT + name
                yield self._raw(header(tar.Entry(hidden, tar.REGULAR, mode=0)))
            return None
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        entry = _entry_of(path, kind, status)
        if kind == tar.REGULAR:
            yield from self._regular(entry, status, level.fd, name)
            return None
        entry.xattrs = _xattrs(trees.at(level.fd, name))
        if kind == tar.SYMLINK:
            entry.link = os.readlink(name, dir_fd=level.fd)
        yield self._raw(header(entry))
        if kind != tar.DIRECTORY:
            return None
        below = level.lowers.enter(name) if level.lowers is not None else None
        if below is not None and below.directories and trees.is_opaque(trees.at(level.fd, name)):
            yield self._raw(header(tar.Entry(path + b"/" + OPAQUE_MARK, tar.REGULAR, mode=0)))
        return _Level(os.open(name, _DIRECTORY, dir_fd=level.fd), path, below)

    def _regular(self, entry: tar.Entry, status: os.stat_result, parent: int, name: bytes) -> Iterator[bytes]:
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), entry.name)
            if first != entry.name:
                entry.type, entry.link, entry.size = tar.LINK, first, 0
                yield self._raw(header(entry))
                return
        fd = os.open(name, _FILE, dir_fd=parent)
        try:
            entry.xattrs = _xattrs(fd)
            yield self._raw(header(entry))
            if not entry.size:
                return
            yield from _content(fd, entry.size)
        finally:
            os.close(fd)
        self.size += entry.size
        if self._recipe is not None:
            self._recipe.file(entry.name, 0, entry.size)
        if entry.size % tar.BLOCK:
            yield self._raw(padding(entry.size))

    def _raw(self, data: bytes) -> bytes:
        if self._recipe is not None:
            self._recipe.raw(data)
        return data


class _Level:
    """A directory that is being packed."""

    def __init__(self, fd: int, path: bytes, lowers: Lowers | None) -> None:
        self.fd = fd
        self.path = path
        self.lowers = lowers
        self._names = sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)

    def next(self) -> bytes | None:
        return self._names.pop() if self._names else None


class Pieces:
    """Pieces of bytes as a source."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""

    def read(self, size: int) -> bytes:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = piece
        data, self._piece = self._piece[:size], self._piece[size:]
        return data


def _entry_of(path: bytes, kind: bytes, status: os.stat_result) -> tar.Entry:
    device = kind in (tar.CHARACTER, tar.BLOCK_DEVICE)
    return tar.Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size if kind == tar.REGULAR else 0,
        status.st_mtime_ns,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else (0, 0),
    )


def _xattrs(where: int | bytes) -> dict[bytes, bytes]:
    found = trees.read_xattrs(where)
    return {key: value for key, value in found.items() if not key.startswith(trees.OVERLAY_XATTRS) and b"=" not in key}


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever a running container does to the file meanwhile."""
    left = size
    while left:
        data = os.read(fd, min(left, _READ))
        if not data:
            break
        left -= len(data)
        yield data
    while left:
        yield bytes(min(left, _READ))
        left -= min(left, _READ)
