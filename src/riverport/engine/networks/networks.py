"""The engine's networks: made, removed, and put in order after a start. Containers' part is in `members.py`.

A network's document is written before its bridge is made and deleted after it is gone, so that no bridge is ever left
without one.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, TypeVar

from riverport.base.logging import get_logger
from riverport.engine.errors import EngineError, Forbidden, SystemFailure
from riverport.engine.events import Events
from riverport.engine.linux.netlink import NetlinkError
from riverport.engine.networks import ipam, options, plumbing
from riverport.engine.networks.catalogue import Catalogue, new_id
from riverport.engine.networks.documents import make_document, predefined_document
from riverport.engine.networks.firewall import BridgeRules
from riverport.engine.networks.gate import Gate
from riverport.engine.networks.member import Joined, Json, Member, network_settings
from riverport.engine.networks.members import Members
from riverport.engine.networks.membership import check_connection, planned_networks
from riverport.engine.networks.network import Network
from riverport.engine.networks.ports import Ports
from riverport.engine.networks.publish import Binding
from riverport.engine.networks.settings import NetworkSettings
from riverport.engine.state import State

log = get_logger(__name__)

_THREADS: Final = 4
T = TypeVar("T")


class Networks:
    def __init__(self, settings: NetworkSettings, state: State, events: Events) -> None:
        self._settings = settings
        self._events = events
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="networks")
        self._catalogue = Catalogue(state)
        self._gate = Gate(settings, self._known)
        self._ports = Ports()
        self._members = Members(settings, state, events, self._catalogue, self._gate, self._ports, self._threads)
        self._changing = asyncio.Lock()  # held while networks come and go, never while a container does something

    async def start(self) -> None:
        """Networks as their documents say. `recover` must follow, also if no container lives."""
        if self._settings.forward:
            await self._in_thread(lambda: plumbing.enable_forwarding(4))
        self._make_predefined()
        for network in self._catalogue:
            try:
                await self._in_thread(lambda network=network: self._raise(network))  # type: ignore[misc]
            except (EngineError, NetlinkError, OSError) as error:
                # One broken network (its bridge's name taken meanwhile) must not keep the engine from starting.
                log.error("a network cannot be set up", network=network.name, error=error)

    async def stop(self) -> None:
        """Containers keep their networks."""
        self._members.close()
        self._gate.close()
        self._threads.shutdown(wait=True)

    async def recover(self, living: Iterable[tuple[Member, str | None]]) -> None:
        """Once after `start`: the containers that live still, and the paths of their namespaces."""
        await self._members.recover(living)
        self._gate.build()
        await self._in_thread(self._sweep)

    def rebuild_firewall(self) -> None:
        """Somebody may have emptied our table (`nft flush ruleset`). Raises SystemFailure."""
        self._gate.build()

    # --- networks -----------------------------------------------------------------------------------------------------

    async def create(self, request: Json) -> str:
        """The id of a new network. `request` is the body of POST /networks/create."""
        async with self._changing:
            network_id = new_id()
            routed = await self._in_thread(plumbing.routed_networks)
            created = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            network = Network(make_document(request, network_id, created, self._catalogue, routed, self._settings))
            network.adopted = network.driver == "bridge" and await self._in_thread(
                lambda: plumbing.link_addresses(network.options.bridge) is not None
            )
            self._catalogue.record(network)
            try:
                await self._in_thread(lambda: self._raise(network))
                self._catalogue.add(network)
                if network.driver == "bridge":
                    self._gate.add_bridge(network.rules())
            except BaseException as error:
                await self._lower(network)
                self._catalogue.forget(network)
                if isinstance(error, NetlinkError):
                    raise SystemFailure(f"failed to create network {network.name}: {error}") from error
                raise
        self._tell("create", network)
        return network_id

    async def remove(self, reference: str) -> None:
        async with self._changing:
            network = self._catalogue.find(reference)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            await self._remove(network)

    async def prune(self, wanted: Callable[[Network], bool] = lambda network: True) -> list[str]:
        """The names of those removed: without containers, neither predefined nor a pattern for others, and wanted."""
        removed: list[str] = []
        async with self._changing:
            for network in self._catalogue:
                if not (network.predefined or network.config_only or network.endpoints) and wanted(network):
                    await self._remove(network)
                    removed.append(network.name)
        return removed

    def all(self) -> list[Network]:
        return list(self._catalogue)

    def find(self, reference: str) -> Network:
        """Raises NotFound, or InvalidParameter if it is ambiguous."""
        return self._catalogue.find(reference)

    def inspect(self, network: Network) -> Json:
        """The document with the containers that run in the network."""
        containers: dict[str, Json] = {}
        for container_id, endpoint in network.endpoints.items():
            member = self._members.member(container_id)
            containers[container_id] = {
                "Name": member.name if member else "",
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": str(endpoint.v4) if endpoint.v4 else "",
                "IPv6Address": str(endpoint.v6) if endpoint.v6 else "",
            }
        return {**network.document, "Containers": containers}

    # --- containers ---------------------------------------------------------------------------------------------------

    async def join(self, member: Member, netns_path: str | None) -> Joined:
        """Before the container's process runs. `netns_path` is None in the host's namespace.

        A container that shares another's namespace joins nothing and is told nothing: its files are the other's.
        """
        return await self._members.join(member, netns_path)

    async def leave(self, container_id: str) -> None:
        """After it has ended; does nothing for one that did not join."""
        await self._members.leave(container_id)

    async def connect(self, member: Member, netns_path: str | None, reference: str, settings: Json) -> Joined:
        """One more network for a container that runs; its next interface appears in it."""
        return await self._members.connect(member, netns_path, reference, settings)

    async def disconnect(self, container_id: str, reference: str) -> Joined:
        """Of a container that runs."""
        return await self._members.disconnect(container_id, reference)

    def check_connection(self, member: Member, reference: str, settings: Json) -> Network:
        """For a container that does not run: raises what `connect` would, and gives the network."""
        network = self._catalogue.find(reference)
        check_connection(member, network, settings)
        return network

    def default_endpoints(self, host_config: Json) -> dict[str, Json]:
        """What a container that names no networks is connected to: the one of its NetworkMode."""
        mode = Member("", "", {}, host_config).mode
        if mode.startswith("container:"):
            return {}
        try:
            return {self._catalogue.find(mode).name: {}}
        except EngineError:
            return {mode: {}}  # it may exist by the time the container starts

    def rename(self, container_id: str, name: str) -> None:
        self._members.rename(container_id, name)

    def joined(self, container_id: str) -> Joined | None:
        """What a container that runs is told now."""
        return self._members.joined(container_id)

    def planned(self, member: Member) -> Json:
        """NetworkSettings of `inspect` for a container that does not run."""
        return network_settings(planned_networks(member, self._catalogue), {})

    # --- deeds --------------------------------------------------------------------------------------------------------

    def _make_predefined(self) -> None:
        created = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for name in ("none", "host"):
            if self._catalogue.named(name) is None:
                self._catalogue.add(Network(predefined_document(name, new_id(), created, [], {})))
        old = self._catalogue.named("bridge")
        if self._settings.bridge == "none":
            if old is not None:
                self._catalogue.forget(old)
            return
        network_id = old.id if old is not None else new_id()
        given = {
            options.DEFAULT_OPTION: "true",
            options.ICC_OPTION: str(self._settings.icc).lower(),
            options.MASQUERADE_OPTION: str(self._settings.masquerade).lower(),
            options.BINDING4_OPTION: self._settings.publish_address or "0.0.0.0",
            options.NAME_OPTION: self._settings.bridge,
            options.MTU_OPTION: str(self._settings.mtu),
        }
        made = old.document["Created"] if old is not None else created
        network = Network(predefined_document("bridge", network_id, made, [self._default_subnet(old)], given))
        self._catalogue.add(network)

    def _default_subnet(self, old: Network | None) -> ipam.Subnet:
        """What is set; else what the bridge has already (it outlives the daemon); else the first free pool."""
        if self._settings.bridge_address:
            wanted = ipaddress.IPv4Interface(self._settings.bridge_address)
            return ipam.make_subnet(wanted.network, gateway=wanted.ip)
        present = plumbing.link_addresses(self._settings.bridge) or []
        for interface in present:
            if isinstance(interface, ipaddress.IPv4Interface):
                return ipam.make_subnet(interface.network, gateway=interface.ip)
        if old is not None and old.subnets:
            return ipam.make_subnet(old.subnets[0].network, gateway=old.subnets[0].gateway)
        return ipam.make_subnet(
            ipam.free_pool(self._settings.pools, self._catalogue.subnets(), plumbing.routed_networks())
        )

    def _raise(self, network: Network) -> None:
        """What the host has of a network; in a thread."""
        if network.driver == "bridge":
            addresses = network.bridge_addresses()
            if any(interface.version == 6 for interface in addresses) and not network.internal:
                plumbing.enable_forwarding(6)
            plumbing.make_bridge(network.options.bridge, addresses, network.options.mtu or self._settings.mtu)
        elif network.driver == "macvlan" and plumbing.link_addresses(network.options.parent) is None:
            raise SystemFailure(f"invalid subinterface vlan name {network.options.parent}: no such interface")

    async def _remove(self, network: Network) -> None:
        if network.config_only:
            self._remove_pattern(network)
            return
        if network.endpoints:
            holders = []
            for container_id, endpoint in network.endpoints.items():
                member = self._members.member(container_id)
                holders.append(f'name:"{member.name if member else container_id}" id:"{endpoint.id[:12]}"')
            raise Forbidden(
                f"error while removing network: network {network.name} has active endpoints ({', '.join(holders)})"
            )
        self._catalogue.hide(network)
        if network.driver == "bridge":
            self._gate.remove_bridge(network.rules())
            await self._lower(network)
        self._catalogue.forget(network)
        self._tell("destroy", network)

    def _remove_pattern(self, network: Network) -> None:
        """Docker publishes no event for it."""
        if any(other.pattern == network.name for other in self._catalogue):
            raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')
        self._catalogue.forget(network)

    async def _lower(self, network: Network) -> None:
        """Undo `_raise`."""
        if network.driver == "bridge" and not network.adopted:
            await self._in_thread(lambda: plumbing.remove_link(network.options.bridge))

    def _sweep(self) -> None:
        """Links of containers that died while nobody looked, and whose namespace something holds still."""
        bridges = [network.options.bridge for network in self._catalogue if network.driver == "bridge"]
        known = self._members.veths()
        for name in plumbing.bridge_ports(bridges):
            if name.startswith("veth") and name not in known:
                plumbing.remove_link(name)

    def _known(self) -> tuple[list[BridgeRules], list[Binding]]:
        bridges = [network.rules() for network in self._catalogue if network.driver == "bridge"]
        return bridges, self._members.bindings()

    def _tell(self, action: str, network: Network) -> None:
        self._events.publish("network", action, network.id, {"name": network.name, "type": network.driver})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
