"""Files from one tree into another: what COPY and ADD do in an image's root.

Directories merge, all else replaces what is there; a directory as a source gives its content, never itself. Times are
kept to the second, as they would be through a tar. Set-uid and set-gid (with group execution) of files go unless each
file keeps its owner. New parents are made with 0755. Everything is done by directory
file descriptors inside the two roots, so that no link in an image leads out of it.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from riverport.engine.build.dockerignore import NOTHING, Ignore
from riverport.engine.build.sources import check_depth, real_path
from riverport.engine.linux.inroot import Root
from riverport.engine.storage import trees

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class Manner:
    """`owner` None keeps each file's own; `mode` is what `--chmod` makes of a mode, given whether of a directory."""

    owner: tuple[int, int] | None = (0, 0)
    mode: Callable[[int, bool], int] | None = None
    exclude: Ignore = NOTHING


class Copier:
    """One COPY into `target`; knows the hard links of what it has copied."""

    def __init__(self, source: Root, target: Root, manner: Manner) -> None:
        self._source = source
        self._target = target
        self._manner = manner
        self._seen: dict[tuple[int, int], str] = {}

    def directory(self, path: str, target: str) -> None:
        """The content of the directory `path` into `target`, which is made if it is missing."""
        target = real_path(self._target, target)
        there = target == "" or self._target.exists(target)
        self._target.make_dirs(target)
        if not there and self._manner.owner is not None:
            self._target.lchown(target, *self._manner.owner)
        if not there and self._manner.mode is not None:
            with self._target.parent(target) as (directory, name):
                os.chmod(name, self._manner.mode(0o755, True), dir_fd=directory)
        source = self._source.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            into = self._target.open(target or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._content(source, into, "", target)
            finally:
                os.close(into)
        finally:
            os.close(source)

    def file(self, path: str, name: str, target: str) -> None:
        """The one entry `path`; into `target` as `name` if that is a directory or ends in "/", else in its place."""
        target = self._place(name, target)
        if self._manner.exclude.matches(name):
            return
        with self._source.parent(path) as (source, source_name), self._target.parent(target) as (into, target_name):
            self._entry(source, source_name, into, target_name, target)

    def text(self, content: bytes, name: str, target: str) -> None:
        """A here-document as a file, 0644."""
        target = self._place(name, target)
        with self._target.parent(target) as (into, target_name):
            trees.remove(os.fsencode(target_name), dir_fd=into)
            fd = os.open(target_name, _NEW_FILE, 0o600, dir_fd=into)
            try:
                _write(fd, content)
                self._dress_file(fd, os.fstat(fd), 0o644)
            finally:
                os.close(fd)

    def _place(self, name: str, target: str) -> str:
        resolved = real_path(self._target, target)
        if target.endswith("/") or resolved == "" or self._is_directory(resolved):
            resolved = f"{resolved}/{name}".lstrip("/")
        self._target.make_dirs(os.path.dirname(resolved), owner=self._manner.owner)
        return resolved

    def _is_directory(self, path: str) -> bool:
        return self._target.exists(path) and stat.S_ISDIR(self._target.stat(path).st_mode)

    def _content(self, source: int, into: int, below: str, target: str) -> None:
        check_depth(below)
        for name in sorted(os.listdir(source)):
            path = f"{below}/{name}" if below else name
            if self._manner.exclude.matches(path):
                # A pattern with "!" may bring back what lies deeper.
                self._excluded(source, into, name, path, target)
                continue
            self._entry(source, name, into, name, f"{target}/{name}" if target else name, path)

    def _excluded(self, source: int, into: int, name: str, path: str, target: str) -> None:
        if not self._manner.exclude.takes_back:
            return
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and self._holds_wanted(source, name, path):
            self._directory(source, name, into, name, f"{target}/{name}" if target else name, path, status)

    def _holds_wanted(self, source: int, name: str, path: str) -> bool:
        fd = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            for child in os.listdir(fd):
                if not self._manner.exclude.matches(f"{path}/{child}"):
                    return True
                deeper = stat.S_ISDIR(os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode)
                if deeper and self._holds_wanted(fd, child, f"{path}/{child}"):
                    return True
        finally:
            os.close(fd)
        return False

    def _entry(self, source: int, source_name: str, into: int, name: str, target: str, path: str = "") -> None:
        status = os.stat(source_name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._directory(source, source_name, into, name, target, path, status)
            return
        if stat.S_ISSOCK(status.st_mode):
            return
        trees.remove(os.fsencode(name), dir_fd=into)
        linked = self._seen.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
        if linked is not None:
            with self._target.parent(linked) as (directory, last):
                os.link(last, name, src_dir_fd=directory, dst_dir_fd=into, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            self._regular(source, source_name, into, name, status)
        else:
            self._special(source, source_name, into, name, status)
        if status.st_nlink > 1:
            self._seen[status.st_dev, status.st_ino] = target

    def _regular(self, source: int, source_name: str, into: int, name: str, status: os.stat_result) -> None:
        reading = os.open(source_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=into)
            try:
                _copy_bytes(reading, fd, status.st_size)
                self._dress_file(fd, status, status.st_mode)
                # A change of owner takes capabilities away, so only files that keep theirs keep these.
                if self._manner.owner is None:
                    with suppress(OSError):
                        os.setxattr(fd, _CAPABILITY, os.getxattr(reading, _CAPABILITY))
                os.utime(fd, ns=_times(status))
            finally:
                os.close(fd)
        finally:
            os.close(reading)

    def _dress_file(self, fd: int, status: os.stat_result, mode: int) -> None:
        os.fchown(fd, *(self._manner.owner or (status.st_uid, status.st_gid)))
        os.fchmod(fd, self._mode(mode, False))
        if self._manner.owner is not None and self._manner.mode is None:
            # Docker's builder gives the file away when it has its mode, and so takes set-uid from it.
            os.fchown(fd, *self._manner.owner)

    def _special(self, source: int, source_name: str, into: int, name: str, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source_name, dir_fd=source), name, dir_fd=into)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=into)
        owner = self._manner.owner or (status.st_uid, status.st_gid)
        os.chown(name, *owner, dir_fd=into, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, self._mode(status.st_mode, False), dir_fd=into)
        os.utime(name, ns=_times(status), dir_fd=into, follow_symlinks=False)

    def _directory(
        self, source: int, source_name: str, into: int, name: str, target: str, path: str, status: os.stat_result
    ) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=into)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=into, follow_symlinks=False).st_mode):
                trees.remove(os.fsencode(name), dir_fd=into)
                os.mkdir(name, 0o755, dir_fd=into)
        reading = os.open(source_name, _DIRECTORY, dir_fd=source)
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=into)
            try:
                self._content(reading, fd, path, target)
                os.fchown(fd, *(self._manner.owner or (status.st_uid, status.st_gid)))
                os.fchmod(fd, self._mode(status.st_mode, True))
                os.utime(fd, ns=_times(status))
            finally:
                os.close(fd)
        finally:
            os.close(reading)

    def _mode(self, mode: int, is_directory: bool) -> int:
        mode = stat.S_IMODE(mode)
        return mode if self._manner.mode is None else self._manner.mode(mode, is_directory)


def _copy_bytes(source: int, target: int, size: int) -> None:
    offset = 0
    while offset < size:
        try:
            copied = os.copy_file_range(source, target, min(size - offset, 1 << 30))
        except OSError:
            # Not between all file systems: go on by hand from where it stopped.
            while data := os.read(source, _CHUNK):
                _write(target, data)
            return
        if not copied:
            return
        offset += copied


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _times(status: os.stat_result) -> tuple[int, int]:
    seconds = int(status.st_mtime_ns // 10**9) * 10**9
    return seconds, seconds
