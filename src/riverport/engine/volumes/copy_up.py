"""The image's files into a volume that is empty yet: contents, owners, modes, times, attributes, links, devices.

Everything is reached by directory fd and never through a link, since both sides belong to strangers.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from riverport.engine.linux.inroot import Root

_CHUNK: Final = 1 << 30  # copy_file_range does at most 2 GiB at a time
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(root: Path, destination: str, target: Path) -> bool:
    """Copy what the image has at `destination`, inside `root`, into the directory `target`, which must be empty.

    False if it has no directory there. Raises OSError.
    """
    try:
        with Root(root) as inside:
            source = inside.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        with _opened(target, _DIRECTORY) as made:
            _copy_directory(source, made, made, "", {})
    finally:
        os.close(source)
    return True


def _copy_directory(source: int, target: int, top: int, at: str, made: dict[tuple[int, int], str]) -> None:
    """`at` is where `target` lies below `top`; `made` has the first path of each inode, for further links to it."""
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        inode = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            with _opened(name, _DIRECTORY, source) as below, _opened(name, _DIRECTORY, target) as new:
                _copy_directory(below, new, top, f"{at}{name}/", made)
        elif inode in made:
            os.link(made[inode], name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
        else:
            if status.st_nlink > 1:
                made[inode] = at + name
            _copy_entry(source, target, name, status)
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    _copy_attributes(f"/proc/self/fd/{source}/.", f"/proc/self/fd/{target}/.")
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_entry(source: int, target: int, name: str, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISREG(mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            _opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, source) as old,
            _opened(name, flags, target) as new,
        ):
            _copy_content(old, new)
    else:
        os.mknod(name, mode, status.st_rdev, dir_fd=target)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode), dir_fd=target)  # after chown, which takes setuid away
    _copy_attributes(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}")
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_content(old: int, new: int) -> None:
    try:
        while os.copy_file_range(old, new, _CHUNK):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        with open(old, "rb", closefd=False) as reading, open(new, "wb", closefd=False) as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)


def _copy_attributes(source: str, target: str) -> None:
    for name in os.listxattr(source, follow_symlinks=False):
        try:
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # the volume's file system may have no attributes
                raise


@contextmanager
def _opened(path: str | Path, flags: int, directory: int | None = None) -> Iterator[int]:
    fd = os.open(path, flags, 0o600, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)
