"""The engine's containers: what its API and its other parts ask for."""

import asyncio
import time
from typing import Any

from riverport.engine.api.filters import Filters
from riverport.engine.containers import listing
from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.collaborators import Collaborators
from riverport.engine.containers.commit import Committer
from riverport.engine.containers.container import AttachOrder, Container, Status
from riverport.engine.containers.creation import Creator
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.containers.execs import Execs
from riverport.engine.containers.fields import ENDPOINT
from riverport.engine.containers.files import Files
from riverport.engine.containers.health_monitor import HealthMonitor
from riverport.engine.containers.inspect import show, with_short_id
from riverport.engine.containers.launch import Launcher, member_of
from riverport.engine.containers.lifecycle import Lifecycle, Tasks
from riverport.engine.containers.limits import plan_update
from riverport.engine.containers.links import Link, links_of, parse_link, shown
from riverport.engine.containers.machine import read_machine
from riverport.engine.containers.processes import Processes
from riverport.engine.containers.recovery import Recovery
from riverport.engine.containers.removal import Removal
from riverport.engine.errors import Conflict, EngineError, NotFound, SystemFailure
from riverport.engine.images.removal import User
from riverport.engine.networks.member import Joined
from riverport.engine.runtime.attach import AttachStream
from riverport.engine.settings import Settings

Json = dict[str, Any]
Version = tuple[int, int]


class Containers:
    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._tasks = Tasks()
        self.catalogue = Catalogue(collaborators.state, collaborators.events, time.time_ns)
        self.removal = Removal(self.catalogue, collaborators)
        processes = Processes(self.catalogue, collaborators)
        self.execs = Execs(self.catalogue, processes, self._tasks)
        self.files = Files(self.catalogue, collaborators)
        health = HealthMonitor(self.catalogue, self.execs, self._tasks)
        launcher = Launcher(collaborators, processes)
        self.lifecycle = Lifecycle(self.catalogue, launcher, health, self.removal.remove_after_exit, self._tasks)
        self.removal.lifecycle, self.removal.execs = self.lifecycle, self.execs
        self.creator = Creator(self.catalogue, collaborators, self.removal)
        self.committer = Committer(self.catalogue, collaborators, self.lifecycle)
        collaborators.images.users = self._image_users

    def use(self, settings: Settings) -> None:
        """Settings that have been read anew, for what comes from now on."""
        self._with.settings, self._with.machine = settings, read_machine(settings)

    async def start(self) -> None:
        await Recovery(self.catalogue, self._with, self.lifecycle, self.removal).run()

    async def stop(self) -> None:
        """Containers end with the daemon unless `live_restore` says that they outlive it."""
        if not self._with.settings.live_restore:
            running = [container for container in self.catalogue if container.state.running]
            self.lifecycle.shutting_down = True
            await asyncio.gather(*(self._shut_down(container) for container in running))
        await self._tasks.stop()

    async def _shut_down(self, container: Container) -> None:
        stopped_by_hand = container.stopped_by_hand
        try:
            await self.lifecycle.end(container, None, self._with.settings.shutdown_timeout_s)
        except EngineError:
            return  # its shim keeps it; the next daemon finds it
        container.stopped_by_hand = stopped_by_hand  # so that its policy starts it with the next daemon
        self.catalogue.note(container)

    def get(self, reference: str) -> Container:
        return self.catalogue.get(reference)

    async def attach(self, container: Container, *, stdin: bool, stdout: bool, stderr: bool) -> AttachOrder:
        """Streams, at once if it runs; otherwise as soon as it starts, before its first byte."""
        streams: asyncio.Future[AttachStream | None] = asyncio.get_running_loop().create_future()
        order = AttachOrder(stdin, stdout, stderr, streams)
        if container.state.running and container.shim is not None:
            streams.set_result(await container.shim.attach(stdin=stdin, stdout=stdout, stderr=stderr))
        else:
            container.orders.append(order)
        return order

    def _image_users(self) -> list[User]:
        return [
            User(container.id, container.image_id, container.state.running)
            for container in self.catalogue
            if container.image_id
        ]

    # --- looking

    def counts(self) -> dict[str, int]:
        states = [container.state.status for container in self.catalogue]
        running = sum(status in (Status.RUNNING, Status.RESTARTING) for status in states)
        paused = states.count(Status.PAUSED)
        return {"running": running, "paused": paused, "stopped": len(states) - running - paused}

    def network_settings(self, container: Container) -> Json:
        joined = self._with.networks.joined(container.id)
        return joined.network_settings() if joined is not None else container.network

    async def inspect(self, reference: str, version: Version, size: bool) -> Json:
        container = self.get(reference)
        directory = ContainerDirectory(self._with.settings.data_root, container.id)
        driver = container.host_config["LogConfig"]["Type"]
        paths = directory.inspected(driver, bool(container.state.started_at_ns))
        try:
            data = self._with.storage.rootfs(container.id).driver_data()
        except NotFound:
            data = {}
        graph_driver = {"Data": data, "Name": "overlay2"}
        network = self.network_settings(container)
        if version < (1, 45):
            network = with_short_id(network, container)
        document = show(
            container, paths, graph_driver, network, version, self._with.machine, self._shown_links(container)
        )
        return document | await self._sizes(container) if size else document

    def _linked(self, container: Container) -> list[tuple[Link, Container]]:
        return [
            (link, self.get(link.name))
            for link in links_of(container.host_config)
            if self.catalogue.names.owner(link.name) is not None
        ]

    def _shown_links(self, container: Container) -> list[str] | None:
        return shown(((link, other.name) for link, other in self._linked(container)), container.name)

    def _link_names(self) -> dict[str, list[str]]:
        """The names that containers have through links of others, by id."""
        names: dict[str, list[str]] = {}
        for container in self.catalogue:
            for link, other in self._linked(container):
                names.setdefault(other.id, []).append(f"/{container.name}/{link.alias}")
        return names

    def remove_link(self, name: str) -> None:
        """`parent/alias`. Raises NotFound, and Conflict for a container's own name."""
        parent, slash, alias = name.strip("/").rpartition("/")
        if not slash:
            raise Conflict("Conflict, cannot remove the default link name of the container")
        container = self.get(parent)
        kept = [text for text in container.host_config["Links"] or () if parse_link(text).alias != alias]
        if len(kept) == len(container.host_config["Links"] or ()):
            raise NotFound(f"No such container: {name}")
        container.host_config["Links"] = kept or None
        self.catalogue.save(container)

    async def _sizes(self, container: Container) -> Json:
        try:
            own = await self._with.storage.size(container.id)
            return {"SizeRw": own, "SizeRootFs": own + self._with.storage.base_size(container.id)}
        except NotFound:
            return {"SizeRw": 0, "SizeRootFs": 0}

    async def rows(
        self, filters: Filters, version: Version, *, everything: bool = False, limit: int = 0, size: bool = False,
        before: str = "", since: str = "",
    ) -> list[Json]:  # fmt: skip
        cut = {"before": before or "", "since": since or ""}
        for key in cut:
            for reference in filters.get(key):
                cut[key] = reference
        ids = {key: self.get(reference).id if reference else None for key, reference in cut.items()}
        chosen = listing.Listing(
            filters, everything, limit, ids["before"], ids["since"], self._ancestors(filters)
        ).choose(self.catalogue, lambda container: listing.list_ports(self.network_settings(container)))
        now_ns = self.catalogue.clock_ns()
        names = self._link_names()
        rows = []
        for container in chosen:
            row = listing.row(container, self._image_name(container), self.network_settings(container), now_ns, version)
            row["Names"] += names.get(container.id, [])
            if size:
                row |= {name: value for name, value in (await self._sizes(container)).items() if value}
            rows.append(row)
        return rows

    def _ancestors(self, filters: Filters) -> set[str] | None:
        """Ids of the images a filter names, and of all that were built on them."""
        if "ancestor" not in filters:
            return None
        found: set[str] = set()
        waiting = []
        for reference in filters.get("ancestor"):
            try:
                waiting.append(self._with.images.resolve(reference).id)
            except EngineError:
                continue
        while waiting:
            image_id = waiting.pop()
            if image_id not in found:
                found.add(image_id)
                waiting += [child.id for child in self._with.images.catalogue.children(image_id)]
        return found

    def _image_name(self, container: Container) -> str:
        """The name it was created from, while that means the same image still."""
        given = str(container.config["Image"])
        try:
            still = not container.image_id or self._with.images.resolve(given).id == container.image_id
        except EngineError:
            still = False
        return given if still else container.image_id

    async def usage(self) -> list[Json]:
        """For `system df`."""
        return await self.rows(Filters(), (1, 50), everything=True, size=True)

    # --- changing

    async def update(self, reference: str, body: Json, version: Version) -> list[str]:
        container = self.get(reference)
        try:
            changes, policy, warnings = plan_update(container.host_config, body, self._with.machine, version)
        except Conflict as conflict:
            raise Conflict(f"Cannot update container {container.id}: {conflict}") from conflict
        async with container.lock:
            if container.state.removing or container.state.dead:
                raise Conflict(
                    f'Cannot update container {container.id}: container is marked for removal and cannot be "update"'
                )
            if changes and container.state.running and container.shim is not None:
                try:
                    await container.shim.update(changes)
                except SystemFailure as failure:
                    raise SystemFailure(f"Cannot update container {container.id}: {failure}") from failure
            container.host_config |= changes
            if policy is not None:
                container.host_config["RestartPolicy"] = policy
            self.catalogue.save(container)
        self.catalogue.publish(container, "update")
        return warnings

    async def connect(self, reference: str, network: str, settings: Json) -> None:
        """One more network; at once if it runs, at the next start otherwise."""
        container = self.get(reference)
        async with container.lock:
            if container.state.removing or container.state.dead:
                raise Conflict(
                    f"Container {container.id} is marked for removal and cannot be connected or disconnected to the "
                    "network"
                )
            endpoint = ENDPOINT.read(settings)
            member = member_of(container)
            if container.state.running and container.shim is not None:
                path = container.shim.netns_path if member.has_own_namespace else None
                joined = await self._with.networks.connect(member, path, network, endpoint)
                container.network = joined.network_settings()
                self._write_files(container, joined)
            else:
                self._with.networks.check_connection(member, network, endpoint)
            container.endpoints[self._network_name(network)] = endpoint
            if not container.state.running:
                container.network = self._with.networks.planned(member_of(container))
            self.catalogue.note(container)

    async def disconnect(self, reference: str, network: str, force: bool) -> None:
        container = self.get(reference)
        name = self._network_name(network)
        async with container.lock:
            if container.state.running and container.shim is not None:
                joined = await self._with.networks.disconnect(container.id, network)
                container.network = joined.network_settings()
                self._write_files(container, joined)
            elif name not in (container.network.get("Networks") or {}) and not force:
                raise Conflict(f"container {container.id} is not connected to the network {name}")
            container.endpoints.pop(name, None)
            if not container.state.running:
                container.network = self._with.networks.planned(member_of(container))
                container.network["Networks"].pop(name, None)
            self.catalogue.note(container)

    def _network_name(self, reference: str) -> str:
        return self._with.networks.find(reference).name

    def _write_files(self, container: Container, joined: Joined) -> None:
        """In place, because the files are bind-mounted. The first network with names brings another name server."""
        directory = ContainerDirectory(self._with.settings.data_root, container.id)
        directory.hosts.write_text(joined.hosts)
        directory.resolv_conf.write_text(joined.resolv_conf)
