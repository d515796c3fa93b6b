"""One container's place in one network, and what `inspect` tells of it. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.errors import InvalidParameter
from riverport.engine.networks.member import Member
from riverport.engine.networks.options import IFNAME_OPTION, PREDEFINED

Json = dict[str, Any]
SYSCTLS_OPTION: Final = "com.docker.network.endpoint.sysctls"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Addresses are absent in the networks "host" and "none", which have none to give."""

    id: str
    network: str  # its id
    interface: str
    mac: str
    v4: ipaddress.IPv4Interface | None
    v6: ipaddress.IPv6Interface | None
    settings: Json
    """EndpointSettings as they were asked for."""

    @property
    def veth(self) -> str:
        """Our end's name; a link's name has at most 15 characters."""
        return f"veth{self.id[:9]}"

    @property
    def gateway_priority(self) -> int:
        return int(self.settings.get("GwPriority") or 0)

    def addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        return [interface for interface in (self.v4, self.v6) if interface is not None]

    @classmethod
    def place(
        cls,
        endpoint_id: str,
        network: str,
        interface: str,
        mac: str,
        addresses: Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface],
        settings: Json,
    ) -> "Endpoint":
        """At most one address of each version."""
        v4: ipaddress.IPv4Interface | None = None
        v6: ipaddress.IPv6Interface | None = None
        for address in addresses:
            if isinstance(address, ipaddress.IPv4Interface):
                v4 = address
            else:
                v6 = address
        return cls(endpoint_id, network, interface, mac.lower().replace("-", ":"), v4, v6, settings)

    def document(self) -> Json:
        return {
            "id": self.id,
            "network": self.network,
            "interface": self.interface,
            "mac": self.mac,
            "v4": str(self.v4) if self.v4 else "",
            "v6": str(self.v6) if self.v6 else "",
            "settings": self.settings,
        }

    @classmethod
    def read(cls, document: Json) -> "Endpoint":
        v4, v6 = document["v4"], document["v6"]
        return cls(
            document["id"],
            document["network"],
            document["interface"],
            document["mac"],
            ipaddress.IPv4Interface(v4) if v4 else None,
            ipaddress.IPv6Interface(v6) if v6 else None,
            document["settings"],
        )


def ipam_wish(settings: Json, key: str) -> str:
    """IPAMConfig's IPv4Address or IPv6Address; "" if none is asked for."""
    return str((settings.get("IPAMConfig") or {}).get(key) or "")


def check_settings(network: str, settings: Json) -> None:
    """Raises InvalidParameter with every fault, a line each, in Docker's words."""
    faults: list[str] = []
    if network in PREDEFINED or network == "default":
        if ipam_wish(settings, "IPv4Address") or ipam_wish(settings, "IPv6Address"):
            faults.append("user-specified IP address is supported on user-defined networks only")
        if settings.get("Aliases"):
            faults.append("network-scoped aliases are only supported for user-defined networks")
    for version, key in ((4, "IPv4Address"), (6, "IPv6Address")):
        text = ipam_wish(settings, key)
        if text and not _is_address(text, version):
            faults.append(f"invalid IPv{version} address: {text}")
    for text in (settings.get("IPAMConfig") or {}).get("LinkLocalIPs") or ():
        if not _is_address(str(text), 0):
            faults.append(f"invalid link-local IP address: {text}")
    mac = str(settings.get("MacAddress") or "")
    if mac and not is_mac(mac):
        faults.append(f"invalid MAC address: {mac}")
    if faults:
        raise InvalidParameter("invalid endpoint settings:\n" + "\n".join(faults))


def is_mac(text: str) -> bool:
    parts = text.replace("-", ":").split(":")
    return len(parts) == 6 and all(len(part) == 2 and _is_hex(part) for part in parts)


def dns_names(member: Member, settings: Json) -> list[str]:
    """What the container is called in a user-defined network, without repeats, the container's name first."""
    names = [member.name, *(settings.get("Aliases") or ()), member.id[:12], member.hostname]
    return list(dict.fromkeys(name for name in names if name))


def told(
    endpoint: Endpoint | None,
    settings: Json,
    network_id: str,
    member: Member,
    gateways: Mapping[int, str],
    *,
    has_names: bool,
) -> Json:
    """EndpointSettings of `inspect`; without an endpoint (a container that does not run) addresses are empty."""
    v4, v6 = (endpoint.v4, endpoint.v6) if endpoint else (None, None)
    return {
        "IPAMConfig": settings.get("IPAMConfig") or None,
        "Links": settings.get("Links") or None,
        "Aliases": settings.get("Aliases") or None,
        "MacAddress": endpoint.mac if endpoint else str(settings.get("MacAddress") or ""),
        "DriverOpts": settings.get("DriverOpts") or None,
        "GwPriority": int(settings.get("GwPriority") or 0),
        "NetworkID": network_id,
        "EndpointID": endpoint.id if endpoint else "",
        "Gateway": gateways.get(4, "") if v4 else "",
        "IPAddress": str(v4.ip) if v4 else "",
        "IPPrefixLen": v4.network.prefixlen if v4 else 0,
        "IPv6Gateway": gateways.get(6, "") if v6 else "",
        "GlobalIPv6Address": str(v6.ip) if v6 else "",
        "GlobalIPv6PrefixLen": v6.network.prefixlen if v6 else 0,
        "DNSNames": dns_names(member, settings) if has_names else None,
    }


def wished_interface(settings: Json) -> str:
    """The interface's name that a driver option asks for; "" if none does."""
    return str((settings.get("DriverOpts") or {}).get(IFNAME_OPTION) or "")


def next_interface(prefix: str, taken: Iterable[str]) -> str:
    """eth0, eth1, ...: the lowest that is free."""
    used = set(taken)
    number = 0
    while f"{prefix}{number}" in used:
        number += 1
    return f"{prefix}{number}"


def endpoint_sysctls(settings: Json, interface: str) -> list[tuple[str, str]]:
    """(path below /proc/sys, value) of driver option "net.ipv4.conf.IFNAME.KEY=VALUE,...". Raises InvalidParameter."""
    wanted: list[tuple[str, str]] = []
    text = str((settings.get("DriverOpts") or {}).get(SYSCTLS_OPTION) or "")
    for entry in filter(None, text.split(",")):
        name, equals, value = entry.partition("=")
        parts = name.split(".")
        if not equals or len(parts) != 5 or parts[0] != "net" or parts[3] not in ("IFNAME", "ifname"):
            raise InvalidParameter(f"unrecognised network interface sysctl '{entry}'")
        if parts[1] not in ("ipv4", "ipv6", "mpls") or not all(part.replace("_", "").isalnum() for part in parts):
            raise InvalidParameter(f"unrecognised network interface sysctl '{entry}'")
        wanted.append(("/".join([*parts[:3], interface, parts[4]]), value))
    return wanted


def _is_address(text: str, version: int) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified and version in (0, address.version)


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)
