"""System calls that Python 3.11 has no name for, by ctypes: one function each, errors as `OSError`.

`use_errno=True` keeps errno per thread. ctypes gives up the GIL during the call, so a slow mount blocks its own thread
only. Numbers and layouts: man 2, linux/{mount,sched,openat2}.h; numbers above 424 are the same on every architecture.
"""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x04

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_SET_CHILD_SUBREAPER = 36

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def _path(path: str | bytes | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _checked(result: int, about: object = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        if about is None:
            raise OSError(code, os.strerror(code))
        raise OSError(code, os.strerror(code), os.fsdecode(about) if isinstance(about, bytes) else str(about))
    return result


def mount(
    source: str | None,
    target: str | os.PathLike[str],
    fstype: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    """mount(2). `data` must fit one page; `linux.mounts` knows the way around that."""
    place = _path(target)
    _checked(_libc.mount(_path(source), place, _path(fstype), ctypes.c_ulong(flags), _path(data)), place)


def umount(target: str | os.PathLike[str], flags: int = 0) -> None:
    place = _path(target)
    _checked(_libc.umount2(place, flags), place)


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """Join the namespace (or, with a pidfd and an OR of CLONE_NEW*, the namespaces) that `fd` stands for.

    Mount and user namespaces want a single-threaded caller (setns(2), EINVAL).
    """
    _checked(_libc.setns(fd, kind), "setns")


def openat2(directory: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2). With O_PATH or without O_CREAT `mode` must be 0 (EINVAL)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    return _checked(
        _libc.syscall(_SYS_OPENAT2, directory, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))), name
    )


def open_tree(directory: int, path: str, flags: int) -> int:
    """A detached copy of a mount (OPEN_TREE_CLONE), or a handle of one. Needs Linux 5.2."""
    return _checked(_libc.syscall(_SYS_OPEN_TREE, directory, _path(path), flags), path)


def move_mount(mount_fd: int, target: str | os.PathLike[str]) -> None:
    """Attach what `open_tree` or `fsmount` gave."""
    place = _path(target)
    _checked(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH), place)


def fsopen(fstype: str) -> int:
    return _checked(_libc.syscall(_SYS_FSOPEN, _path(fstype), FSOPEN_CLOEXEC), fstype)


def fsconfig(context: int, command: int, key: str | None = None, value: str | None = None) -> None:
    _checked(_libc.syscall(_SYS_FSCONFIG, context, command, _path(key), _path(value), 0), value or key)


def fsmount(context: int, attributes: int = 0) -> int:
    return _checked(_libc.syscall(_SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes), "fsmount")


def syncfs(fd: int) -> None:
    """Write all of the file system that `fd` lies on. Errors of earlier writes are told since Linux 5.8."""
    _checked(_libc.syncfs(fd), "syncfs")


def prctl(option: int, argument: int = 0) -> int:
    return _checked(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0), "prctl")


def set_process_name(name: str) -> None:
    """What `ps -e` shows; 15 bytes at most."""
    _checked(_libc.prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)[:15]), 0, 0, 0), "prctl")


def eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
