"""What a create request says: checked, completed, and read back from a network's document. Pure.

A document is what `inspect` tells of a network, without its containers. Texts are those of Docker 28.
"""

import ipaddress
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.errors import Conflict, Forbidden, InvalidParameter, NotFound
from riverport.engine.linux.netlink import MACVLAN_MODES
from riverport.engine.networks.gateway_mode import GATEWAY_MODE4_OPTION, GATEWAY_MODE6_OPTION, GatewayMode
from riverport.engine.networks.ipam import IpAddress, IpNetwork, Subnet, make_subnet

Json = dict[str, Any]

PREDEFINED: Final = frozenset({"bridge", "host", "none"})
NAME_OPTION: Final = "com.docker.network.bridge.name"
ICC_OPTION: Final = "com.docker.network.bridge.enable_icc"
MASQUERADE_OPTION: Final = "com.docker.network.bridge.enable_ip_masquerade"
BINDING4_OPTION: Final = "com.docker.network.bridge.host_binding_ipv4"
BINDING6_OPTION: Final = "com.docker.network.bridge.host_binding_ipv6"
DEFAULT_OPTION: Final = "com.docker.network.bridge.default_bridge"
MTU_OPTION: Final = "com.docker.network.driver.mtu"
PREFIX_OPTION: Final = "com.docker.network.container_iface_prefix"
IPV4_OPTION: Final = "com.docker.network.enable_ipv4"
IPV6_OPTION: Final = "com.docker.network.enable_ipv6"
IFNAME_OPTION: Final = "com.docker.network.endpoint.ifname"

_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}\Z")
_MTU_MIN, _MTU_MAX = 68, 65535


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of IPAM.Config, read."""

    subnet: IpNetwork | None
    version: int
    ip_range: IpNetwork | None
    gateway: IpAddress | None
    auxiliary: dict[str, IpAddress]


@dataclass(frozen=True, slots=True)
class Options:
    """A network's driver options, read."""

    bridge: str
    icc: bool
    masquerade: bool
    mtu: int  # 0: the default
    binding4: str
    binding6: str
    interface_prefix: str
    parent: str
    macvlan_mode: str
    gateway_modes: Mapping[int, GatewayMode]  # by IP version

    @property
    def isolated(self) -> frozenset[int]:
        """The IP versions in which the host has no address in the network."""
        return frozenset(version for version, mode in self.gateway_modes.items() if mode is GatewayMode.ISOLATED)


def read_options(driver: str, network_id: str, given: dict[str, str]) -> Options:
    """Raises InvalidParameter for a value that is none. Unknown options are kept in the document, and ignored."""
    bridge = given.get(NAME_OPTION) or f"br-{network_id[:12]}"
    if not _INTERFACE.match(bridge) or bridge in (".", ".."):
        raise InvalidParameter(f"invalid bridge name: {bridge}")
    prefix = given.get(PREFIX_OPTION) or "eth"
    if not _INTERFACE.match(prefix + "00"):
        raise InvalidParameter(f"invalid interface prefix: {prefix}")
    mode = given.get("macvlan_mode") or "bridge"
    if driver == "macvlan" and mode not in MACVLAN_MODES:
        raise InvalidParameter(f"requested macvlan mode '{mode}' is not valid, 'bridge' is the driver's default")
    return Options(
        bridge=bridge,
        icc=_flag(given, ICC_OPTION, True),
        masquerade=_flag(given, MASQUERADE_OPTION, True),
        mtu=_mtu(given),
        binding4=_binding(given, BINDING4_OPTION, 4),
        binding6=_binding(given, BINDING6_OPTION, 6),
        interface_prefix=prefix,
        parent=given.get("parent", ""),
        macvlan_mode=mode,
        gateway_modes={4: _mode(given, GATEWAY_MODE4_OPTION), 6: _mode(given, GATEWAY_MODE6_OPTION)},
    )


def check_name(name: str, taken: Iterable[str]) -> None:
    if not name or not name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if name in PREDEFINED or name == "default":
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
    if name in taken:
        raise Conflict(f"network with name {name} already exists")


def check_driver(driver: str) -> None:
    if driver in ("bridge", "macvlan"):
        return
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Forbidden(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
            "swarm and try again."
        )
    raise NotFound(f'plugin "{driver}" not found')


def check_kind(request: Json) -> None:
    """Kinds of networks that there are in a swarm are refused, not ignored."""
    if request.get("Ingress") or request.get("Scope") in ("swarm", "global"):
        raise Forbidden(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
            "swarm and try again."
        )


def enabled(request: Json, options: dict[str, str]) -> tuple[bool, bool]:
    """(IPv4, IPv6); a field of the request beats an option."""
    v4, v6 = request.get("EnableIPv4"), request.get("EnableIPv6")
    return (
        v4 if isinstance(v4, bool) else _flag(options, IPV4_OPTION, True),
        v6 if isinstance(v6, bool) else _flag(options, IPV6_OPTION, False),
    )


def read_ipam(config: Iterable[Json] | None) -> list[Asked]:
    """Raises InvalidParameter with every fault of the entries, a line each."""
    faults: list[str] = []
    asked = [_entry(entry, faults) for entry in config or () if any(entry.values())]
    if faults:
        raise InvalidParameter("invalid network config:\n" + "\n".join(faults))
    return asked


def subnets_of(asked: Iterable[Asked], without_gateway: Container[int] = ()) -> list[Subnet]:
    """Of entries whose subnets are known. In versions `without_gateway` only a gateway that is named is one."""
    made: list[Subnet] = []
    for entry in asked:
        assert entry.subnet is not None, "a pool is chosen before"
        needs_gateway = entry.version not in without_gateway
        made.append(
            make_subnet(entry.subnet, entry.ip_range, entry.gateway, entry.auxiliary, needs_gateway=needs_gateway)
        )
    return made


def ipam_config(subnets: Iterable[Subnet]) -> list[Json]:
    """IPAM.Config as `inspect` tells it."""
    told: list[Json] = []
    for subnet in subnets:
        entry: Json = {"Subnet": str(subnet.network)}
        if subnet.ip_range != subnet.network:
            entry["IPRange"] = str(subnet.ip_range)
        if subnet.gateway is not None:
            entry["Gateway"] = str(subnet.gateway)
        if subnet.auxiliary:
            entry["AuxiliaryAddresses"] = {name: str(address) for name, address in subnet.auxiliary.items()}
        told.append(entry)
    return told


def _entry(entry: Json, faults: list[str]) -> Asked:
    """What is wrong goes to `faults`; the result is then of no use."""
    subnet = _network(str(entry.get("Subnet") or ""), "subnet", faults)
    ip_range = _network(str(entry.get("IPRange") or ""), "ip-range", faults, subnet)
    gateway = _address(str(entry.get("Gateway") or ""), "gateway", faults, subnet)
    auxiliary: dict[str, IpAddress] = {}
    for name, text in (entry.get("AuxiliaryAddresses") or {}).items():
        address = _address(str(text), f"auxiliary address {name}:", faults, subnet)
        if address is not None:
            auxiliary[str(name)] = address
    version = next((found.version for found in (subnet, ip_range, gateway) if found is not None), 4)
    return Asked(subnet, version, ip_range, gateway, auxiliary)


def _network(text: str, what: str, faults: list[str], parent: IpNetwork | None = None) -> IpNetwork | None:
    if not text:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        faults.append(f"invalid {what} {text}: invalid CIDR block notation")
        return None
    if ipaddress.ip_interface(text).ip != network.network_address:
        faults.append(f"invalid {what} {text}: it should be {network}")
    if what == "ip-range" and parent is not None:
        if parent.version != network.version:
            faults.append(f"invalid ip-range {text}: parent subnet is an IPv{parent.version} block")
        elif network.prefixlen < parent.prefixlen:
            faults.append(f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {parent}")
        elif network.network_address not in parent:
            faults.append(f"invalid ip-range {text}: parent subnet {parent} doesn't contain ip-range")
    return network


def _address(text: str, what: str, faults: list[str], parent: IpNetwork | None) -> IpAddress | None:
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        faults.append(f"invalid {what} {text}: invalid address")
        return None
    if parent is None:
        return address
    if address.version != parent.version:
        faults.append(f"invalid {what} {text}: parent subnet is an IPv{parent.version} block")
    elif address not in parent:
        faults.append(f"invalid {what} {text}: parent subnet {parent} doesn't contain this address")
    return address


def _flag(options: dict[str, str], key: str, default: bool) -> bool:
    text = options.get(key, "")
    if text == "":
        return default
    value = _BOOLEANS.get(str(text).lower())
    if value is None:
        raise InvalidParameter(f'driver-opt "{key}" is not a valid bool')
    return value


def _mode(options: dict[str, str], key: str) -> GatewayMode:
    text = options.get(key, GatewayMode.NAT)
    try:
        return GatewayMode(text)
    except ValueError as error:
        raise InvalidParameter(f"failed to parse {key} value: {text} (unknown gateway mode {text})") from error


def _mtu(options: dict[str, str]) -> int:
    text = options.get(MTU_OPTION, "")
    if text == "":
        return 0
    if not text.isdigit() or (int(text) != 0 and not _MTU_MIN <= int(text) <= _MTU_MAX):
        raise InvalidParameter(f"failed to parse {MTU_OPTION} value: {text}")
    return int(text)


def _binding(options: dict[str, str], key: str, version: int) -> str:
    text = options.get(key, "")
    if text == "":
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidParameter(f"invalid {key} value: {text}") from error
    if address.version != version:
        raise InvalidParameter(f"invalid {key} value: {text} is not an IPv{version} address")
    return text
