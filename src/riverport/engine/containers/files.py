"""A container's files for the API: `cp`, `export`, `diff`, looked at where they are at that moment."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from riverport.engine.containers.archive import NoSuchFile, PathStat, archive_path, export_root, extract, stat_path
from riverport.engine.containers.bridge import Intake, Outlet, produced
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.container import Container
from riverport.engine.containers.file_view import Place, look
from riverport.engine.errors import Conflict, Forbidden, NotFound
from riverport.engine.linux.inroot import Root
from riverport.engine.runtime.users import look_up

T = TypeVar("T")


class Files:
    def __init__(self, catalogue: Catalogue, collaborators: Collaborators) -> None:
        self._catalogue = catalogue
        self._with = collaborators

    async def stat(self, reference: str, path: str) -> PathStat:
        """Raises NotFound."""
        container = self._catalogue.get(reference)
        async with self._standing(container):
            try:
                return await look(self._place(container), lambda root: stat_path(root, path))
            except NoSuchFile:
                raise _no_such_file(path, reference) from None

    async def read(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """The archive of a path, and what it is. Raises NotFound."""
        container = self._catalogue.get(reference)
        found = await self.stat(reference, path)

        async def pack(outlet: Outlet) -> None:
            async with self._standing(container):
                await look(self._place(container), lambda root: _write(outlet, lambda: archive_path(root, path)))
            self._catalogue.publish(container, "archive-path")

        return found, produced(pack)

    async def write(
        self, reference: str, path: str, body: AsyncIterator[bytes], *, keep_kinds: bool, as_user: bool
    ) -> None:
        """Raises NotFound, InvalidParameter, Forbidden."""
        container = self._catalogue.get(reference)
        intake = Intake(body)

        def unpack(root: Root) -> None:
            owner = None
            if as_user and container.config["User"]:
                user = look_up(root, container.config["User"])
                owner = user.uid, user.gid
            extract(root, path, intake, keep_kinds=keep_kinds, owner=owner)

        async with self._standing(container):
            try:
                await look(self._place(container), unpack)
            except NoSuchFile:
                raise _no_such_file(path, reference) from None
            except OSError as error:
                if error.errno == errno.EROFS:
                    raise Forbidden(self._read_only_text(container, path)) from error
                raise
        self._catalogue.publish(container, "extract-to-dir")

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        """The container's own files, without volumes."""
        container = self._catalogue.get(reference)
        if container.state.dead or container.state.removing:
            raise Conflict(f"You cannot export container {container.id} which is Dead")
        place = Place(self._with.storage.rootfs(container.id), (), self._shim_pid(container))

        async def pack(outlet: Outlet) -> None:
            async with self._standing(container):
                await look(place, lambda root: _write(outlet, lambda: export_root(root, lambda path: False)))
            self._catalogue.publish(container, "export")

        return produced(pack)

    async def changes(self, reference: str) -> list[dict[str, Any]]:
        return await self._with.storage.changes(self._catalogue.get(reference).id)

    def _place(self, container: Container) -> Place:
        rootfs = self._with.storage.rootfs(container.id)
        return Place(rootfs, container.mounts, self._shim_pid(container), container.host_config["ReadonlyRootfs"])

    @staticmethod
    def _shim_pid(container: Container) -> int | None:
        return container.shim.pid if container.state.running and container.shim is not None else None

    @staticmethod
    def _standing(container: Container) -> AbstractAsyncContextManager[object]:
        """Nobody may start what does not run while its files are mounted here: two overlays on one upper directory."""
        return AsyncExitStack() if container.state.running else container.lock

    @staticmethod
    def _read_only_text(container: Container, path: str) -> str:
        inside = f"/{path.strip('/')}/"
        if any(inside.startswith(f"{point.destination}/") for point in container.mounts):
            return "mounted volume is marked read-only"
        return "container rootfs is marked read-only"


def _write(outlet: Outlet, pieces: Callable[[], Any]) -> None:
    for piece in pieces():
        outlet.write(piece)
    outlet.flush()


def _no_such_file(path: str, reference: str) -> NotFound:
    return NotFound(f"Could not find the file {path} in container {reference}")
