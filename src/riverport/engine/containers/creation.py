"""Making containers: from a create request to a document, a root file system, and claims on volumes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from riverport.engine.containers import config as configs
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.config import Version
from riverport.engine.containers.container import Container, ContainerState
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.containers.launch import member_of
from riverport.engine.containers.links import links_of
from riverport.engine.containers.names import check_name, generate_name
from riverport.engine.containers.removal import Removal
from riverport.engine.errors import Conflict, InvalidParameter, NotFound
from riverport.engine.images.image import Image
from riverport.engine.images.platform import Platform
from riverport.engine.images.processor import newest_here, runs_here
from riverport.engine.release import API_NEWEST
from riverport.engine.runtime import capabilities
from riverport.engine.runtime.logs import BadLogOption, Rotation
from riverport.engine.volumes.mount_point import MountPoint
from riverport.engine.volumes.plan import plan_mounts

Json = dict[str, Any]
_SHARED_MODES = ("NetworkMode", "IpcMode", "PidMode")


class Creator:
    def __init__(
        self,
        catalogue: Catalogue,
        collaborators: Collaborators,
        removal: Removal,
        choose: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._catalogue = catalogue
        self._with = collaborators
        self._removal = removal
        self._choose = choose

    async def create(
        self, body: Json, version: Version, name: str = "", platform: Platform | None = None
    ) -> tuple[Container, Json]:
        """The container and its warnings' answer. Raises InvalidParameter, NotFound, Conflict; nothing stays then."""
        machine = self._with.machine
        creation = configs.read_creation(body, version, machine)
        _check_log_options(creation.host_config["LogConfig"])
        if creation.host_config["StorageOpt"]:
            raise InvalidParameter("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
        capabilities.effective(creation.host_config, 0)
        if name:
            check_name(name)
        image = self._image(creation.config["Image"], platform)
        if image is not None and platform is None and not runs_here(image.source.platform):
            creation.warnings.append(
                f"The requested image's platform ({image.source.platform.shown}) does not match the detected host "
                f"platform ({newest_here().shown}) and no specific platform was requested"
            )
        config = creation.config = configs.merge_image(creation.config, image.config if image is not None else {})
        path, args = configs.command(config)
        container_id = secrets.token_hex(32)
        if container_id[:12].isdigit():  # a hostname of digits only would read as a number
            container_id = "a" + container_id[1:]
        configs.complete(config, creation.host_config, container_id, machine)
        self._name_donors(creation.host_config)
        for link in links_of(creation.host_config):
            self._other(link.name, f"could not get container for {link.name}: ")
        points = plan_mounts(config, creation.host_config, self._points_of)
        self._with.volumes.check(points)
        image_id = image.id if image is not None else ""
        container = self._document(container_id, name, path, args, image_id, creation, points)
        async with self._made_or_cleared(container):
            await self._with.storage.create_rootfs(container.id, container.image_id or None)
            await self._make(container)
        return container, {"Id": container.id, "Warnings": creation.warnings}

    async def adopt(self, container_id: str, image_id: str, body: Json, state: ContainerState) -> Container:
        """A container of a root file system that is there, and has run. `body` is as of a create request.

        Raises EngineError; the root file system is gone then.
        """
        creation = configs.read_creation(body, API_NEWEST, self._with.machine)
        path, args = configs.command(creation.config)
        configs.complete(creation.config, creation.host_config, container_id, self._with.machine)
        self._name_donors(creation.host_config)
        points = plan_mounts(creation.config, creation.host_config, self._points_of)
        container = self._document(container_id, "", path, args, image_id, creation, points)
        container.state = state
        async with self._made_or_cleared(container):
            await self._make(container)
        return container

    def _document(
        self,
        container_id: str,
        name: str,
        path: str,
        args: list[str],
        image_id: str,
        creation: configs.Creation,
        points: list[MountPoint],
    ) -> Container:
        """Its name is reserved; it is shown to nobody yet."""
        given = name or generate_name(self._choose, lambda name: self._catalogue.names.owner(name) is not None)
        return Container(
            container_id,
            self._catalogue.names.reserve(given, container_id),
            self._catalogue.clock_ns(),
            path,
            args,
            image_id,
            creation.config,
            creation.host_config,
            creation.endpoints or self._with.networks.default_endpoints(creation.host_config),
            points,
        )

    @asynccontextmanager
    async def _made_or_cleared(self, container: Container) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await asyncio.shield(self._removal.clear(container, True))
            self._catalogue.names.release(container.name, container.id)
            raise

    async def _make(self, container: Container) -> None:
        ContainerDirectory(self._with.settings.data_root, container.id).make()
        container.mounts = await self._with.volumes.claim(container.id, container.mounts)
        if self._with.volumes.wants_copy(container.mounts):
            # Now and not at the start: a container that never runs carries its volumes' files for others.
            async with self._with.storage.mounted(container.id) as root:
                await self._with.volumes.fill(container.id, container.mounts, root)
        container.network = self._with.networks.planned(member_of(container))
        self._catalogue.add(container)
        self._catalogue.publish(container, "create")

    def _image(self, reference: str, platform: Platform | None) -> Image | None:
        """None: a container without an image, which is what an empty reference means. Raises NotFound."""
        return self._with.images.resolve(reference, platform) if reference else None

    def _name_donors(self, host_config: Json) -> None:
        """A container whose namespace is to be shared is remembered by its id, since names change."""
        for mode in _SHARED_MODES:
            kind, colon, reference = host_config[mode].partition(":")
            if kind == "container" and colon:
                host_config[mode] = f"container:{self._other(reference).id}"

    def _other(self, reference: str, prefix: str = "") -> Container:
        """Raises InvalidParameter: after a 404 the docker command would pull the image and try again."""
        try:
            return self._catalogue.get(reference)
        except NotFound as error:
            raise InvalidParameter(f"{prefix}{error}") from error

    def _points_of(self, reference: str) -> Sequence[MountPoint]:
        return self._catalogue.get(reference).mounts

    def rename(self, container: Container, name: str) -> None:
        """Raises InvalidParameter and Conflict."""
        if not name:
            raise InvalidParameter("Neither old nor new names may be empty")
        if container.name == name.removeprefix("/"):
            raise InvalidParameter("Renaming a container with the same name as its current name")
        if container.state.removing or container.state.dead:
            raise Conflict(f"container {container.id} is marked for removal and cannot be renamed")
        old = container.name
        self._catalogue.rename(container, self._catalogue.names.reserve(name, container.id))
        self._with.networks.rename(container.id, container.name)
        self._catalogue.publish(container, "rename", {"oldName": f"/{old}"})


def _check_log_options(log: Mapping[str, Any]) -> None:
    if log["Type"] in ("json-file", "local") or not log["Type"]:
        try:
            Rotation.from_options(log["Type"] or "json-file", dict(log["Config"]))
        except BadLogOption as error:
            raise InvalidParameter(str(error)) from error
