"""Which subnet a network gets, and which address a container: pure book-keeping over integers.

Addresses are given lowest first, so that a lone container is always .2, and a freed one is given again at once (the
announcement in `plumbing.py` tells neighbours of its new owner).
"""

import heapq
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from riverport.engine.errors import Conflict, Forbidden, InvalidParameter, SystemFailure

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

Pool = tuple[str, int]
"""(base, prefix length of the networks cut from it)"""

DEFAULT_POOLS: Final[tuple[Pool, ...]] = (
    *((f"172.{number}.0.0/16", 16) for number in range(17, 32)),
    ("192.168.0.0/16", 20),
)

_ULA_BITS: Final = 40  # RFC 4193: fd00::/8, then a 40-bit global id, then 16 bits for a subnet


@dataclass(slots=True)
class Subnet:
    """One subnet of a network, and who has which of its addresses.

    `auxiliary` are addresses of other machines in it, never given. Containers get addresses of `ip_range` unless they
    ask for one.
    """

    network: IpNetwork
    ip_range: IpNetwork
    gateway: IpAddress | None
    auxiliary: dict[str, IpAddress] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)
    _freed: list[int] = field(default_factory=list)  # a heap of what was given back, all below `_next`
    _next: int = 0

    def __post_init__(self) -> None:
        self._next = int(self.ip_range.network_address)
        self._taken.update(int(address) for address in self.auxiliary.values())
        if self.gateway is not None:
            self._taken.add(int(self.gateway))
        # The first address names the subnet; the last of an IPv4 one is everybody's (RFC 919). RFC 3021: not in a /31.
        if self.network.num_addresses > 2:
            self._taken.add(int(self.network.network_address))
            if self.network.version == 4:
                self._taken.add(int(self.network.broadcast_address))

    @property
    def version(self) -> int:
        return self.network.version

    @property
    def free(self) -> int:
        """How many addresses of the range are left."""
        low, high = int(self.ip_range.network_address), int(self.ip_range.broadcast_address)
        return self.ip_range.num_addresses - sum(low <= value <= high for value in self._taken)

    def take(self) -> IpAddress | None:
        """The lowest free address of the range; None if there is none."""
        while self._freed:
            value = heapq.heappop(self._freed)
            if value not in self._taken:
                return self._give(value)
        last = int(self.ip_range.broadcast_address)
        while self._next <= last:
            value = self._next
            self._next += 1
            if value not in self._taken:
                return self._give(value)
        return None

    def claim(self, address: IpAddress) -> bool:
        """Take this very one; False if somebody has it."""
        assert address in self.network, f"{address} is not in {self.network}"
        if int(address) in self._taken:
            return False
        self._taken.add(int(address))
        return True

    def release(self, address: IpAddress) -> None:
        value = int(address)
        if value not in self._taken:
            return
        self._taken.remove(value)
        if value < self._next and address in self.ip_range:
            heapq.heappush(self._freed, value)

    def _give(self, value: int) -> IpAddress:
        self._taken.add(value)
        return ipaddress.IPv4Address(value) if self.network.version == 4 else ipaddress.IPv6Address(value)


def make_subnet(
    network: IpNetwork,
    ip_range: IpNetwork | None = None,
    gateway: IpAddress | None = None,
    auxiliary: dict[str, IpAddress] | None = None,
    *,
    needs_gateway: bool = True,
) -> Subnet:
    """With the gateway that Docker would choose: the first address of the range that nobody else has.

    Without `needs_gateway` with none but the one that is given.
    """
    subnet = Subnet(network, ip_range or network, gateway, dict(auxiliary or {}))
    if gateway is None and needs_gateway:
        subnet.gateway = subnet.take()
        if subnet.gateway is None:
            raise InvalidParameter(f"no available IPv{network.version} addresses on this network's address pools")
    return subnet


def choose(subnets: Sequence[Subnet], name: str, holders: Sequence[str] = ()) -> IpAddress:
    """The next address of a network's subnets. Raises SystemFailure, naming the containers that hold them."""
    for subnet in subnets:
        address = subnet.take()
        if address is not None:
            return address
    told = f" ({len(holders)} containers hold them: {_some(holders)})" if holders else ""
    raise SystemFailure(f"no available IPv4 addresses on this network's address pools: {name}{told}")


def claim(subnets: Sequence[Subnet], address: IpAddress) -> None:
    """Raises InvalidParameter for an address outside, Forbidden for one that is taken."""
    for subnet in subnets:
        if address in subnet.network:
            if not subnet.claim(address):
                raise Forbidden("Address already in use")
            return
    raise InvalidParameter(f"invalid endpoint settings:\nno configured subnet contains IP address {address}")


def free_pool(pools: Iterable[Pool], used: dict[str, list[IpNetwork]], routed: Iterable[IpNetwork]) -> IpNetwork:
    """The first network of the pools that overlaps neither a network's subnet nor what the host routes.

    Raises Conflict, naming the networks in the way, where Docker says only that there is none.
    """
    taken = _Ranges([*(subnet for subnets in used.values() for subnet in subnets), *routed])
    bases: list[IpNetwork] = []
    for base, length in pools:
        pool = ipaddress.ip_network(base)
        if pool.version != 4:
            continue
        bases.append(pool)
        step = 1 << (pool.max_prefixlen - length)
        start, end = int(pool.network_address), int(pool.broadcast_address)
        while start <= end:
            last = taken.last_overlap(start, start + step - 1)
            if last is None:
                return ipaddress.IPv4Network((start, length))
            start = (last // step + 1) * step  # the first candidate behind what is in the way
    holders = [name for name, subnets in used.items() if any(_overlaps(subnet, bases) for subnet in subnets)]
    told = f" (all of them are held by networks: {_some(holders)}; remove some or add pools)" if holders else ""
    raise Conflict(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
        + told
    )


def unique_local(network_id: str) -> ipaddress.IPv6Network:
    """A /64 for a network that asks for IPv6 and names no subnet: RFC 4193, its global id taken from the network's."""
    number = int(network_id[: _ULA_BITS // 4], 16)
    return ipaddress.IPv6Network(((0xFD << 120) | (number << 80), 64))


def check_overlap(subnet: IpNetwork, used: dict[str, list[IpNetwork]]) -> None:
    """Raises Forbidden in Docker's words and with the name of the network in the way."""
    for name, subnets in used.items():
        if _overlaps(subnet, subnets):
            raise Forbidden(
                "invalid pool request: Pool overlaps with other one on this address space"
                f" (network {name} has {', '.join(map(str, subnets))})"
            )


def mac_of(address: IpAddress) -> str:
    """02:42 and the IPv4 address, as Docker made them until 27: whoever has the address has the MAC, so that no
    neighbour's cache is ever wrong. Of an IPv6 address the last four bytes."""
    return bytes([0x02, 0x42, *address.packed[-4:]]).hex(":")


class _Ranges:
    """Closed intervals of IPv4 addresses."""

    def __init__(self, networks: Iterable[IpNetwork]) -> None:
        self._ranges = [
            (int(network.network_address), int(network.broadcast_address))
            for network in networks
            if network.version == 4
        ]

    def last_overlap(self, start: int, end: int) -> int | None:
        """The highest address of what overlaps start..end; None if nothing does."""
        return max((high for low, high in self._ranges if low <= end and start <= high), default=None)


def _overlaps(subnet: IpNetwork, others: Iterable[IpNetwork]) -> bool:
    return any(subnet.version == other.version and subnet.overlaps(other) for other in others)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
