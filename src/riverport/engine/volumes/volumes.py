"""Volumes: creates and removes them, counts who uses what, makes a container's mount points real."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.errors import Conflict, EngineError, NotFound, SystemFailure
from riverport.engine.events import Events
from riverport.engine.state import State
from riverport.engine.volumes.copy_up import copy_up
from riverport.engine.volumes.local import ANONYMOUS_LABEL, LOCAL, Volume, check_new, mount_call
from riverport.engine.volumes.mount_point import VOLUME, MountPoint
from riverport.engine.volumes.mounted import Mounting, check_source, pid_of

KIND: Final = "volumes"
_DATA: Final = "_data"
_FILLING: Final = "_filling"
_GOING: Final = ".going-"
ImageLayers = Callable[[str], Sequence[Path]]
"""The directories of an image's layers, topmost first, by reference or id. Raises NotFound."""


@dataclass(slots=True, frozen=True)
class Usage:
    """What a volume takes on the disk, and how many containers have it."""

    volume: Volume
    size: int
    references: int


class Volumes:
    """`place` holds a directory for each volume; `scratch` mount points of running containers."""

    def __init__(
        self, place: Path, scratch: Path, state: State, events: Events, image_layers: ImageLayers | None = None
    ) -> None:
        self._place = place
        self._state = state
        self._events = events
        self._volumes: dict[str, Volume] = {}
        self._claims: dict[str, list[str]] = {}  # volume -> containers that have it, in the order they came
        self._mounting = Mounting(scratch, self.source, image_layers)
        self._filling: dict[str, asyncio.Lock] = {}
        self._prune_lock = asyncio.Lock()

    async def start(self) -> None:
        """Read what there is, and clear away what a killed daemon was at."""
        self._place.mkdir(parents=True, exist_ok=True, mode=0o701)
        self._volumes = {name: Volume.from_document(name, found) for name, found in self._state.load(KIND).items()}
        for volume in await asyncio.to_thread(self._clear_away):
            self._volumes[volume.name] = volume
            self._state.save(KIND, volume.name, volume.document())

    async def stop(self) -> None:
        """Nothing is held: mounts are the shims'."""

    def _clear_away(self) -> list[Volume]:
        """Volumes that are on the disk only."""
        found = []
        for directory in self._place.iterdir():
            if directory.name in self._volumes:
                _remove_tree(directory / _FILLING)
            elif not directory.name.startswith(_GOING) and _has_files(directory):
                created_at = _rfc3339((directory / _DATA).stat().st_mtime)
                found.append(Volume(directory.name, LOCAL, created_at, None, None))
            else:
                _remove_tree(directory)
        for name in self._volumes:
            self._data(name).mkdir(parents=True, exist_ok=True)
        return found

    # --- the noun

    def create(
        self,
        name: str = "",
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """A volume of this name: the one there is, or a new one. Without a name it is anonymous and gets one.

        Raises InvalidParameter, NotFound, Conflict.
        """
        driver = driver or LOCAL
        if not name:
            name = secrets.token_hex(32)
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        check_new(name, driver, options or {})
        if name in self._volumes:
            return self._volumes[name]
        volume = Volume(name, driver, _rfc3339(time.time()), labels, options)
        data = self._data(name)
        data.parent.mkdir(exist_ok=True, mode=0o701)
        data.mkdir(exist_ok=True, mode=0o755)
        data.chmod(0o755)  # in spite of the umask
        self._state.save(KIND, name, volume.document())
        self._volumes[name] = volume
        self._events.publish("volume", "create", name, {"driver": driver})
        return volume

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def find(self, filters: Filters | None = None) -> list[Volume]:
        """Filters: name (a pattern), driver, label, dangling."""
        wanted = filters or Filters()
        dangling = wanted.flag("dangling", False) if "dangling" in wanted else None
        return [
            volume
            for volume in self._volumes.values()
            if wanted.search("name", volume.name)
            and wanted.exact("driver", volume.driver)
            and wanted.labels(volume.labels)
            and (dangling is None or dangling != bool(self._claims.get(volume.name)))
        ]

    async def remove(self, name: str, force: bool = False) -> None:
        """Raises NotFound (but not with `force`), Conflict for one that containers have."""
        if name not in self._volumes:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        users = self._claims.get(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        going = self._place / f"{_GOING}{secrets.token_hex(8)}"
        volume = self._volumes.pop(name)
        self._filling.pop(name, None)
        # From here to the thread nothing waits: a new volume of this name finds the place empty.
        self._state.delete(KIND, [name])
        if self._data(name).parent.exists():
            self._data(name).parent.rename(going)
        self._events.publish("volume", "destroy", name, {"driver": volume.driver})
        await asyncio.to_thread(_remove_tree, going)

    async def prune(self, filters: Filters | None = None, *, only_anonymous: bool = True) -> tuple[list[str], int]:
        """Remove volumes that no container has; (names, bytes). `only_anonymous` unless the filter `all` says no."""
        if self._prune_lock.locked():
            raise Conflict("a prune operation is already running")
        wanted = filters or Filters()
        only_anonymous = only_anonymous and not wanted.flag("all", False)
        removed, reclaimed = [], 0
        async with self._prune_lock:
            for volume in list(self._volumes.values()):
                if (only_anonymous and not volume.is_anonymous) or not wanted.labels(volume.labels):
                    continue
                size = 0
                if not self._claims.get(volume.name):
                    size = await asyncio.to_thread(_tree_size, self._data(volume.name))
                if self._claims.get(volume.name) or volume.name not in self._volumes:
                    continue  # not dangling, or claimed or removed while it was measured
                await self.remove(volume.name)
                removed.append(volume.name)
                reclaimed += size
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return removed, reclaimed

    async def usage(self) -> list[Usage]:
        """For `docker system df`."""
        volumes = self.find()
        sizes = await asyncio.to_thread(lambda: [_tree_size(self._data(volume.name)) for volume in volumes])
        return [Usage(v, size, len(self._claims.get(v.name, ()))) for v, size in zip(volumes, sizes)]

    def document(self, volume: Volume) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "CreatedAt": volume.created_at,
            "Driver": volume.driver,
            "Labels": None if volume.labels is None else dict(volume.labels),
            "Mountpoint": str(self._data(volume.name)),
            "Name": volume.name,
            "Options": None if volume.options is None else dict(volume.options),
            "Scope": "local",
        }

    # --- containers

    def check(self, points: Iterable[MountPoint]) -> None:
        """At a container's creation: directories of the host that nobody would make are there.

        Raises InvalidParameter.
        """
        for point in points:
            check_source(point)

    async def claim(self, container_id: str, points: Iterable[MountPoint]) -> list[MountPoint]:
        """At a container's creation, or when a daemon finds it again: the points, their volumes made and held for it.

        Raises InvalidParameter or NotFound; nothing new stays then. Doing it again changes nothing.
        """
        claimed: list[MountPoint] = []
        made: list[str] = []
        try:
            for point in points:
                if point.type == VOLUME:
                    if point.name not in self._volumes:
                        point = replace(point, name=self._create_for(point))
                        made.append(point.name)
                    point = replace(point, source=str(self._data(point.name)), driver=self._volumes[point.name].driver)
                    users = self._claims.setdefault(point.name, [])
                    if container_id not in users:
                        users.append(container_id)
                claimed.append(point)
        except BaseException:
            self._unclaim(container_id)
            for name in made:
                await self.remove(name, force=True)
            raise
        return claimed

    def _create_for(self, point: MountPoint) -> str:
        labels = dict(point.labels) or None
        if point.anonymous:
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        name = point.name or secrets.token_hex(32)
        return self.create(name, point.driver, dict(point.driver_options) or None, labels).name

    async def drop(self, container_id: str, points: Iterable[MountPoint], *, remove_anonymous: bool = False) -> None:
        """At a container's removal. Its anonymous volumes go too if asked for and nobody else has them."""
        self.forget(container_id)
        self._unclaim(container_id)
        if not remove_anonymous:
            return
        for point in points:
            if point.type == VOLUME and point.anonymous and point.name and not self._claims.get(point.name):
                await self.remove(point.name, force=True)

    def _unclaim(self, container_id: str) -> None:
        for name, users in list(self._claims.items()):
            if container_id in users:
                users.remove(container_id)
                if not users:
                    del self._claims[name]

    def wants_copy(self, points: Iterable[MountPoint]) -> bool:
        """Whether `fill` would have something to do: an empty volume that takes the image's files."""
        return any(point.copies and self._is_empty_directory(point) for point in points)

    async def fill(self, container_id: str, points: Iterable[MountPoint], root: Path) -> None:
        """Copy the image's files, below `root`, into those of the container's volumes that are empty directories.

        Raises SystemFailure.
        """
        for point in points:
            if point.type == VOLUME:
                # Also who copies nothing waits: the directory may be about to be replaced by a full one.
                async with self._filling.setdefault(point.name, asyncio.Lock()):
                    await self._fill(container_id, point, root)

    async def _fill(self, container_id: str, point: MountPoint, root: Path) -> None:
        if not point.copies or not self._is_empty_directory(point):
            return
        others = [user for user in self._mounting.users(point.name) if user != container_id]
        # What somebody has mounted must stay the same directory.
        copy = _copy_in_place if others else _copy_aside
        await _copied(copy, point, root, self._data(point.name))

    async def _fill_mounted(self, points: Iterable[MountPoint], root: Path) -> None:
        """The same for volumes with options, which only the container's shim has mounted."""
        for point in points:
            if point.copies and mount_call(self.get(point.name).options) is not None:
                data = Path(f"/proc/{pid_of(root)}/root{self._data(point.name)}")
                await _copied(_copy_in_place, point, root, data)

    def _is_empty_directory(self, point: MountPoint) -> bool:
        is_plain = point.type == VOLUME and bool(point.name) and mount_call(self.get(point.name).options) is None
        return is_plain and _is_empty(self._data(point.name))

    async def acquire(self, container_id: str, points: Sequence[MountPoint], root: Path) -> list[dict[str, Any]]:
        """At a container's start: the OCI mounts of claimed points, parents first.

        `root` is the container's, as /proc/<pid>/root/… of its shim, whose namespace gets what has to be mounted
        beforehand. Raises InvalidParameter, SystemFailure.
        """
        mounted = await self._mounting.mount(container_id, points, root, self._volumes)
        await self.fill(container_id, points, root)
        await self._fill_mounted(points, root)
        for point in points:
            if point.type == VOLUME:
                self._events.publish(
                    "volume",
                    "mount",
                    point.name,
                    {
                        "container": container_id,
                        "destination": point.destination,
                        "driver": point.driver,
                        "propagation": point.propagation,
                        "read/write": str(point.writable).lower(),
                    },
                )
        return mounted

    def resume(self, container_id: str, points: Sequence[MountPoint], root: Path) -> None:
        """A container that runs has been found again."""
        self._mounting.resume(container_id, points, root)

    async def release(self, container_id: str) -> None:
        """At a container's end; idempotent."""
        for point in self.forget(container_id):
            if point.type == VOLUME:
                self._events.publish(
                    "volume", "unmount", point.name, {"container": container_id, "driver": point.driver}
                )

    def forget(self, container_id: str) -> Sequence[MountPoint]:
        """Let go of what `acquire` took, without a word to anybody; the points it took."""
        return self._mounting.forget(container_id)

    def source(self, name: str) -> Path:
        """Where a volume's files are."""
        return self._data(name)

    def _data(self, name: str) -> Path:
        return self._place / name / _DATA


async def _copied(copy: Callable[[MountPoint, Path, Path], None], point: MountPoint, root: Path, data: Path) -> None:
    try:
        await asyncio.to_thread(copy, point, root, data)
    except OSError as error:
        raise SystemFailure(f"failed to populate volume {point.name}: {error}") from error


def _copy_aside(point: MountPoint, root: Path, data: Path) -> None:
    """Whole or not at all, also if the daemon is killed: the full directory takes the place of the empty one."""
    filling = data.parent / _FILLING
    _remove_tree(filling)
    filling.mkdir(mode=0o755)
    try:
        if copy_up(root, point.destination, filling):
            filling.rename(data)
    finally:
        _remove_tree(filling)


def _copy_in_place(point: MountPoint, root: Path, data: Path) -> None:
    if _is_empty(data):
        copy_up(root, point.destination, data)


def _is_empty(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def _has_files(directory: Path) -> bool:
    """Whether a directory without a document is a volume that somebody has put back; else it is debris."""
    try:
        check_new(directory.name, LOCAL, {})
        return not _is_empty(directory / _DATA)
    except (EngineError, OSError):
        return False


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _tree_size(path: Path) -> int:
    """Bytes of all files, those with several names once."""
    total, seen = 0, set()
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:  # a container is at work
                continue
            if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
