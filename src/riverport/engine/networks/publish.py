"""Published ports: what a container asks for, and what it is told. Pure.

PortBindings is {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}; a HostPort may be empty (any) or a range (any of it).
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.errors import InvalidParameter

Json = dict[str, Any]
PortsTold = dict[str, list[dict[str, str]] | None]

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One binding that a container asks for. `low` 0: any free port."""

    port: int
    protocol: str
    host_ip: str  # "": the default
    low: int
    high: int

    @property
    def key(self) -> str:
        return f"{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """One port of the host that leads to a port of a container. `host_ip` 0.0.0.0 or :: is every address.

    `host_port` 0: none leads there, the port is open at the container's own address (a routed network).
    """

    protocol: str
    port: int
    host_ip: str
    host_port: int
    address: str  # the container's

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    @property
    def routed(self) -> bool:
        return self.host_port == 0

    @property
    def anywhere(self) -> bool:
        return self.host_ip in ("0.0.0.0", "::")

    def document(self) -> list[Any]:
        return [self.protocol, self.port, self.host_ip, self.host_port, self.address]

    @classmethod
    def read(cls, document: list[Any]) -> "Binding":
        protocol, port, host_ip, host_port, address = document
        return cls(protocol, port, host_ip, host_port, address)


def parse_port(text: str) -> tuple[int, str]:
    """("80/tcp" or "80") → (80, "tcp"). Raises InvalidParameter."""
    number, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise InvalidParameter(f"invalid port specification: {text!r}".replace("'", '"'))
    if protocol not in PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    return int(number), protocol


def exposed_ports(config: Json, host_config: Json) -> list[tuple[int, str]]:
    """What the container offers: exposed by image or command, or published; sorted."""
    offered = {parse_port(text) for text in config.get("ExposedPorts") or ()}
    offered.update(parse_port(text) for text in host_config.get("PortBindings") or ())
    return sorted(offered)


def wanted_bindings(config: Json, host_config: Json) -> list[Wanted]:
    """Sorted by port, so that a fixed port is never taken by an earlier port's free choice: fixed ones come first."""
    wanted: list[Wanted] = []
    bindings = host_config.get("PortBindings") or {}
    for text, places in bindings.items():
        port, protocol = parse_port(text)
        for place in places or ({"HostIp": "", "HostPort": ""},):
            low, high = _host_ports(str(place.get("HostPort") or ""))
            wanted.append(Wanted(port, protocol, _host_ip(str(place.get("HostIp") or "")), low, high))
    if host_config.get("PublishAllPorts"):
        published = {(entry.port, entry.protocol) for entry in wanted}
        for port, protocol in exposed_ports(config, {}):
            if (port, protocol) not in published:
                wanted.append(Wanted(port, protocol, "", 0, 0))
    return sorted(wanted, key=lambda entry: (entry.high - entry.low if entry.low else 65536, entry.port))


def ports_told(exposed: Iterable[tuple[int, str]], bindings: Iterable[Binding]) -> PortsTold:
    """NetworkSettings.Ports: null for a port that is offered and not published."""
    told: PortsTold = {f"{port}/{protocol}": None for port, protocol in exposed}
    for binding in sorted(bindings, key=lambda entry: (entry.port, entry.protocol, entry.version, entry.host_port)):
        key = f"{binding.port}/{binding.protocol}"
        places = told.get(key)
        place = {"HostIp": binding.host_ip, "HostPort": "" if binding.routed else str(binding.host_port)}
        told[key] = [place] if places is None else [*places, place]
    return told


def _host_ip(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError as error:
        raise InvalidParameter(f"invalid IP address: {text}") from error


def _host_ports(text: str) -> tuple[int, int]:
    if not text or text == "0":
        return 0, 0
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise InvalidParameter(f'invalid port range: value is not a number: "{text}"')
    low, high = int(first), int(last) if dash else int(first)
    if not 0 < low <= high < 65536:
        raise InvalidParameter(f'invalid port range: "{text}"')
    return low, high
