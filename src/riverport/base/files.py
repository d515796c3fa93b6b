"""Files behind an interface, so that the simulator's disk runs the same code as the machine's.

Only what a log needs: append chunks, read at a position, sync, truncate, atomic replacement. Every failure of the
system is a `StorageError` that names the operation and the path; nothing else leaves this module.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from riverport.base.reserve import reserve

Buffer = bytes | bytearray | memoryview
_IOV_MAX = 512
LARGE_APPEND = 64 * 1024
"""Appends of this size and more get room reserved ahead of them."""
RESERVE_LEAST, RESERVE_MOST = 1 << 20, 16 << 20
"""As much is reserved as the file has already, within these bounds: a file that stays small reserves nothing."""


class StorageError(Exception):
    """The disk did not do what was asked: `operation` on `path`, `errno` as the system gave it (0 if it gave none)."""

    def __init__(self, operation: str, path: str = "", number: int = 0, reason: str = "") -> None:
        text = f"{operation} {path}: {reason or os.strerror(number)}" if path else operation
        super().__init__(text)
        self.operation = operation
        self.path = path
        self.errno = number


class FileSlice:
    """A stretch of an open file, to be sent without being read. `hold` keeps it usable when the file is closed."""

    __slots__ = ("_file", "_held_fd", "path", "position", "size")

    def __init__(self, file: "OsFile", size: int, position: int) -> None:
        self.path = file.path
        self.size = size
        self.position = position
        self._file = file
        self._held_fd = -1

    def __len__(self) -> int:
        return self.size

    @property
    def _fd(self) -> int:
        """The file's own where it is not held: that of a closed file is -1, and not by now another file's."""
        return self._file.fileno() if self._held_fd < 0 else self._held_fd

    def read(self) -> bytes:
        try:
            return os.pread(self._fd, self.size, self.position)
        except OSError as error:
            raise _failure("read", self.path, error) from error

    def send(self, socket_fd: int, most: int) -> int:
        """Send some of it, and keep the rest; returns the bytes sent. Raises OSError, of socket or file."""
        sent = os.sendfile(socket_fd, self._fd, self.position, min(self.size, most))
        if sent == 0:
            raise OSError(errno.EIO, f"{self.path} ends before {self.position + self.size}")
        self.position += sent
        self.size -= sent
        return sent

    def hold(self) -> None:
        if self._held_fd < 0:
            self._held_fd = os.dup(self._fd)

    def release(self) -> None:
        if self._held_fd >= 0:
            os.close(self._held_fd)
            self._held_fd = -1


class File(Protocol):
    """An open file. Not shared between threads, except `sync`, which a thread may call while the loop appends."""

    path: str

    def append(self, chunks: Sequence[Buffer]) -> int:
        """Write all chunks at the end; returns the bytes written. A failed append leaves the old end (see `size`)."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        ...

    def slice(self, size: int, offset: int) -> FileSlice | bytes:
        """Bytes that are there, to be sent: not read where a file can be sent from. Good until the file is closed."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def trim(self) -> None:
        """No more is appended for now: give back room that was reserved behind the end. Also done by `close`."""
        ...

    def sync(self) -> None:
        """Bring the content to the disk (fdatasync)."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    """A file system. Directory listings are sorted."""

    def open(self, path: str, *, create: bool = False) -> File: ...
    def exists(self, path: str) -> bool: ...
    def size(self, path: str) -> int: ...
    def listdir(self, path: str) -> list[str]: ...
    def is_dir(self, path: str) -> bool: ...
    def mkdir(self, path: str) -> None: ...
    def read(self, path: str) -> bytes: ...
    def write(self, path: str, content: Buffer, *, sync: bool = True) -> None: ...
    def replace(self, path: str, content: Buffer, *, mode: int = 0o644) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def remove(self, path: str) -> None: ...
    def rmtree(self, path: str) -> None: ...
    def sync_dir(self, path: str) -> None: ...
    def lock(self, path: str) -> Any: ...
    def disk_usage(self, path: str) -> tuple[int, int]: ...


def _failure(operation: str, path: str, error: OSError) -> StorageError:
    return StorageError(operation, path, error.errno or 0, error.strerror or str(error))


@contextlib.contextmanager
def _wrapped(operation: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failure(operation, path, error) from error


class OsFile:
    """A file of the operating system; the end is kept here, so that a failed append can be taken back."""

    __slots__ = ("_end", "_fd", "_reserved", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._reserved = 0  # up to where room was asked for
        self._end = os.lseek(fd, 0, os.SEEK_END)

    # `append` and `pread` have no `with _wrapped(...)`: it takes 1.5 us, a tenth of what a small append takes in all.

    def append(self, chunks: Sequence[Buffer]) -> int:
        wanted = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        if wanted >= LARGE_APPEND and self._end + wanted > self._reserved:
            self._reserve(self._end + wanted)
        try:
            written = self._write(chunks, wanted)
        except OSError as error:
            raise _failure("write", self.path, error) from error
        self._end += written
        return written

    def _reserve(self, end: int) -> None:
        """Room for an append up to `end`, and for those behind it."""
        if end >= RESERVE_LEAST:
            self._reserved = end + min(end, RESERVE_MOST)
            reserve(self._fd, self._end, self._reserved - self._end)

    def _write(self, chunks: Sequence[Buffer], wanted: int) -> int:
        fd, end = self._fd, self._end
        try:
            if len(chunks) <= _IOV_MAX:
                done = os.pwritev(fd, chunks, end)
                if done == wanted:
                    return done
            # A short write (signal, nearly full disk): go on from where it stopped, or fail with the system's reason.
            left = memoryview(b"".join(chunks))
            done = 0
            while done < wanted:
                done += os.pwrite(fd, left[done:], end + done)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, end)
            raise
        return done

    def pread(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise _failure("read", self.path, error) from error

    def slice(self, size: int, offset: int) -> FileSlice:
        return FileSlice(self, size, offset)

    def fileno(self) -> int:
        return self._fd

    def size(self) -> int:
        return self._end

    def truncate(self, size: int) -> None:
        with _wrapped("truncate", self.path):
            os.ftruncate(self._fd, size)
            self._end = size
            self._reserved = 0

    def trim(self) -> None:
        if self._reserved > self._end:
            self.truncate(self._end)

    def sync(self) -> None:
        with _wrapped("sync", self.path):
            if self._fd < 0:
                # Unlike the other calls, fdatasync has no errno for this.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(StorageError):
                self.trim()  # what cannot be given back now is when the log is recovered
            with _wrapped("close", self.path):
                os.close(self._fd)
            self._fd = -1


class OsFiles:
    """The file system of the machine."""

    file_type = OsFile

    def open(self, path: str, *, create: bool = False) -> File:
        with _wrapped("open", path):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
            return self.file_type(path, fd)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        with _wrapped("stat", path):
            return os.stat(path).st_size

    def listdir(self, path: str) -> list[str]:
        with _wrapped("list", path):
            return sorted(os.listdir(path))

    def mkdir(self, path: str) -> None:
        with _wrapped("mkdir", path):
            try:
                os.mkdir(path)
            except OSError:
                os.makedirs(path, exist_ok=True)

    def read(self, path: str) -> bytes:
        with _wrapped("read", path), open(path, "rb", buffering=0) as file:
            return file.readall()

    def write(self, path: str, content: Buffer, *, sync: bool = True) -> None:
        with _wrapped("write", path), open(path, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def replace(self, path: str, content: Buffer, *, mode: int = 0o644) -> None:
        """Write `path`.tmp, sync it, and rename it over `path`: readers see the old or the new, never a part."""
        temporary = path + ".tmp"
        self.write(temporary, content)
        with _wrapped("rename", path):
            if mode != 0o644:
                os.chmod(temporary, mode)
            os.replace(temporary, path)
        self.sync_dir(os.path.dirname(path))

    def rename(self, old: str, new: str) -> None:
        with _wrapped("rename", old):
            os.replace(old, new)

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""
        with _wrapped("remove", path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def rmtree(self, path: str) -> None:
        with _wrapped("remove", path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def sync_dir(self, path: str) -> None:
        with _wrapped("sync", path):
            fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def lock(self, path: str) -> "OsLock":
        return OsLock(path)

    def disk_usage(self, path: str) -> tuple[int, int]:
        """(total, free for this user) bytes of the file system that holds `path`."""
        with _wrapped("stat", path):
            found = os.statvfs(path)
            return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail


class OsLock:
    """An exclusive lock on a file, held until `release` or the end of the process."""

    def __init__(self, path: str) -> None:
        self.path = path
        with _wrapped("open", path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError("lock", path, error.errno, "another process is using this directory") from error
            raise StorageError("lock", path, error.errno or 0) from error

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
