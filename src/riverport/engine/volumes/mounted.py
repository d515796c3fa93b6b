"""Mount points made real for a container that starts: what the runtime is told, and what is mounted beforehand.

Plain volumes and directories of the host go to the runtime as bind mounts. What has to be mounted first (a volume with
options, a path below a volume, an image) is mounted in the namespace of the container's shim and ends with it.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from riverport.engine.errors import InvalidParameter, NotFound, SystemFailure
from riverport.engine.linux import mounts
from riverport.engine.volumes import placing, tmpfs
from riverport.engine.volumes.local import MountCall, Volume, mount_call
from riverport.engine.volumes.mount_point import BIND, IMAGE, TMPFS, VOLUME, MountPoint
from riverport.engine.volumes.plan import depth

_SHARED: Final = ("shared", "rshared")
_SLAVE: Final = ("slave", "rslave")


@dataclass(slots=True, frozen=True)
class _User:
    """A running container."""

    pid: int  # of its shim
    points: Sequence[MountPoint]


class Mounting:
    """What running containers have mounted. `scratch` is a directory for mount points, one below for each of them."""

    def __init__(
        self,
        scratch: Path,
        source: Callable[[str], Path],
        image_layers: Callable[[str], Sequence[Path]] | None,
    ) -> None:
        self._scratch = scratch
        self._source = source
        self._image_layers = image_layers
        self._users: dict[str, _User] = {}

    def users(self, volume: str) -> list[str]:
        """Running containers that have a volume."""
        return [
            container
            for container, user in self._users.items()
            if any(point.type == VOLUME and point.name == volume for point in user.points)
        ]

    def resume(self, container_id: str, points: Sequence[MountPoint], root: Path) -> None:
        self._users[container_id] = _User(pid_of(root), points)

    def forget(self, container_id: str) -> Sequence[MountPoint]:
        """Mounts are the shim's; here only directories are left."""
        user = self._users.pop(container_id, None)
        if user is None:
            return ()
        shutil.rmtree(self._scratch / container_id, ignore_errors=True)
        return user.points

    async def mount(
        self, container_id: str, points: Sequence[MountPoint], root: Path, volumes: Mapping[str, Volume]
    ) -> list[dict[str, Any]]:
        """Raises InvalidParameter, NotFound, SystemFailure; nothing stays then but what the shim takes with it."""
        pid = pid_of(root)
        found: list[dict[str, Any]] = []
        try:
            for point in sorted(points, key=depth):
                if point.type == VOLUME:
                    await self._mount_volume(pid, volumes[point.name])
                source = await self._real_source(container_id, len(found), pid, point)
                found.append(oci_mount(point, source, is_directory=_is_directory(source)))
        except BaseException:
            shutil.rmtree(self._scratch / container_id, ignore_errors=True)
            raise
        self.resume(container_id, points, root)
        return found

    async def _mount_volume(self, pid: int, volume: Volume) -> None:
        """What the volume's options ask for, at its directory; shared with a container that has it mounted."""
        call = mount_call(volume.options)
        if call is None:
            return
        place = self._source(volume.name)
        for other in self.users(volume.name):
            if self._users[other].pid == pid:
                return
            try:
                await placing.share(self._users[other].pid, pid, place)
                return
            except OSError:  # it has ended since
                continue
        try:
            await placing.mount(pid, call, place)
        except OSError as error:
            raise SystemFailure(
                f"error while mounting volume '{place}': failed to mount local volume: "
                f"mount {call.source}:{place}{_shown(call)}: {_reason(error)}"
            ) from error

    async def _real_source(self, container_id: str, number: int, pid: int, point: MountPoint) -> str:
        """What the runtime is to bind."""
        if point.type == BIND:
            return _host_directory(point)
        if point.type == IMAGE:
            return str(await self._mount_image(container_id, number, pid, point))
        if point.type == VOLUME and point.subpath:
            base = self._source(point.name)
            return str(await self._bind_below(container_id, number, pid, base, point))
        return point.source

    async def _mount_image(self, container_id: str, number: int, pid: int, point: MountPoint) -> Path:
        if self._image_layers is None:
            raise NotFound(f"No such image: {point.source}")
        target = self._new_directory(container_id, f"{number}-image")
        try:
            await placing.image(pid, list(self._image_layers(point.source)), target)
        except OSError as error:
            raise SystemFailure(f"failed to mount image {point.source}: {_reason(error)}") from error
        if point.subpath:
            return await self._bind_below(container_id, number, pid, target, point)
        return target

    async def _bind_below(self, container_id: str, number: int, pid: int, base: Path, point: MountPoint) -> Path:
        target = self._scratch / container_id / str(number)
        try:
            is_directory = await placing.in_namespace(pid, lambda: placing.is_directory(base, point.subpath))
            if is_directory:
                self._new_directory(container_id, str(number))
            else:
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                target.touch()
            await placing.bind_below(pid, base, point.subpath, target)
        except OSError as error:
            raise InvalidParameter(
                f"cannot access path {base / point.subpath}: lstat {base / point.subpath}: {_reason(error)}"
            ) from error
        return target

    def _new_directory(self, container_id: str, name: str) -> Path:
        made = self._scratch / container_id / name
        made.mkdir(parents=True, exist_ok=True, mode=0o700)
        return made


def oci_mount(point: MountPoint, source: str, *, is_directory: bool) -> dict[str, Any]:
    """A mount as the OCI runtime specification has it ("Mounts")."""
    if point.type == TMPFS:
        options = tmpfs.merged(point.options)
        return {"destination": point.destination, "type": "tmpfs", "source": "tmpfs", "options": options}
    options = ["rbind" if point.is_recursive else "bind", point.propagation or "rprivate"]
    if point.writable:
        options.append("rw")
    else:
        # Nothing can be mounted below a file, and crun 1.8 refuses rro there (ENOTDIR).
        is_deep = is_directory and point.is_recursive and point.read_only_recursive
        options.append("rro" if is_deep else "ro")
    return {"destination": point.destination, "type": "bind", "source": source, "options": options}


def _is_directory(source: str) -> bool:
    return os.path.isdir(source)


def _host_directory(point: MountPoint) -> str:
    """The source of a bind mount, which is there; made if the client wrote `-v`. Raises InvalidParameter."""
    check_source(point)
    if not os.path.lexists(point.source):
        try:
            os.makedirs(point.source, 0o755, exist_ok=True)
        except OSError as error:
            raise SystemFailure(
                f"error while creating mount source path '{point.source}': mkdir {error.filename}: {_reason(error)}"
            ) from error
    _check_propagation(point)
    return point.source


def check_source(point: MountPoint) -> None:
    """Raises InvalidParameter for a directory of the host that is missing and that nobody will make."""
    if point.type == BIND and not point.creates and not os.path.lexists(point.source):
        raise InvalidParameter(f'invalid mount config for type "bind": bind source path does not exist: {point.source}')


def _check_propagation(point: MountPoint) -> None:
    """A mount takes part in what its source's mount does only if that one lets it (mount_namespaces(7))."""
    if point.propagation not in _SHARED + _SLAVE:
        return
    found = mounts.mount_of(os.path.realpath(point.source), mounts.mount_points())
    if found.shared or (found.slave and point.propagation in _SLAVE):
        return
    kind = "shared mount" if point.propagation in _SHARED else "shared or slave mount"
    raise SystemFailure(f"path {point.source} is mounted on {found.place} but it is not a {kind}")


def pid_of(root: Path) -> int:
    """The process whose mounts a path of the form /proc/<pid>/root/… goes through."""
    assert root.parts[:2] == ("/", "proc"), root
    return int(root.parts[2])


def _shown(call: MountCall) -> str:
    flags = f", flags: {call.flags:#x}" if call.flags else ""
    return flags + (f", data: {call.data}" if call.data else "")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
