"""`cp` in both directions and `export`: a container's files as tar archives.

Paths are the container's and links in them lead no further than its root (`linux/inroot.py`); the last part of a path
is taken as it is, a link included, unless a slash or `/.` follows it. Open directories are handed on as
/proc/self/fd/N/. because a path that is a link itself is refused there.
"""

import base64
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from riverport.engine.containers.file_view import outside
from riverport.engine.containers.times import rfc3339
from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.inroot import Root
from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage.compression import decompressed
from riverport.engine.storage.pack import Packer
from riverport.engine.storage.tar_reader import Entry, Source, TarReader
from riverport.engine.storage.tar_writer import header
from riverport.engine.storage.unpack import Unpacker, clean

STAT_HEADER = "X-Docker-Container-Path-Stat"

# Bits of Go's os.FileMode that Unix keeps elsewhere in a mode.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


class NoSuchFile(Exception):
    """The path leads nowhere; whoever knows the container's name says so in Docker's words."""


def go_mode(mode: int) -> int:
    """A Unix mode as Go's os.FileMode writes it."""
    value = mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    for bit, go_bit in _GO_BITS.items():
        if mode & bit:
            value |= go_bit
    return value


@dataclass(slots=True, frozen=True)
class PathStat:
    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "mode": go_mode(self.mode), "mtime": rfc3339(self.mtime_ns),
                "linkTarget": self.link_target}  # fmt: skip

    def header(self) -> str:
        return base64.b64encode(json.dumps(self.document()).encode()).decode()


def _found(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise NoSuchFile() from error
        raise


def stat_path(root: Root, path: str) -> PathStat:
    """Raises NoSuchFile."""
    path = outside(path)
    follows = path.endswith(("/", "/."))
    status: os.stat_result = _found(lambda: root.stat(path, follow=follows))
    target = ""
    if stat.S_ISLNK(status.st_mode):
        target = _link_target(root, path)
    return PathStat(
        os.path.basename(path.rstrip("/")) or "/", status.st_size, status.st_mode, status.st_mtime_ns, target
    )


def _link_target(root: Root, path: str) -> str:
    """Where the link leads, as an absolute path in the container; as far as it goes if it dangles."""
    try:
        return root.real_path(path)
    except OSError:
        return os.path.normpath(os.path.join(os.path.dirname(path), root.readlink(path)))


def archive_path(root: Root, path: str) -> Iterator[bytes]:
    """The archive of one file, or of a directory and what is in it, under the last part of its name."""
    path = outside(path)
    found = stat_path(root, path)
    if not found.is_directory:
        directory, _, name = path.rpartition("/")
        wanted = name.encode("utf-8", "surrogateescape")
        fd = _found(lambda: root.open(directory or "/", os.O_PATH | os.O_DIRECTORY))
        try:
            yield from Packer(f"/proc/self/fd/{fd}/.", skip=lambda entry: entry != wanted)
        finally:
            os.close(fd)
        return
    prefix = os.path.basename(path).encode("utf-8", "surrogateescape")
    fd = _found(lambda: root.open(path, os.O_RDONLY | os.O_DIRECTORY))
    try:
        status = os.fstat(fd)
        yield header(Entry(prefix or b"/", tar.DIRECTORY, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
                           mtime_ns=status.st_mtime_ns))  # fmt: skip
        yield from Packer(f"/proc/self/fd/{fd}/.", prefix=prefix)
    finally:
        os.close(fd)


def export_root(root: Root, skip: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Everything the container has by itself."""
    yield from Packer(f"/proc/self/fd/{root.fd}/.", skip=skip)


def extract(
    root: Root, path: str, source: Source, *, keep_kinds: bool = False, owner: tuple[int, int] | None = None
) -> None:
    """Unpack an archive (plain or packed) into an existing directory.

    `keep_kinds` refuses to put a file where a directory is, and the other way round. Raises NoSuchFile and
    InvalidParameter; OSError with EROFS where the place is read-only.
    """
    path = outside(path)
    status: os.stat_result = _found(lambda: root.stat(path))
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidParameter("extraction point is not a directory")
    base = root.real_path(path)
    _check_writable(root, base)
    plain = decompressed(source)
    reader = _KindKeeper(plain, root, base) if keep_kinds else TarReader(plain)
    unpacker = Unpacker(root, base.encode("utf-8", "surrogateescape"), layer=False, owner=owner)
    try:
        unpacker.run(reader)
    finally:
        unpacker.close()


def _check_writable(root: Root, base: str) -> None:
    """Raises EROFS before the archive is read, so that an empty one is refused too."""
    fd = root.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.statvfs(fd).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), base)
    finally:
        os.close(fd)


class _KindKeeper(TarReader):
    def __init__(self, source: Source, root: Root, base: str) -> None:
        super().__init__(source)
        self._inside = root
        self._base = base.rstrip("/")

    def __iter__(self) -> Iterator[Entry]:
        for entry in super().__iter__():
            self._check(entry)
            yield entry

    def _check(self, entry: Entry) -> None:
        name = f"{self._base}/{clean(entry.name).decode('utf-8', 'surrogateescape')}"
        try:
            there = stat.S_ISDIR(self._inside.stat(name, follow=False).st_mode)
        except OSError:
            return
        is_directory = entry.type == tar.DIRECTORY
        if there and not is_directory:
            raise InvalidParameter(f'cannot overwrite directory "{name}" with non-directory "{self._base or "/"}"')
        if is_directory and not there:
            raise InvalidParameter(f'cannot overwrite non-directory "{name}" with directory "{self._base or "/"}"')
