"""Mounts inside a shim's mount namespace, where they end with the container, whatever becomes of the daemon.

A thread may join another mount namespace once it has its own idea of root and working directory (unshare(CLONE_FS),
setns(2)). Each piece of work gets a thread that ends with it.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from riverport.engine.linux import mounts, syscalls
from riverport.engine.linux.inroot import Root
from riverport.engine.volumes.local import MountCall

T = TypeVar("T")
_CLONE_FS: Final = 0x200


async def in_namespace(pid: int, act: Callable[[], T]) -> T:
    """What `act` returns or raises, run with the mounts that process `pid` sees."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            syscalls.unshare(_CLONE_FS)
            _join(pid)
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="mounting").start()
    return await asyncio.wrap_future(done)


def _join(pid: int) -> None:
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    finally:
        os.close(namespace)


async def mount(pid: int, call: MountCall, target: Path) -> None:
    """Raises OSError."""
    fstype = None if call.flags & syscalls.MS_BIND else call.fstype

    def act() -> None:
        syscalls.mount(call.source, target, fstype, call.flags, call.data or None)
        # A bind mount takes these flags only when it is mounted again.
        if call.flags & syscalls.MS_BIND and call.flags & ~(syscalls.MS_BIND | syscalls.MS_REC):
            syscalls.mount(None, target, None, call.flags & ~syscalls.MS_REC | syscalls.MS_REMOUNT)

    await in_namespace(pid, act)


async def share(from_pid: int, to_pid: int, place: Path) -> None:
    """Mount at `place` of one namespace what another has there. Raises OSError, also if that has ended."""

    def act() -> None:
        # Now in the namespace of from_pid.
        tree = syscalls.open_tree(syscalls.AT_FDCWD, str(place), syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC)
        try:
            _join(to_pid)
            syscalls.move_mount(tree, place)
        finally:
            os.close(tree)

    await in_namespace(from_pid, act)


def is_directory(base: Path, subpath: str) -> bool:
    """Raises OSError if there is nothing."""
    with Root(base) as inside:
        return stat.S_ISDIR(inside.stat(subpath).st_mode)


async def bind_below(pid: int, base: Path, subpath: str, target: Path) -> None:
    """Bind what lies at `subpath` below `base` to `target`, a directory or a file of the same kind.

    It is opened once and mounted by its descriptor, so that nobody who writes to the volume can lead it elsewhere.
    Raises OSError.
    """

    def act() -> None:
        with Root(base) as inside:
            found = inside.open(subpath, os.O_PATH)
        try:
            syscalls.mount(f"/proc/self/fd/{found}", target, None, syscalls.MS_BIND | syscalls.MS_REC)
        finally:
            os.close(found)

    await in_namespace(pid, act)


async def image(pid: int, layers: list[Path], target: Path) -> None:
    """Mount an image's layers, topmost first, read-only. Raises OSError."""

    def act() -> None:
        if len(layers) == 1:  # an overlay without an upper directory wants two lower ones
            mounts.bind(str(layers[0]), str(target), read_only=True)
        else:
            mounts.mount_overlay([str(layer) for layer in layers], None, None, str(target))

    await in_namespace(pid, act)
