"""Paths that are resolved inside a root: whatever links an image holds, nothing leads out of it.

The kernel does the resolving (openat2 with RESOLVE_IN_ROOT, Linux 5.6): `..` stops at the root, absolute links start
at it, magic links (/proc/…/fd) are refused. Resolving by hand and then opening would be a race with whoever writes
into the container at that moment.

What changes a name (mkdir, symlink, unlink …) resolves the *parent* inside the root and then works on the last part by
directory fd, so that the last part is never followed. `follow` says where it is.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from riverport.engine.linux import syscalls

_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_RETRIES = 32  # openat2 answers EAGAIN where a rename elsewhere made `..` uncertain


class Root:
    """An open directory that is `/` for every path given to it. Close it, or use it in `with`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "Root":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # ---- looking

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0, *, follow: bool = True) -> int:
        """A file descriptor (close-on-exec). Raises OSError: ENOENT, ELOOP (not followed), ENOTDIR …"""
        if not follow:
            flags |= os.O_NOFOLLOW
        for _ in range(_RETRIES):
            try:
                return syscalls.openat2(self.fd, path or ".", flags, mode, _RESOLVE)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        fd = self.open(path, os.O_PATH, follow=follow)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def exists(self, path: str, *, follow: bool = True) -> bool:
        try:
            self.stat(path, follow=follow)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True

    def readlink(self, path: str) -> str:
        with self.parent(path) as (directory, name):
            return os.readlink(name, dir_fd=directory)

    def listdir(self, path: str) -> list[str]:
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def read_bytes(self, path: str, limit: int = 16 * 1024 * 1024) -> bytes:
        """At most `limit` bytes of a regular file; a device or fifo is refused, so that reading never hangs."""
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return file.read(limit) or b""

    def real_path(self, path: str, *, follow: bool = True) -> str:
        """Where `path` leads to, as an absolute path inside the root. True at the moment of asking only."""
        fd = self.open(path, os.O_PATH, follow=follow)
        try:
            inner = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        top = os.readlink(f"/proc/self/fd/{self.fd}")
        if top == "/":
            return inner
        return inner[len(top) :] or "/"

    # ---- changing

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """(directory fd, last part) of `path`, the directory resolved inside the root, the last part not looked at.

        A path without a last part (`/`, `..`, empty) raises EINVAL.
        """
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        fd = self.open(head or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def create(self, path: str, mode: int = 0o644) -> int:
        """A new or emptied regular file, open for writing; a link in the last place is refused (ELOOP)."""
        with self.parent(path) as (directory, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, mode, dir_fd=directory)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        with self.parent(path) as (directory, name):
            os.mkdir(name, mode, dir_fd=directory)

    def make_dirs(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Like `mkdir -p`: what is missing is made, with `owner`; links on the way are followed inside the root."""
        reached = ""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            reached = f"{reached}/{part}"
            try:
                fd = self.open(reached, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                if part == "..":
                    raise
                self._make_dir(reached, mode, owner)
            else:
                os.close(fd)

    def _make_dir(self, path: str, mode: int, owner: tuple[int, int] | None) -> None:
        with self.parent(path) as (directory, name):
            try:
                os.mkdir(name, mode, dir_fd=directory)
            except FileExistsError:
                # Either somebody was faster, or a dangling link stands here: make where it points to.
                target = self._link_target(directory, name)
                if target is None:
                    return
                head = path.rpartition("/")[0]
                self.make_dirs(target if target.startswith("/") else f"{head}/{target}", mode, owner)
                return
            os.chmod(name, mode, dir_fd=directory)  # in spite of the umask
            if owner is not None:
                os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)

    @staticmethod
    def _link_target(directory: int, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=directory)
        except OSError:
            return None

    def symlink(self, target: str, path: str) -> None:
        with self.parent(path) as (directory, name):
            os.symlink(target, name, dir_fd=directory)

    def link(self, source: str, path: str) -> None:
        """A hard link to `source` itself, also where that is a symbolic link."""
        with self.parent(source) as (from_fd, from_name), self.parent(path) as (to_fd, to_name):
            os.link(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)

    def mknod(self, path: str, mode: int, device: int = 0) -> None:
        with self.parent(path) as (directory, name):
            os.mknod(name, mode, device, dir_fd=directory)
            os.chmod(name, stat.S_IMODE(mode), dir_fd=directory)

    def lchown(self, path: str, uid: int, gid: int) -> None:
        with self.parent(path) as (directory, name):
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        with self.parent(path) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def rmdir(self, path: str) -> None:
        with self.parent(path) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def rename(self, source: str, path: str) -> None:
        with self.parent(source) as (from_fd, from_name), self.parent(path) as (to_fd, to_name):
            os.rename(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def remove_tree(self, path: str) -> None:
        """`rm -rf`: absent is fine; links are removed, not followed; other file systems are not spared."""
        try:
            with self.parent(path) as (directory, name):
                _remove(directory, name)
        except FileNotFoundError:
            return


def _remove(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError) as error:
        # unlink(2) of a directory: EISDIR on Linux, EPERM by POSIX.
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise error
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        for entry in os.listdir(fd):
            _remove(fd, entry)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)
