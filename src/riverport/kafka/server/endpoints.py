"""Addresses in settings: listeners (NAME://host:port), quorum voters (id@host:port) and plain host:port.

A listener's name is case-insensitive and kept in upper case; its security protocol comes from a map of names. A host of
"" means all interfaces. Anything that cannot be read raises `ValueError` with a sentence that names the entry.
"""

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from riverport.base.settings import Check

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
NON_ROUTABLE = "0.0.0.0"

_LISTENER = re.compile(r"(.*)://\[?([0-9a-zA-Z\-%._:]*)\]?:(-?[0-9]+)", re.DOTALL)
_HOST_PORT = re.compile(r"(?:[a-zA-Z][a-zA-Z\d+\-.]*://)?\[?([0-9a-zA-Z\-._%:]+)\]?:([0-9]+)")
_HOST = re.compile(r"[0-9a-zA-Z\-%._:]*")
_PORT_MAX = 65535


class Endpoint(NamedTuple):
    listener: str  # upper case
    protocol: str  # one of SECURITY_PROTOCOLS
    host: str  # "" is every interface
    port: int  # 0 lets the system choose


class Address(NamedTuple):
    host: str
    port: int


def reachable(endpoint: Endpoint, bound: Mapping[str, int]) -> tuple[str, int]:
    """Host and port to tell others: this machine's name for "", the port that was bound for 0."""
    return endpoint.host or socket.getfqdn(), endpoint.port or bound[endpoint.listener]


def parse_listeners(entries: Iterable[str], protocols: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """`protocols` maps listener names to security protocols. Raises ValueError."""
    return tuple(_listener(entry, protocols) for entry in entries)


def _listener(entry: str, protocols: Mapping[str, str]) -> Endpoint:
    found = _LISTENER.fullmatch(entry)
    if not found:
        raise ValueError(f"{entry} is no listener; write NAME://host:port")
    name, host, port = found[1].upper(), found[2], int(found[3])
    if not -1 <= port <= _PORT_MAX:
        raise ValueError(f"the port of {entry} must lie between 0 and {_PORT_MAX}")
    if name not in protocols:
        raise ValueError(f"listener.security.protocol.map gives no security protocol for listener {name}")
    return Endpoint(name, protocols[name], host, port)


def listener_name(entry: str) -> str:
    """The upper-case name of a NAME://host:port entry. Raises ValueError."""
    name, colon, _ = entry.partition(":")
    if not colon:
        raise ValueError(f"{entry} is no listener; write NAME://host:port")
    return name.upper()


def parse_map(text: str) -> dict[str, str]:
    """name:value pairs, separated by commas; the last colon of a pair separates. Raises ValueError."""
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, colon, value = pair.rpartition(":")
        if not colon:
            raise ValueError(f"{pair} is no pair; write name:value")
        pairs[name.strip()] = value.strip()
    return pairs


def parse_address(entry: str) -> Address:
    """host:port, an IPv6 address in brackets. Raises ValueError."""
    found = _HOST_PORT.fullmatch(entry)
    if not found or int(found[2]) > _PORT_MAX:
        raise ValueError(f"{entry} is no address; write host:port")
    return Address(found[1], int(found[2]))


def parse_voters(entries: Iterable[str]) -> dict[int, Address]:
    """id@host:port entries of controller.quorum.voters. Raises ValueError."""
    voters: dict[int, Address] = {}
    for entry in entries:
        number, at, address = entry.partition("@")
        if not at or "@" in address or not re.fullmatch(r"[+-]?[0-9]{1,10}", number):
            raise ValueError(f"{entry} is no voter; write id@host:port")
        voters[int(number)] = parse_address(address)
    return voters


def is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def clash_of(endpoints: Sequence[Endpoint], *, distinct_ports: bool) -> str | None:
    """Why these listeners cannot stand side by side. An IPv4 and an IPv6 address may share a port, no others."""
    names = [endpoint.listener for endpoint in endpoints]
    if len(set(names)) != len(names):
        return "each listener must have a name of its own"
    if not distinct_ports:
        return None
    by_port: dict[int, list[Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.port != 0:
            by_port.setdefault(endpoint.port, []).append(endpoint)
    for port, sharing in by_port.items():
        if len(sharing) > 1 and sorted(_family(endpoint.host) for endpoint in sharing) != [4, 6]:
            return f"port {port} is used twice; only an IPv4 and an IPv6 address may share a port"
    return None


def _family(host: str) -> int:
    """4 or 6 for a numeric address, 0 for a name."""
    import ipaddress  # only where two listeners share a port

    try:
        return ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError:
        return 0


def _voters_problem(value: Any) -> str | None:
    try:
        parse_voters(value)
    except ValueError as wrong:
        return str(wrong)
    return None


def _addresses_problem(value: Any) -> str | None:
    try:
        for entry in value:
            parse_address(entry)
    except ValueError as wrong:
        return str(wrong)
    return None


VOTERS = Check(_voters_problem, "id@host:port, ...")
BOOTSTRAP_SERVERS = Check(_addresses_problem, "host:port, ...")
