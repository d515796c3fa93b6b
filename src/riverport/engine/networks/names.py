"""Who answers to a name in which network. Pure.

A name is looked for in the networks of the container that asks: links first (they are its own), then container names,
aliases, short ids and host names. `name.network` narrows it down to one network. Names are case-insensitive (RFC 4343).
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Entry:
    """A container in a network."""

    container: str
    names: tuple[str, ...]  # the first is told in reverse look-ups
    addresses: tuple[IpAddress, ...]


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose question it is: its networks in order, and its links (alias → name) in each."""

    networks: tuple[str, ...]
    links: Mapping[str, Mapping[str, str]]


class Directory:
    def __init__(self) -> None:
        self._network_names: dict[str, str] = {}
        self._entries: dict[str, dict[str, Entry]] = {}  # by network, by container
        self._names: dict[str, dict[str, list[str]]] = {}  # by network, by name: containers in the order they came
        self._addresses: dict[str, dict[IpAddress, str]] = {}  # by network, by address: the container

    def add(self, network: str, network_name: str, entry: Entry) -> None:
        """Replaces what the container had in that network."""
        self.remove(network, entry.container)
        self._network_names[network] = network_name.lower()
        self._entries.setdefault(network, {})[entry.container] = entry
        names = self._names.setdefault(network, {})
        for name in _folded(entry.names):
            names.setdefault(name, []).append(entry.container)
        self._addresses.setdefault(network, {}).update((address, entry.container) for address in entry.addresses)

    def remove(self, network: str, container: str) -> None:
        entry = self._entries.get(network, {}).pop(container, None)
        if entry is None:
            return
        names = self._names[network]
        for name in _folded(entry.names):
            names[name].remove(container)
            if not names[name]:
                del names[name]
        for address in entry.addresses:
            self._addresses[network].pop(address, None)
        if not self._entries[network]:
            for table in (self._entries, self._names, self._addresses, self._network_names):
                table.pop(network, None)

    def find(self, asker: Asker, name: str) -> list[IpAddress] | None:
        """Every address, of either version, of everyone with that name in the first network that knows it.

        None: nobody has it, and the question is for the servers outside.
        """
        folded = name.rstrip(".").lower()
        for network in asker.networks:
            found = self._in_network(network, folded, asker.links.get(network, {}))
            if found is None:
                first, dot, rest = folded.rpartition(".")
                if dot and self._network_names.get(network) == rest:
                    found = self._in_network(network, first, asker.links.get(network, {}))
            if found is not None:
                return found
        return None

    def reverse(self, asker: Asker, address: IpAddress) -> str | None:
        """`name.network` of who has the address in one of the asker's networks."""
        for network in asker.networks:
            container = self._addresses.get(network, {}).get(address)
            if container is not None:
                return f"{self._entries[network][container].names[0]}.{self._network_names[network]}"
        return None

    def _in_network(self, network: str, name: str, links: Mapping[str, str]) -> list[IpAddress] | None:
        known = self._names.get(network, {})
        target = links.get(name)
        containers = known.get(target.lower() if target is not None else name)
        if containers is None and target is not None:
            containers = known.get(target.lower()[:12])  # a link may name its target by full id
        if not containers:
            return None
        entries = self._entries[network]
        return [address for container in containers for address in entries[container].addresses]


def parse_links(links: Iterable[str] | None) -> dict[str, str]:
    """["db:database"] → {"database": "db"}; without an alias the name itself. Legacy form: "/db:/web/database"."""
    found: dict[str, str] = {}
    for text in links or ():
        name, _, alias = text.partition(":")
        name = name.strip("/")
        found[(alias.rpartition("/")[2] or name).lower()] = name
    return found


def _folded(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.lower() for name in names))
