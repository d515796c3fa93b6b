"""Containers that join, leave, connect and disconnect.

Decisions are in `membership.py`; here they are carried out in the order that a kill at any point forgives: document,
then kernel, on the way in; kernel, then document, on the way out. What the kernel does to links takes a thread, because
it may wait for locks; elements of the firewall (0.3 ms) are set on the event loop.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from riverport.base.logging import get_logger
from riverport.engine.errors import Conflict, Forbidden, InvalidParameter, SystemFailure
from riverport.engine.events import Events
from riverport.engine.linux.nft import NftError
from riverport.engine.networks import endpoint as endpoints
from riverport.engine.networks import plumbing
from riverport.engine.networks.catalogue import Catalogue, new_id
from riverport.engine.networks.endpoint import Endpoint
from riverport.engine.networks.gate import Gate
from riverport.engine.networks.ipam import mac_of
from riverport.engine.networks.member import Joined, Json, Member
from riverport.engine.networks.membership import (
    Membership,
    cable,
    check_connection,
    default_routes,
    find_targets,
)
from riverport.engine.networks.name_server import Sockets
from riverport.engine.networks.name_servers import NameServers
from riverport.engine.networks.network import Network
from riverport.engine.networks.ports import Ports
from riverport.engine.networks.publications import Publications
from riverport.engine.networks.publish import Binding, exposed_ports, ports_told
from riverport.engine.networks.settings import NetworkSettings
from riverport.engine.networks.texts import Texts
from riverport.engine.state import State

log = get_logger(__name__)

_KIND: Final = "memberships"
_ANNOUNCE_AFTER_S: Final = 0.005
"""A new link carries frames about a millisecond after it is up; the container's process starts later than this."""
_LINGER_S: Final = 1.0
"""When links of a container that left should have gone with its namespace."""

T = TypeVar("T")


class Members:
    def __init__(
        self,
        settings: NetworkSettings,
        state: State,
        events: Events,
        catalogue: Catalogue,
        gate: Gate,
        ports: Ports,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._settings = settings
        self._state = state
        self._events = events
        self._catalogue = catalogue
        self._threads = threads
        self._texts = Texts(settings, catalogue)
        self._publications = Publications(gate, ports, settings.publish_address, self._networks)
        self._names = NameServers(self._texts, self._networks)
        self._memberships: dict[str, Membership] = {}
        self._filtered = False

    # --- what is known ----------------------------------------------------------------------------------------------

    def bindings(self) -> list[Binding]:
        return [binding for membership in self._memberships.values() for binding in membership.bindings]

    def veths(self) -> set[str]:
        """Our ends of every link that there should be."""
        return {endpoint.veth for entry in self._memberships.values() for endpoint in entry.endpoints.values()}

    def member(self, container_id: str) -> Member | None:
        membership = self._memberships.get(container_id)
        return membership.member if membership else None

    def joined(self, container_id: str) -> Joined | None:
        """What a container that has joined is told; None for others."""
        membership = self._memberships.get(container_id)
        return self._joined(membership) if membership else None

    # --- joining ------------------------------------------------------------------------------------------------------

    async def join(self, member: Member, netns_path: str | None) -> Joined:
        if member.id in self._memberships:
            await self.leave(member.id)
        if member.mode.startswith("container:"):
            return Joined({}, {}, "", "", "", "")
        targets = find_targets(member, self._catalogue)
        membership = Membership(member, netns_path, new_id())
        try:
            for network, settings in targets:
                self._place(membership, network, settings)
            self._publications.reserve(membership)
            self._memberships[member.id] = membership
            self._save(membership)
            await self._plug(membership, list(membership.endpoints.values()))
            self._publications.open(membership)
            joined = self._joined(membership)
        except BaseException:
            await self._retreat(membership)
            raise
        for network, _ in targets:
            self._tell("connect", network, member.id)
        return joined

    async def leave(self, container_id: str) -> None:
        """The container has ended; its links go with its namespace."""
        membership = self._memberships.pop(container_id, None)
        if membership is None:
            return
        try:
            self._publications.shut(membership)
        finally:
            self._release(membership)
            self._state.delete(_KIND, [container_id])
        for key in membership.endpoints:
            network = self._catalogue.get(key)
            if network is not None:
                self._tell("disconnect", network, container_id)
        veths = [endpoint.veth for endpoint in membership.endpoints.values() if endpoint.addresses()]
        if veths:
            asyncio.get_running_loop().call_later(_LINGER_S, self._sweep, veths)

    async def connect(self, member: Member, netns_path: str | None, reference: str, settings: Json) -> Joined:
        """One more network for a container that runs."""
        membership = self._running(member.id)
        network = self._catalogue.find(reference)
        check_connection(member, network, settings)
        if network.id in membership.endpoints:
            raise Forbidden(f"endpoint with name {member.name} already exists in network {network.name}")
        membership.member = member
        endpoint = self._place(membership, network, settings)
        try:
            self._save(membership)
            await self._plug(membership, [endpoint])
            self._republish(membership)
            await asyncio.sleep(_ANNOUNCE_AFTER_S)  # whoever is told of the link may use it at once
        except BaseException:
            await self._unplug(membership, network)
            with suppress(SystemFailure):  # what was published before is published again
                self._republish(membership)
            raise
        self._tell("connect", network, member.id)
        return self._joined(membership)

    async def disconnect(self, container_id: str, reference: str) -> Joined:
        membership = self._running(container_id)
        network = self._catalogue.find(reference)
        if network.id not in membership.endpoints:
            raise Forbidden(f"container {container_id} is not connected to network {network.name}")
        if network.driver == "host":
            raise InvalidParameter(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        await self._unplug(membership, network)
        self._republish(membership)
        self._tell("disconnect", network, container_id)
        return self._joined(membership)

    def rename(self, container_id: str, name: str) -> None:
        """Its new name is answered at once, its old one no longer."""
        membership = self._memberships.get(container_id)
        if membership is None:
            return
        old = membership.member
        membership.member = Member(old.id, name, old.config, old.host_config, old.endpoints)
        for endpoint in membership.endpoints.values():
            self._names.enter(membership, self._network(endpoint))

    async def recover(self, living: Iterable[tuple[Member, str | None]]) -> None:
        """After a start: those who live keep what they have; of the others nothing is left."""
        documents = self._state.load(_KIND)
        for member, netns_path in living:
            document = documents.pop(member.id, None)
            if document is None:
                continue
            membership = Membership.read(document, member, netns_path)
            for key in [key for key in membership.endpoints if self._catalogue.get(key) is None]:
                del membership.endpoints[key]
            self._memberships[member.id] = membership
            for endpoint in membership.endpoints.values():
                self._network(endpoint).readmit(member.id, endpoint)
                self._names.enter(membership, self._network(endpoint))
            self._publications.hold_again(membership)
        self._state.delete(_KIND, documents)
        self._filtered = plumbing.bridges_are_filtered()
        for membership in list(self._memberships.values()):
            await self._serve_again(membership)

    def close(self) -> None:
        """The daemon ends; containers keep their networks, published ports included."""
        self._names.close()
        self._publications.close()

    # --- deeds ----------------------------------------------------------------------------------------------------

    def _place(self, membership: Membership, network: Network, settings: Json) -> Endpoint:
        """Addresses, an interface's name, an entry in the network."""
        interface = mac = ""
        addresses = network.take_addresses(settings) if network.has_addresses else []
        if network.has_addresses:
            taken = [endpoint.interface for endpoint in membership.endpoints.values()]
            interface = endpoints.wished_interface(settings) or endpoints.next_interface(
                network.options.interface_prefix, taken
            )
            mac = str(settings.get("MacAddress") or "") or mac_of(addresses[0].ip)
        endpoint = Endpoint.place(new_id(), network.id, interface, mac, addresses, settings)
        membership.endpoints[network.id] = endpoint
        network.endpoints[membership.member.id] = endpoint
        self._names.enter(membership, network)
        return endpoint

    async def _plug(self, membership: Membership, new: Sequence[Endpoint]) -> None:
        """Links for `new`, routes for all; a name server with the first network that has names."""
        member = membership.member
        with_links = [endpoint for endpoint in new if endpoint.addresses()]
        cables = [cable(self._network(endpoint), endpoint, self._settings.mtu) for endpoint in with_links]
        needs_server = not self._names.has(member.id) and self._names.is_needed(membership)
        if not cables:
            return
        assert membership.netns_path is not None, f"{member.id} has endpoints and no namespace"
        routes = default_routes(membership, self._networks(membership))
        sockets = Sockets() if needs_server else None
        finish = sockets.open if sockets is not None else _nothing
        path, filtered = membership.netns_path, self._filtered
        try:
            announcements = await self._in_thread(
                lambda: _with_namespace(
                    path, lambda namespace: plumbing.attach(cables, routes, namespace, finish, filtered=filtered)
                )
            )
        except (OSError, NftError) as error:
            raise SystemFailure(f"failed to set up container networking: {error}") from error
        for announcement in announcements:
            asyncio.get_running_loop().call_later(_ANNOUNCE_AFTER_S, announcement.send)
        if sockets is not None:
            await self._names.serve(membership, sockets)
        self._names.refresh(membership)

    async def _unplug(self, membership: Membership, network: Network) -> None:
        endpoint = membership.endpoints.pop(network.id)
        routes = default_routes(membership, self._networks(membership))
        if endpoint.addresses() and membership.netns_path is not None:
            veth = endpoint.veth if network.driver == "bridge" else ""
            path = membership.netns_path
            with suppress(FileNotFoundError):
                await self._in_thread(
                    lambda: _with_namespace(
                        path, lambda namespace: plumbing.detach([(veth, endpoint.interface)], routes, namespace)
                    )
                )
        self._withdraw(membership.member.id, network, endpoint)
        self._names.refresh(membership)
        self._save(membership)

    def _republish(self, membership: Membership) -> None:
        if self._publications.follow(membership):
            self._save(membership)

    async def _retreat(self, membership: Membership) -> None:
        """A join that failed: as if it had not been tried."""
        self._memberships.pop(membership.member.id, None)
        self._release(membership)
        self._state.delete(_KIND, [membership.member.id])
        veths = [endpoint.veth for endpoint in membership.endpoints.values() if endpoint.addresses()]
        await self._in_thread(lambda: _remove_links(veths))

    def _release(self, membership: Membership) -> None:
        self._publications.release(membership)
        for key, endpoint in membership.endpoints.items():
            network = self._catalogue.get(key)
            if network is not None:
                self._withdraw(membership.member.id, network, endpoint)
        self._names.stop(membership.member.id)

    def _withdraw(self, container_id: str, network: Network, endpoint: Endpoint) -> None:
        network.endpoints.pop(container_id, None)
        network.give_back(endpoint.addresses())
        self._names.withdraw(container_id, network)

    async def _serve_again(self, membership: Membership) -> None:
        """A container outlived the daemon whose event loop answered its questions."""
        if not self._names.is_needed(membership) or membership.netns_path is None:
            return
        sockets = Sockets()
        path = membership.netns_path
        try:
            await self._in_thread(
                lambda: _with_namespace(path, lambda namespace: plumbing.visit(namespace, sockets.open))
            )
        except (OSError, NftError) as error:
            log.warning("a container has no name server", container=membership.member.id[:12], error=error)
            return
        await self._names.serve(membership, sockets)

    # --- small things -----------------------------------------------------------------------------------------------

    def _joined(self, membership: Membership) -> Joined:
        member = membership.member
        networks = {}
        for endpoint in membership.endpoints.values():
            network = self._network(endpoint)
            networks[network.name] = endpoints.told(
                endpoint, endpoint.settings, network.id, member, network.gateways(), has_names=network.has_names
            )
        has_ports = any(self._network(endpoint).has_addresses for endpoint in membership.endpoints.values())
        exposed = exposed_ports(member.config, member.host_config) if has_ports else []
        return Joined(
            networks=networks,
            ports=ports_told(exposed, membership.bindings),
            hosts=self._texts.hosts(membership, self._memberships.values()),
            resolv_conf=self._texts.resolv_conf(member, embedded=self._names.is_needed(membership)),
            sandbox_id=membership.sandbox_id,
            sandbox_key=membership.netns_path or "/proc/1/ns/net",
        )

    def _running(self, container_id: str) -> Membership:
        membership = self._memberships.get(container_id)
        if membership is None:
            raise Conflict(f"container {container_id} is not running")
        return membership

    def _network(self, endpoint: Endpoint) -> Network:
        network = self._catalogue.get(endpoint.network)
        assert network is not None, f"network {endpoint.network} was removed under endpoint {endpoint.id}"
        return network

    def _networks(self, membership: Membership) -> dict[str, Network]:
        return {key: self._network(endpoint) for key, endpoint in membership.endpoints.items()}

    def _save(self, membership: Membership) -> None:
        self._state.save(_KIND, membership.member.id, membership.document())

    def _tell(self, action: str, network: Network, container_id: str) -> None:
        attributes = {"container": container_id, "name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)

    def _sweep(self, veths: list[str]) -> None:
        """Something else may hold the namespace of a container that left; its links would be in the way."""
        with suppress(RuntimeError):  # the daemon ends: the next start sweeps
            self._threads.submit(_remove_links, veths)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _remove_links(names: list[str]) -> None:
    for name in names:
        plumbing.remove_link(name)


def _with_namespace(path: str, work: Callable[[int], T]) -> T:
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return work(namespace)
    finally:
        os.close(namespace)


def _nothing() -> None:
    pass
