"""Directories as trees, by directory fd: removing them however deep they are, and their attributes.

A container can nest directories deeper than a path may be long, and deeper than Python recurses or than there are file
descriptors; what it made must still go. So removal climbs by `..` instead of holding every level open.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

OPAQUE: Final = b"trusted.overlay.opaque"
OVERLAY_XATTRS: Final = (b"trusted.overlay.", b"user.overlay.")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_XATTRS: Final = frozenset({errno.ENOTSUP, errno.EPERM, errno.EINVAL})


def remove(path: Path | bytes, dir_fd: int | None = None) -> None:
    """`rm -rf`; links are removed, not followed, and what is absent is fine."""
    try:
        if not stat.S_ISDIR(os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            os.unlink(path, dir_fd=dir_fd)
            return
        _empty(os.open(path, _DIRECTORY, dir_fd=dir_fd))
        os.rmdir(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def _empty(fd: int) -> None:
    """Remove everything below the directory; closes `fd`. Nobody else may move directories in there meanwhile."""
    names = [b""]  # of the directories gone into, from the top
    try:
        while names:
            deeper = _unlink_files(fd)
            if deeper:
                child = os.open(deeper, _DIRECTORY, dir_fd=fd)
                names.append(deeper)
            elif len(names) == 1:
                return
            else:
                child = os.open(b"..", _DIRECTORY, dir_fd=fd)
                os.rmdir(names.pop(), dir_fd=child)
            os.close(fd)
            fd = child
    finally:
        os.close(fd)


def _unlink_files(fd: int) -> bytes:
    """Remove what is no directory and what is an empty one; the name of a directory that is not empty, if any."""
    deeper = b""
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(name, dir_fd=fd)
                continue
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                deeper = name
    return deeper


def read_xattrs(path: str | bytes | int) -> dict[bytes, bytes]:
    """All of a file's, overlayfs's own too; of a path the last part is not followed."""
    try:
        names = os.listxattr(path, follow_symlinks=False) if not isinstance(path, int) else os.listxattr(path)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise
    if isinstance(path, int):
        return {os.fsencode(name): os.getxattr(path, name) for name in names}
    return {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}


def is_whiteout(status: os.stat_result) -> bool:
    """A character device 0:0 says that the name is gone, whatever is below (overlayfs.rst, "whiteouts")."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: str | bytes) -> bool:
    """Of a directory: nothing of the layers below shows through."""
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, *_NO_XATTRS):
            return False
        raise


def at(dir_fd: int, name: bytes = b"") -> bytes:
    """A path for calls that know no `dir_fd` (xattrs); an O_PATH descriptor will do."""
    return b"/proc/self/fd/%d/%b" % (dir_fd, name) if name else b"/proc/self/fd/%d" % dir_fd
