"""A container's root file system, and the empty places that every container has."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riverport.engine.storage import trees
from riverport.engine.storage.layers import ChainId
from riverport.engine.storage.lowers import Lowers

_PLACES: Final = (
    ("dev", stat.S_IFDIR),
    ("dev/pts", stat.S_IFDIR),
    ("dev/shm", stat.S_IFDIR),
    ("dev/console", stat.S_IFREG),
    ("etc", stat.S_IFDIR),
    ("etc/hostname", stat.S_IFREG),
    ("etc/hosts", stat.S_IFREG),
    ("etc/mtab", stat.S_IFLNK),
    ("etc/resolv.conf", stat.S_IFREG),
    ("proc", stat.S_IFDIR),
    ("sys", stat.S_IFDIR),
    (".dockerenv", stat.S_IFREG),
)
"""What the runtime mounts something on; made below the container, so that it is no change of the container's.

All containers of an image share them: they lie with its topmost layer, since making and removing a dozen files takes a
good part of what a short-lived container costs. A container without an image has its own.
"""


@dataclass(frozen=True, slots=True)
class Rootfs:
    container_id: str
    chain: ChainId | None
    lowers: tuple[Path, ...]
    """Topmost first: the places, then the image's layers."""
    directory: Path

    @property
    def upper(self) -> Path:
        return self.directory / "diff"

    @property
    def work(self) -> Path:
        return self.directory / "work"

    @property
    def merged(self) -> Path:
        return self.directory / "merged"

    def driver_data(self) -> dict[str, str]:
        """`GraphDriver.Data` of the API."""
        return {
            "LowerDir": ":".join(map(str, self.lowers)),
            "MergedDir": str(self.merged),
            "UpperDir": str(self.upper),
            "WorkDir": str(self.work),
        }


def have_places(directory: Path, lowers: Sequence[Path]) -> None:
    """Have the places for roots on `lowers` in a directory that all of these roots use; whole or not at all."""
    if not places_in(directory).exists():
        unfinished = directory / "places.new"
        trees.remove(unfinished)  # of a daemon that was killed
        _make_places(unfinished, lowers)
        unfinished.rename(places_in(directory))


def places_in(directory: Path) -> Path:
    return directory / "places"


def _make_places(target: Path, lowers: Sequence[Path]) -> None:
    """Make in `target` what of the places `lowers` lack; what is there stays as it is, a link included."""
    view = Lowers.of(lowers)
    target.mkdir()
    for path, kind in _PLACES:
        directory, _, name = path.rpartition("/")
        below = view.descend(directory.encode())
        if below.find(name.encode()) is not None:
            continue
        parent = target / directory
        if directory and not parent.is_dir():
            found = view.find(directory.encode())
            if found is not None and not stat.S_ISDIR(found[0].st_mode):
                continue
            parent.mkdir()
            if found is not None:
                _resemble(parent, found[0])
        _make(parent / name, kind)


def _make(path: Path, kind: int) -> None:
    if kind == stat.S_IFDIR:
        path.mkdir(0o755)
    elif kind == stat.S_IFLNK:
        path.symlink_to("/proc/mounts")
    else:
        path.touch(0o755)


def _resemble(path: Path, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
