"""The files of a registry: complete blobs by digest, and the place where uploads grow.

    ROOT/index.db                     see index.py
    ROOT/blobs/sha256/ab/abcd…        a blob's bytes; complete whenever it has this name
    ROOT/uploads/UUID                 bytes that have arrived; UUID.json beside it says what they are for
    ROOT/lock                         held by the server

A file comes to `blobs` by rename, after its bytes are on the disk; nothing is ever written there.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from riverport.base.logging import get_logger
from riverport.engine.registry.digests import ALGORITHMS, Digest, algorithm_of, encoded_of, parse_digest
from riverport.engine.registry.errors import DigestInvalid, StorageFailed, StorageFull

log = get_logger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}

_HASH_PIECE_BYTES = 1 << 20


class BlobFiles:
    """Paths and the few operations that must be on the disk when they return."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uploads = root / "uploads"
        self._blobs = root / "blobs"
        for directory in (self.uploads, *(self._blobs / algorithm for algorithm in sorted(ALGORITHMS))):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        encoded = encoded_of(digest)
        return self._blobs / algorithm_of(digest) / encoded[:2] / encoded

    def place(self, source: Path, digest: Digest) -> None:
        """Give a file, whose bytes are on the disk, the name of its digest.

        One of that name is replaced: it has the same bytes, or had them before a disk lost some.
        """
        target = self.path(digest)
        try:
            os.rename(source, target)
        except FileNotFoundError:
            target.parent.mkdir(exist_ok=True)
            os.rename(source, target)
            sync_directory(target.parent.parent)
        sync_directory(target.parent)

    def remove(self, digest: Digest) -> int:
        """Unlink a blob's file; the bytes it had, 0 if there is none."""
        path = self.path(digest)
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            return size
        return 0

    def digests(self) -> Iterator[Digest]:
        """Of all files there are, in no order; what is no blob is passed over."""
        for algorithm in sorted(ALGORITHMS):
            for shelf in _entries(self._blobs / algorithm):
                for name in _entries(self._blobs / algorithm / shelf):
                    with suppress(DigestInvalid):
                        yield parse_digest(f"{algorithm}:{name}")


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def sync_file(path: Path) -> None:
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Bring a rename or a new name in `path` to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def pieces_of(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, in pieces."""
    with open(path, "rb", buffering=0) as file:
        while size > 0:
            piece = file.read(min(size, _HASH_PIECE_BYTES))
            if not piece:
                return
            size -= len(piece)
            yield piece


@contextmanager
def disk_failures() -> Iterator[None]:
    """What the disk does not do becomes StorageFull or StorageFailed; what was there stays readable."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) in _FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        log.error("storage failed", error=str(error))
        raise (StorageFull() if full else StorageFailed()) from error
