"""Bridges of the host and links of containers: a few netlink messages each.

A container's links vanish with its namespace. That takes the kernel 20 to 40 ms, as long as deleting a link by hand
(and a deletion holds the lock that every other change of links needs), so leaving costs nothing here. Meanwhile the
address may have a new owner with the same MAC: an announcement from the new link turns the bridge's and the neighbours'
memory to it at once.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riverport.engine.errors import SystemFailure
from riverport.engine.linux import netlink
from riverport.engine.linux.netlink import Netlink
from riverport.engine.linux.netns import inside

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_BRIDGE_FILTERS: Final = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")
_ROUTER: Final = ipaddress.IPv6Interface("fe80::1/64")
"""A bridge's link-local address, as Docker's. For one of the kernel's choice duplicates would be looked for, seconds in
which nothing is forwarded into the bridge: a router asks for neighbours from that address (RFC 4861, 7.2.2)."""
_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_ALL_NODES: Final = ipaddress.IPv6Address("ff02::1")


@dataclass(frozen=True, slots=True)
class Cable:
    """One link of a container, planned."""

    driver: str  # bridge | macvlan
    parent: str  # the bridge, or macvlan's parent
    veth: str  # our end's name
    interface: str
    mac: str
    addresses: tuple[IpInterface, ...]
    mtu: int
    isolated: bool = False
    macvlan_mode: str = "bridge"
    sysctls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The default route of one IP version: by a gateway, or (without one) straight into the link."""

    version: int
    interface: str
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address | None


class Announcement:
    """Tells a link's neighbours, once it carries frames, that its addresses are here now (RFC 5227; RFC 4861 7.2.6)."""

    def __init__(self, cable: Cable) -> None:
        self._frames = [_announcement(interface, cable.mac) for interface in cable.addresses]
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((cable.interface, 0))
        self._socket.setblocking(False)

    def send(self) -> None:
        """Sends and closes; a link that has gone meanwhile has nothing to tell."""
        with self._socket:
            for frame in self._frames:
                try:
                    self._socket.send(frame)
                except OSError:
                    return


def write_sysctl(path: str, value: str) -> None:
    """Below /proc/sys, in the namespace of the calling thread. Nothing happens if it has that value."""
    file = Path("/proc/sys", path)
    if file.read_text().strip() != value:
        file.write_text(value)


def enable_forwarding(version: int) -> None:
    """Raises SystemFailure where /proc/sys may not be written and the host does not forward yet."""
    try:
        write_sysctl(_FORWARDING[version], "1")
    except OSError as error:
        raise SystemFailure(f"containers need {_FORWARDING[version].replace('/', '.')}=1: {error}") from error


def bridges_are_filtered() -> bool:
    """Whether frames that a bridge forwards pass the host's rules (the module br_netfilter).

    Then a container's way to a published port of its own network stays in the bridge, and may leave by the port it came
    from; and the firewall keeps containers apart where the ports of the bridge would otherwise.
    """
    try:
        return all(Path("/proc/sys", path).read_text().strip() == "1" for path in _BRIDGE_FILTERS)
    except OSError:
        return False


def make_bridge(name: str, addresses: Sequence[IpInterface], mtu: int) -> None:
    """As it should be, whatever is there: made if absent, addresses added if missing."""
    with Netlink() as here:
        link = here.link(name)
        if link is None:
            here.do([netlink.bridge(name, mtu, _random_mac())])
            link = here.link(name)
        if link is None or link.kind != "bridge":
            raise SystemFailure(f"{name} exists and is no bridge")
        present = set(here.addresses(link.index))
        has_v6 = any(interface.version == 6 for interface in addresses)
        all_wanted = [*addresses, _ROUTER] if has_v6 else addresses
        wanted = [netlink.address(link.index, interface) for interface in all_wanted if interface not in present]
        here.do([netlink.link_up(name, link_local=False), netlink.route_localnet(name), *wanted])


def remove_link(name: str) -> None:
    with Netlink() as here:
        here.do([netlink.delete_link(name)])


def bridge_ports(bridges: Sequence[str]) -> list[str]:
    """The names of all links that are plugged into these bridges."""
    with Netlink() as here:
        links = here.links()
    indexes = {link.index for link in links if link.name in bridges}
    return [link.name for link in links if link.master in indexes]


def visit(namespace: int, work: Callable[[], None]) -> None:
    """`work` inside the namespace."""
    inside(namespace, work)


def link_addresses(name: str) -> list[IpInterface] | None:
    """Of a link of the host; None if there is no such link."""
    with Netlink() as here:
        link = here.link(name)
        return None if link is None else here.addresses(link.index)


def routed_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Where the host has routes to; no new network may lie there."""
    with Netlink() as here:
        return here.routes()


def attach(
    cables: Sequence[Cable],
    routes: Sequence[Route],
    namespace: int,
    finish: Callable[[], None] = lambda: None,
    *,
    filtered: bool = False,
) -> list[Announcement]:
    """Links into the namespace behind the descriptor, with addresses and routes; then `finish`, in there.

    `filtered` is what `bridges_are_filtered` said.

    Blocks for about a millisecond a cable. On failure nothing is left: our ends are deleted, and the peers with them.
    """
    made: list[str] = []
    try:
        with Netlink() as here:
            for cable in cables:
                parent = here.link(cable.parent)
                if parent is None:
                    raise SystemFailure(f"network interface {cable.parent} is gone")
                here.do(_plug(cable, parent.index, namespace, filtered))
                if cable.driver == "bridge":
                    made.append(cable.veth)
        return inside(namespace, lambda: _settle(cables, routes, finish))
    except BaseException:
        for name in made:
            remove_link(name)
        raise


def detach(cable_names: Sequence[tuple[str, str]], routes: Sequence[Route], namespace: int) -> None:
    """Unplug from a running container: (our end's name or "", interface) each; then route anew."""

    def unplug() -> None:
        with Netlink() as there:
            there.do([netlink.delete_link(interface) for _, interface in cable_names])
            there.do(_route_messages(there, routes))

    inside(namespace, unplug)
    with Netlink() as here:
        here.do([netlink.delete_link(veth) for veth, _ in cable_names if veth])


def route(routes: Sequence[Route], namespace: int) -> None:
    """Set the default routes of a running container."""

    def work() -> None:
        with Netlink() as there:
            there.do(_route_messages(there, routes))

    inside(namespace, work)


def _plug(cable: Cable, parent: int, namespace: int, filtered: bool) -> list[netlink.Message]:
    if cable.driver == "macvlan":
        return [netlink.macvlan(parent, cable.interface, namespace, cable.mac, cable.macvlan_mode, cable.mtu)]
    return netlink.veth(
        cable.veth,
        parent,
        cable.interface,
        namespace,
        cable.mac,
        cable.mtu,
        hairpin=filtered,
        isolated=cable.isolated and not filtered,
    )


def _settle(cables: Sequence[Cable], routes: Sequence[Route], finish: Callable[[], None]) -> list[Announcement]:
    """In the container's namespace."""
    with Netlink() as there:
        messages = [netlink.link_up("lo")]
        for cable in cables:
            link = there.link(cable.interface)
            assert link is not None, f"{cable.interface} was made a moment ago"
            has_v6 = any(interface.version == 6 for interface in cable.addresses)
            messages += [netlink.address(link.index, interface) for interface in cable.addresses]
            messages.append(netlink.link_up(cable.interface, link_local=has_v6))
        there.do(messages)
        there.do(_route_messages(there, routes))
    for cable in cables:
        for path, value in cable.sysctls:
            write_sysctl(path, value)
    finish()
    return [Announcement(cable) for cable in cables if cable.addresses]


def _route_messages(there: Netlink, routes: Sequence[Route]) -> list[netlink.Message]:
    messages = []
    for entry in routes:
        link = there.link(entry.interface)
        if link is not None:
            messages.append(netlink.default_route(link.index, entry.gateway, entry.version))
    return messages


def _random_mac() -> str:
    return bytes([0x02, 0x42, *os.urandom(4)]).hex(":")


def _announcement(interface: IpInterface, mac: str) -> bytes:
    """An Ethernet frame: a gratuitous ARP request, or an unsolicited neighbour advertisement."""
    source = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    ip = interface.ip
    if isinstance(ip, ipaddress.IPv4Address):
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + source + ip.packed + bytes(6) + ip.packed
        return b"\xff" * 6 + source + struct.pack("!H", _ETH_ARP) + arp
    # Flags: override. Option 2: target link-layer address, in units of eight bytes.
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ip.packed + b"\x02\x01" + source
    pseudo = ip.packed + _ALL_NODES.packed + struct.pack("!IxxxB", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + ip.packed + _ALL_NODES.packed
    return b"\x33\x33\x00\x00\x00\x01" + source + struct.pack("!H", _ETH_IPV6) + header + body


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
