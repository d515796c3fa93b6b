"""What the runtime is told to run: a container's first process with all around it, and execs.

The decisions are `runtime/spec.py`'s; here is what one container knows of others whose namespaces it shares.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from riverport.engine.containers import links
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.config import with_default_ulimits
from riverport.engine.containers.container import Container
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.containers.namespaces import share_memory
from riverport.engine.errors import Conflict
from riverport.engine.linux.inroot import Root
from riverport.engine.runtime.users import User, look_up

if TYPE_CHECKING:
    from riverport.engine.runtime.handle import Shim

Json = dict[str, Any]


class Processes:
    def __init__(self, catalogue: Catalogue, collaborators: Collaborators) -> None:
        self._catalogue = catalogue
        self._with = collaborators

    async def user(self, shim: "Shim", user: str, group_add: Sequence[str]) -> User:
        """Raises InvalidParameter for a name that the container does not know."""

        def find() -> User:
            with Root(shim.root) as root:
                return look_up(root, user, group_add)

        return await asyncio.to_thread(find)

    async def of_container(self, container: Container, shim: "Shim", network: str | None, mounts: list[Json]) -> Json:
        """The whole spec. `network` is the path of the network namespace, None the host's."""
        config, host_config = container.config, self._host_config(container)
        wants_init = self._with.settings.init if host_config["Init"] is None else host_config["Init"]
        return self._with.runtime.spec(
            shim,
            {**config, "Env": [*self._link_environment(container), *(config["Env"] or ())]},
            {**host_config, "Init": wants_init, "Tmpfs": None},  # tmpfs is among the mounts already
            await self.user(shim, config["User"], host_config["GroupAdd"] or []),
            [container.path, *container.args],
            hostname=self._hostname(container),
            network=network,
            mounts=mounts,
            ipc=self._joined(container, "IpcMode", "ipc"),
            pid=self._joined(container, "PidMode", "pid"),
            shm=await self._shared_memory(container, shim),
        )

    def _host_config(self, container: Container) -> Json:
        return with_default_ulimits(container.host_config, self._with.machine)

    def expect(self) -> None:
        """One is about to be asked for."""
        self._with.runtime.expect_process()

    async def of_exec(
        self, container: Container, shim: "Shim", given: Json, console_size: Sequence[int] | None
    ) -> Json:
        user = await self.user(shim, given["User"], []) if given["User"] else None
        return self._with.runtime.exec_process(
            shim, self._host_config(container), {**given, "ConsoleSize": console_size}, user
        )

    def donor(self, container: Container, mode: str) -> Container | None:
        """The container whose namespace (`NetworkMode`, `IpcMode`, `PidMode`) is shared. Raises unless it runs."""
        kind, colon, reference = str(container.host_config[mode]).partition(":")
        if kind != "container" or not colon:
            return None
        other = self._catalogue.get(reference)
        if other is container:
            raise Conflict(f"cannot join own {mode.removesuffix('Mode').lower()} namespace")
        if not other.state.running or other.shim is None:
            status = other.state.status.value
            noun = {"NetworkMode": "network", "IpcMode": "IPC", "PidMode": "PID"}[mode]
            raise Conflict(
                f"cannot join {noun} namespace of a non running container: container {other.name} is {status}"
            )
        return other

    def _link_environment(self, container: Container) -> list[str]:
        """Raises Conflict for a link to what does not run."""
        made: list[str] = []
        for link in links.links_of(container.host_config):
            other = self._catalogue.get(link.name)
            if not other.state.running:
                raise Conflict(
                    f"Cannot link to a non running container: /{other.name} AS /{container.name}/{link.alias}"
                )
            bridge = (other.network.get("Networks") or {}).get("bridge")
            if bridge is None:
                raise Conflict(f"container {other.id} not attached to default bridge network")
            made += links.environment(
                link, container.name, bridge["IPAddress"], other.config["ExposedPorts"] or (), other.config["Env"] or ()
            )
        return made

    def _hostname(self, container: Container) -> str:
        other = self.donor(container, "NetworkMode")
        return str((other or container).config["Hostname"])

    def _joined(self, container: Container, mode: str, namespace: str) -> str | None:
        other = self.donor(container, mode)
        return None if other is None else f"/proc/{other.state.pid}/ns/{namespace}"

    async def _shared_memory(self, container: Container, shim: "Shim") -> str | None:
        other = self.donor(container, "IpcMode")
        if other is None:
            return None
        if other.host_config["IpcMode"] not in ("shareable", "host"):
            raise Conflict(
                f"can't join IPC of container {other.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor "
                "container)"
            )
        target = ContainerDirectory(self._with.settings.data_root, container.id).path / "shm"
        target.mkdir(exist_ok=True)
        await share_memory(other.state.pid, shim.pid, target)
        return str(target)
