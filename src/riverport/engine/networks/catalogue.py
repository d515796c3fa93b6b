"""All networks: looked up, kept in the engine's memory, and what a new one's document says."""

import ipaddress
import secrets
from collections.abc import Iterator
from typing import Any, Final

from riverport.engine.errors import Forbidden, InvalidParameter, NotFound
from riverport.engine.networks import ipam, options
from riverport.engine.networks.network import Network
from riverport.engine.networks.settings import NetworkSettings
from riverport.engine.state import State

Json = dict[str, Any]
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_KIND: Final = "networks"


class Catalogue:
    def __init__(self, state: State) -> None:
        self._state = state
        self._networks = {
            key: Network(stored["document"], adopted=stored["adopted"]) for key, stored in state.load(_KIND).items()
        }

    def __iter__(self) -> Iterator[Network]:
        return iter(list(self._networks.values()))

    def get(self, network_id: str) -> Network | None:
        return self._networks.get(network_id)

    def named(self, name: str) -> Network | None:
        return next((network for network in self._networks.values() if network.name == name), None)

    def find(self, reference: str) -> Network:
        """By full id, then name, then a unique prefix of an id. Raises NotFound, InvalidParameter if ambiguous."""
        found = self._networks.get(reference) or self.named("bridge" if reference == "default" else reference)
        if found is not None:
            return found
        matches = [network for key, network in self._networks.items() if reference and key.startswith(reference)]
        if len(matches) > 1:
            raise InvalidParameter(
                f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)"
            )
        if not matches:
            raise NotFound(f"network {reference} not found")
        return matches[0]

    def record(self, network: Network) -> None:
        """Write its document, and show it to nobody yet."""
        self._state.save(_KIND, network.id, {"document": network.document, "adopted": network.adopted})

    def add(self, network: Network) -> None:
        self.record(network)
        self._networks[network.id] = network

    def hide(self, network: Network) -> None:
        """From now on nobody finds it; its document stays until `forget`, for the case that we are killed between."""
        self._networks.pop(network.id, None)

    def forget(self, network: Network) -> None:
        self.hide(network)
        self._state.delete(_KIND, [network.id])

    def subnets(self) -> dict[str, list[IpNetwork]]:
        """Of every network that has some, by name."""
        return {network.name: [subnet.network for subnet in network.subnets] for network in self if network.subnets}


def new_id() -> str:
    return secrets.token_hex(32)


def make_document(
    request: Json,
    network_id: str,
    created: str,
    catalogue: Catalogue,
    routed: list[IpNetwork],
    settings: NetworkSettings,
) -> Json:
    """What a create request comes to: checked, and with a subnet of the pools where it names none."""
    driver = str(request.get("Driver") or "bridge")
    name = str(request.get("Name") or "")
    options.check_name(name, (network.name for network in catalogue))
    options.check_driver(driver)
    options.check_kind(request)
    given = {str(key): str(value) for key, value in (request.get("Options") or {}).items()}
    read = options.read_options(driver, network_id, given)
    if driver == "macvlan" and not read.parent:
        raise InvalidParameter("macvlan: the option parent is missing")
    if driver == "bridge":
        _check_bridge_name(read.bridge, name, catalogue)
    ipam_request = request.get("IPAM") or {}
    ipam_driver = str(ipam_request.get("Driver") or "default")
    if ipam_driver != "default":
        raise NotFound(f'plugin "{ipam_driver}" not found')
    enabled = options.enabled(request, given)
    asked = [entry for entry in options.read_ipam(ipam_request.get("Config")) if enabled[entry.version == 6]]
    subnets = _choose_subnets(asked, enabled, name, network_id, catalogue, routed, settings)
    return {
        "Name": name,
        "Id": network_id,
        "Created": created,
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": enabled[0],
        "EnableIPv6": enabled[1],
        "IPAM": {
            "Driver": ipam_driver,
            "Options": ipam_request.get("Options"),
            "Config": options.ipam_config(subnets),
        },
        "Internal": bool(request.get("Internal")),
        "Attachable": bool(request.get("Attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": given,
        "Labels": {str(key): str(value) for key, value in (request.get("Labels") or {}).items()},
    }


def predefined_document(name: str, network_id: str, created: str, subnets: list[ipam.Subnet], given: Json) -> Json:
    """The networks that are always there: "bridge", "host" and "none"."""
    return {
        "Name": name,
        "Id": network_id,
        "Created": created,
        "Scope": "local",
        "Driver": {"none": "null"}.get(name, name),
        "EnableIPv4": True,
        "EnableIPv6": any(subnet.version == 6 for subnet in subnets),
        "IPAM": {"Driver": "default", "Options": None, "Config": options.ipam_config(subnets) or None},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": given,
        "Labels": {},
    }


def _choose_subnets(
    asked: list[options.Asked],
    enabled: tuple[bool, bool],
    name: str,
    network_id: str,
    catalogue: Catalogue,
    routed: list[IpNetwork],
    settings: NetworkSettings,
) -> list[ipam.Subnet]:
    """Of the entries, in their order; a version that is enabled and has none gets one, IPv4 first."""
    used = catalogue.subnets()
    chosen: list[ipam.Subnet] = []
    if enabled[0] and not any(entry.version == 4 for entry in asked):
        asked = [options.Asked(None, 4, None, None, {}), *asked]
    if enabled[1] and not any(entry.version == 6 for entry in asked):
        asked = [*asked, options.Asked(None, 6, None, None, {})]
    for entry in asked:
        subnet = entry.subnet
        if subnet is None and entry.version == 6:
            subnet = ipam.unique_local(network_id)
        elif subnet is None:
            subnet = ipam.free_pool(settings.pools, used, routed)
        ipam.check_overlap(subnet, used)
        used = {**used, name: [*used.get(name, []), subnet]}
        chosen.append(ipam.make_subnet(subnet, entry.ip_range, entry.gateway, entry.auxiliary))
    return chosen


def _check_bridge_name(bridge: str, name: str, catalogue: Catalogue) -> None:
    for network in catalogue:
        if network.driver == "bridge" and network.options.bridge == bridge:
            raise Forbidden(
                f"cannot create network {name} ({bridge}): conflicts with network {network.id} ({bridge}): "
                "networks have same bridge name"
            )
