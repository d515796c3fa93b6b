"""From a created container to a running one, and back.

Everything the kernel holds for a container hangs on its shim, so whatever fails on the way, discarding the shim and
leaving the networks undoes it.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.container import Container
from riverport.engine.containers.directory import ContainerDirectory, log_attributes
from riverport.engine.containers.processes import Processes
from riverport.engine.networks.member import Member
from riverport.engine.runtime.model import LogSettings, StdioSettings

if TYPE_CHECKING:
    from riverport.engine.runtime.handle import Shim

log = get_logger(__name__)

Json = dict[str, Any]
_FILES = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")


def member_of(container: Container) -> Member:
    return Member(container.id, container.name, container.config, container.host_config, container.endpoints)


class Launcher:
    def __init__(self, collaborators: Collaborators, processes: Processes) -> None:
        self._with = collaborators
        self._processes = processes

    async def launch(self, container: Container) -> "Shim":
        """Raises what stands in the way; nothing is left then."""
        donor = self._processes.donor(container, "NetworkMode")
        member = member_of(container)
        rootfs = self._with.storage.rootfs(container.id)
        shim = await self._with.runtime.prepare(
            container.id, rootfs, member.has_own_namespace, container.host_config["Runtime"]
        )
        try:
            mounts = await self._with.volumes.acquire(container.id, container.mounts, shim.root)
            if donor is not None and donor.shim is not None:
                network: str | None = f"/proc/{donor.state.pid}/ns/net"
                files = ContainerDirectory(self._with.settings.data_root, donor.id)
            else:
                network = shim.netns_path if member.has_own_namespace else None
                files = await self._join_networks(container, member, network)
            mounts = [*_file_mounts(files, container), *mounts]
            spec = await self._processes.of_container(container, shim, network, mounts)
            await self.attach_waiting(container, shim)
            await shim.run(spec, self._stdio(container))
        except BaseException:
            await asyncio.shield(self.give_back(container, shim))
            raise
        return shim

    async def _join_networks(self, container: Container, member: Member, netns_path: str | None) -> ContainerDirectory:
        joined = await self._with.networks.join(member, netns_path)
        container.network = joined.network_settings()
        directory = ContainerDirectory(self._with.settings.data_root, container.id)
        directory.make()
        directory.hostname.write_text(f"{container.config['Hostname']}\n")
        directory.hosts.write_text(joined.hosts)
        directory.resolv_conf.write_text(joined.resolv_conf)
        return directory

    async def attach_waiting(self, container: Container, shim: "Shim") -> None:
        """Clients that came before the start get their streams before the first byte is written."""
        orders, container.orders = container.orders, []
        for order in orders:
            if not order.streams.done():
                stream = await shim.attach(stdin=order.stdin, stdout=order.stdout, stderr=order.stderr)
                if order.streams.done():
                    stream.close()  # gone meanwhile
                else:
                    order.streams.set_result(stream)

    def _stdio(self, container: Container) -> StdioSettings:
        config, log_config = container.config, container.host_config["LogConfig"]
        directory = ContainerDirectory(self._with.settings.data_root, container.id)
        path = directory.log(log_config["Type"])
        settings = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            options = log_config["Config"]
            settings = LogSettings(log_config["Type"], path, options, log_attributes(config, options))
        return StdioSettings(config["Tty"], config["OpenStdin"], config["StdinOnce"], settings)

    async def give_back(self, container: Container, shim: "Shim | None") -> None:
        """After the end, or a failed start: shim, networks and volumes. One that fails does not keep the others."""
        deeds = [self._with.networks.leave(container.id), self._with.volumes.release(container.id)]
        if shim is not None:
            deeds.append(shim.discard())
        for result in await asyncio.gather(*deeds, return_exceptions=True):
            if isinstance(result, BaseException):
                log.error("something of a container was not given back", container=container.id, reason=repr(result))
        container.network = self._with.networks.planned(member_of(container))


def _file_mounts(files: ContainerDirectory, container: Container) -> list[Json]:
    """The files that the engine writes for a container, unless it mounts something there itself."""
    taken = {point.destination for point in container.mounts}
    sources = (files.resolv_conf, files.hostname, files.hosts)
    return [
        {"destination": path, "type": "bind", "source": str(source), "options": ["rbind", "rprivate", "rw"]}
        for path, source in zip(_FILES, sources, strict=True)
        if path not in taken
    ]
