"""A container's files as its processes see them: its root with its volumes and bind mounts, whether it runs or not.

A thread gets a mount namespace of its own, made for the one piece of work and gone with the thread. There the volumes
are mounted into the root, so that the kernel follows mounts and links, and read-only mounts refuse writing by
themselves. (unshare(2): a thread that does not share its file system attributes may have its own mount namespace.)
"""

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from riverport.engine.linux import mounts, syscalls
from riverport.engine.linux.inroot import Root
from riverport.engine.volumes.mount_point import BIND, VOLUME, MountPoint

if TYPE_CHECKING:
    from riverport.engine.runtime.model import RootfsLike

T = TypeVar("T")
_CLONE_FS = 0x200


@dataclass(slots=True, frozen=True)
class Place:
    """Where a container's files are: in the namespace of its shim while it runs, in its layers otherwise."""

    rootfs: "RootfsLike"
    points: Sequence[MountPoint]
    shim_pid: int | None = None
    read_only: bool = False  # the root; what is mounted in it has a say of its own


async def look(place: Place, act: Callable[[Root], T]) -> T:
    """What `act` returns or raises; it runs on a thread of its own, with the container's root as its only view."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            syscalls.unshare(_CLONE_FS)
            with _enter(place) as root:
                done.set_result(act(root))
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="container files", daemon=True).start()
    return await asyncio.wrap_future(done)


def _enter(place: Place) -> Root:
    if place.shim_pid is not None:
        namespace = os.open(f"/proc/{place.shim_pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(namespace, syscalls.CLONE_NEWNS)
        finally:
            os.close(namespace)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.make_slave()
    rootfs = place.rootfs
    if place.shim_pid is None:
        lowers = [str(lower) for lower in rootfs.lowers]
        mounts.mount_overlay(lowers, str(rootfs.upper), str(rootfs.work), str(rootfs.merged))
    root = Root(rootfs.merged)
    try:
        for point in place.points:
            if point.type in (BIND, VOLUME) and not point.subpath:
                _mount(root, point)
        if place.read_only:
            flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
            syscalls.mount(None, rootfs.merged, None, flags)
    except BaseException:
        root.close()
        raise
    return root


def _mount(root: Root, point: MountPoint) -> None:
    try:
        source = os.open(point.source, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a bind mount whose directory the first start makes
    try:
        target = _target(root, point.destination, stat.S_ISDIR(os.fstat(source).st_mode))
        try:
            mounts.bind(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", recursive=point.is_recursive)
        finally:
            os.close(target)
        if not point.writable:
            mounted = root.open(point.destination, os.O_PATH)
            try:
                flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
                syscalls.mount(None, f"/proc/self/fd/{mounted}", None, flags)
            finally:
                os.close(mounted)
    finally:
        os.close(source)


def _target(root: Root, destination: str, is_directory: bool) -> int:
    """The mount point, made if the image has none."""
    try:
        return root.open(destination, os.O_PATH)
    except FileNotFoundError:
        if is_directory:
            root.make_dirs(destination)
        else:
            root.make_dirs(os.path.dirname(destination))
            os.close(root.create(destination))
        return root.open(destination, os.O_PATH)


def outside(path: str | Path) -> str:
    """A path as a container means it: absolute, without `..`; a slash or a dot at its end, which follow links, stay."""
    text = str(path)
    clean = os.path.normpath("/" + text.lstrip("/"))
    if clean != "/" and text.endswith("/."):
        return clean + "/."
    return clean + "/" if clean != "/" and text.endswith("/") else clean
