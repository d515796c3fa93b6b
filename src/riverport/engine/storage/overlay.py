"""Overlay mounts that hang on nothing but a file descriptor.

Such a mount is in no directory and in nobody's list of mounts; it is reached as /proc/self/fd/N, and ends when the last
descriptor is closed, the daemon's end included. So looking into a stopped container can leave nothing behind.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from riverport.engine.linux import syscalls

OPTIONS: Final = ("index=off", "metacopy=off", "redirect_dir=off")
"""A layer must say on its own what it changes: no file or directory that refers to one below by name."""


def detached(lowers: Sequence[Path], upper: Path | None, work: Path | None) -> int:
    """A descriptor of the mount's root. `lowers` topmost first; without `upper` it is read-only.

    Linux 6.5 (lowerdir+); without it see `attached_for_a_moment`.
    """
    context = syscalls.fsopen("overlay")
    try:
        _set(context, "source", "overlay")
        for lower in lowers:
            _set(context, "lowerdir+", str(lower))
        if upper is not None and work is not None:
            _set(context, "upperdir", str(upper))
            _set(context, "workdir", str(work))
        for option in OPTIONS:
            _set(context, *option.split("="))
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context)
    finally:
        os.close(context)


def attached_for_a_moment(lowers: Sequence[Path], upper: Path | None, work: Path | None, place: Path) -> int:
    """The same on older kernels: mounted at `place`, opened, and taken off at once."""
    options = ["lowerdir=" + ":".join(str(lower) for lower in lowers), *OPTIONS]
    if upper is not None and work is not None:
        options += [f"upperdir={upper}", f"workdir={work}"]
    syscalls.mount("overlay", place, "overlay", 0, ",".join(options))
    try:
        return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        syscalls.umount(place, syscalls.MNT_DETACH)


def _set(context: int, key: str, value: str) -> None:
    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)
