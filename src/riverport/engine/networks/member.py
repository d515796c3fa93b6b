"""A container as its networks see it: what it asks for, and what it is told when it has joined."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """Docker's own JSON, as the container's document holds it; the networks read it and never change it."""

    id: str
    name: str  # without the slash
    config: Json  # Hostname, Domainname, ExposedPorts
    host_config: Json  # NetworkMode, PortBindings, PublishAllPorts, Dns, DnsSearch, DnsOptions, ExtraHosts, Links
    endpoints: dict[str, Json] | None = None
    """EndpointSettings by network, name or id, as create or a later connect gave them. None: only NetworkMode's; empty:
    it was disconnected from every network."""

    @property
    def mode(self) -> str:
        """ "bridge", "host", "none", "container:<id>", or a network; "default" is the bridge."""
        mode = str(self.host_config.get("NetworkMode") or "default")
        return "bridge" if mode == "default" else mode

    @property
    def has_own_namespace(self) -> bool:
        return self.mode != "host" and not self.mode.startswith("container:")

    @property
    def hostname(self) -> str:
        return str(self.config.get("Hostname") or "") or self.id[:12]


@dataclass(frozen=True, slots=True)
class Joined:
    """What a container's owner stores, shows in `inspect`, and writes into the container's files."""

    networks: dict[str, Json]  # NetworkSettings.Networks
    ports: dict[str, list[dict[str, str]] | None]  # NetworkSettings.Ports
    hosts: str  # /etc/hosts
    resolv_conf: str  # /etc/resolv.conf
    sandbox_id: str
    sandbox_key: str

    def network_settings(self) -> Json:
        """NetworkSettings of `inspect`, with the fields of the default bridge repeated on top (gone in API 1.52)."""
        return network_settings(self.networks, self.ports, self.sandbox_id, self.sandbox_key)


def network_settings(
    networks: dict[str, Json],
    ports: dict[str, list[dict[str, str]] | None],
    sandbox_id: str = "",
    sandbox_key: str = "",
) -> Json:
    bridge = networks.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": sandbox_id,
        "SandboxKey": sandbox_key,
        "Ports": ports,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.get("EndpointID", ""),
        "Gateway": bridge.get("Gateway", ""),
        "GlobalIPv6Address": bridge.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": bridge.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": bridge.get("IPAddress", ""),
        "IPPrefixLen": bridge.get("IPPrefixLen", 0),
        "IPv6Gateway": bridge.get("IPv6Gateway", ""),
        "MacAddress": bridge.get("MacAddress", ""),
        "Networks": networks,
    }
