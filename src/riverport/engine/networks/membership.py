"""All endpoints of one container together: which gives its way out, where its ports lead, who it asks for. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.networks import endpoint as endpoints_module
from riverport.engine.networks.catalogue import Catalogue
from riverport.engine.networks.endpoint import Endpoint, dns_names
from riverport.engine.networks.gateway_mode import GatewayMode
from riverport.engine.networks.member import Member
from riverport.engine.networks.names import Asker, Entry, parse_links
from riverport.engine.networks.network import Network
from riverport.engine.networks.plumbing import Cable, Route
from riverport.engine.networks.ports import Target
from riverport.engine.networks.publish import Binding

Json = dict[str, Any]


@dataclass(slots=True)
class Membership:
    """A container that has joined; `endpoints` by network id, in the order of joining."""

    member: Member
    netns_path: str | None
    sandbox_id: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)

    def document(self) -> Json:
        return {
            "sandbox": self.sandbox_id,
            "endpoints": [endpoint.document() for endpoint in self.endpoints.values()],
            "bindings": [binding.document() for binding in self.bindings],
        }

    @classmethod
    def read(cls, document: Json, member: Member, netns_path: str | None) -> "Membership":
        read = [Endpoint.read(entry) for entry in document["endpoints"]]
        return cls(
            member,
            netns_path,
            document["sandbox"],
            {endpoint.network: endpoint for endpoint in read},
            [Binding.read(entry) for entry in document["bindings"]],
        )


def gateway_network(endpoints: Iterable[Endpoint], networks: Mapping[str, Network], version: int) -> Network | None:
    """Which of the networks gives the default route of an IP version: the highest GwPriority, then the first name."""
    candidates: list[tuple[int, str, Network]] = []
    for endpoint in endpoints:
        network = networks[endpoint.network]
        has_address = endpoint.v4 if version == 4 else endpoint.v6
        if has_address and version in network.gateways():
            candidates.append((-endpoint.gateway_priority, network.name, network))
    return min(candidates, key=lambda candidate: candidate[:2])[2] if candidates else None


def default_routes(membership: Membership, networks: Mapping[str, Network]) -> list[Route]:
    routes: list[Route] = []
    for version in (4, 6):
        network = gateway_network(membership.endpoints.values(), networks, version)
        if network is not None:
            gateway = ipaddress.ip_address(network.gateways()[version])
            routes.append(Route(version, membership.endpoints[network.id].interface, gateway))
    return routes


def publish_target(membership: Membership, networks: Mapping[str, Network], default_address: str) -> Target:
    """Ports lead to the address in the network that gives the way out, by that network's default host address."""
    addresses: dict[int, str] = {}
    defaults: dict[int, str] = {}
    routed: set[int] = set()
    for version in (4, 6):
        network = gateway_network(membership.endpoints.values(), networks, version)
        if network is None or network.driver != "bridge":
            continue
        endpoint = membership.endpoints[network.id]
        interface = endpoint.v4 if version == 4 else endpoint.v6
        assert interface is not None, "a gateway's network has an address of its version"
        addresses[version] = str(interface.ip)
        if network.options.gateway_modes[version] is GatewayMode.ROUTED:
            routed.add(version)
        own = network.options.binding4 if version == 4 else network.options.binding6
        fits = default_address if default_address and (":" in default_address) == (version == 6) else ""
        # One address for all of the other version means: not on this one.
        nowhere = bool(default_address) and not fits
        defaults[version] = own or fits or ("" if nowhere else {4: "0.0.0.0", 6: "::"}[version])
    return Target(addresses, defaults, frozenset(routed))


def cable(network: Network, endpoint: Endpoint, mtu: int) -> Cable:
    return Cable(
        driver=network.driver,
        parent=network.options.bridge if network.driver == "bridge" else network.options.parent,
        veth=endpoint.veth,
        interface=endpoint.interface,
        mac=endpoint.mac,
        addresses=tuple(endpoint.addresses()),
        mtu=network.options.mtu or mtu,
        isolated=not network.options.icc,
        macvlan_mode=network.options.macvlan_mode,
        sysctls=tuple(endpoints_module.endpoint_sysctls(endpoint.settings, endpoint.interface)),
    )


def asker(membership: Membership, networks: Mapping[str, Network]) -> Asker:
    ordered = [key for key in membership.endpoints if networks[key].has_names]
    return Asker(
        tuple(ordered),
        {key: parse_links(membership.endpoints[key].settings.get("Links")) for key in ordered},
    )


def directory_entry(membership: Membership, endpoint: Endpoint) -> Entry:
    names = dns_names(membership.member, endpoint.settings)
    return Entry(membership.member.id, tuple(names), tuple(interface.ip for interface in endpoint.addresses()))


def wanted_networks(member: Member) -> list[tuple[str, Json]]:
    """(reference, EndpointSettings), NetworkMode's network first; the caller looks the references up.

    Raises InvalidParameter where a container that has no network of its own, or none, asks for others.
    """
    mode = member.mode
    if mode.startswith("container:"):
        if member.endpoints:
            raise InvalidParameter(
                "container sharing network namespace with another container or host cannot be connected to any other "
                "network"
            )
        return []
    if member.endpoints is None:
        return [(mode, {})]
    given = {("bridge" if key == "default" else key): value or {} for key, value in member.endpoints.items()}
    return sorted(given.items(), key=lambda entry: entry[0] != mode)


def find_targets(member: Member, catalogue: Catalogue) -> list[tuple[Network, Json]]:
    """The networks a container joins, each once, with what it asks of them. Raises before anything is taken."""
    found: dict[str, tuple[Network, Json]] = {}
    for reference, settings in wanted_networks(member):
        network = catalogue.find(reference)
        endpoints_module.check_settings(network.name, settings)
        network.check_wishes(settings)
        mac = member.config.get("MacAddress")
        if not found and network.has_addresses and mac and not settings.get("MacAddress"):
            settings = {**settings, "MacAddress": mac}  # until API 1.43 it was the container's
        if network.id not in found or settings:
            found[network.id] = (network, settings)
    if len(found) > 1 and any(network.driver in ("host", "null") for network, _ in found.values()):
        raise InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    return list(found.values())


def planned_networks(member: Member, catalogue: Catalogue) -> dict[str, Json]:
    """NetworkSettings.Networks of a container that does not run: what it will join, without addresses."""
    networks: dict[str, Json] = {}
    for reference, settings in wanted_networks(member):
        try:
            network = catalogue.find(reference)
        except EngineError:
            networks[reference] = endpoints_module.told(None, settings, "", member, {}, has_names=False)
        else:
            networks[network.name] = endpoints_module.told(
                None, settings, network.id, member, {}, has_names=network.has_names
            )
    return networks


def check_connection(member: Member, network: Network, settings: Json) -> None:
    """Whether a container may be connected to a network, running or not. Raises InvalidParameter."""
    if not member.has_own_namespace:
        if network.driver == "host":
            raise InvalidParameter(
                "cannot connect container to host network - container must be created in host network mode"
            )
        raise InvalidParameter(
            "container sharing network namespace with another container or host cannot be connected to any other "
            "network"
        )
    if network.driver == "host":
        raise InvalidParameter(
            "cannot connect container to host network - container must be created in host network mode"
        )
    if (network.driver == "null" and not network.config_only) or member.mode == "none":
        raise InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    endpoints_module.check_settings(network.name, settings)
    network.check_wishes(settings)


def legacy_links(member: Member, by_name: Mapping[str, Membership], bridge_id: str) -> list[tuple[str, str]]:
    """(address, names) for /etc/hosts of `--link` in the default network, which has no name server."""
    lines: list[tuple[str, str]] = []
    for alias, name in parse_links(member.host_config.get("Links")).items():
        target = by_name.get(name)
        endpoint = target.endpoints.get(bridge_id) if target else None
        if target is None or endpoint is None or endpoint.v4 is None:
            continue
        names = dict.fromkeys((alias, target.member.hostname, target.member.name))
        lines.append((str(endpoint.v4.ip), " ".join(names)))
    return lines
