"""Links, addresses and routes by rtnetlink (RFC 3549, rtnetlink(7), linux/if_link.h), with `struct` and one socket.

A socket belongs to the network namespace in which it was opened; `netns.py` opens one elsewhere. Messages are built
by pure functions and sent in one datagram: the kernel works through them in order and acknowledges each, so that a
container's whole side (loopback, address, routes) costs one system call. A veth pair with the peer's namespace, name,
address and the bridge of our end is one message too.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change mask
_ADDRESS: Final = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg: family, lengths, tos, table, protocol, scope, type, flags
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_U32: Final = struct.Struct("=I")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTM_DELNEIGH = 29

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 26, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_MACVLAN_MODE = 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33  # mode 1 = hairpin
_IFLA_INET_CONF = 1
_IPV4_DEVCONF_ROUTE_LOCALNET = 26
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1

_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTPROT_STATIC, _RTN_UNICAST = 254, 3, 4, 1
_RT_SCOPE_LINK = 253
_NDA_DST = 1

MACVLAN_MODES: Final = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

_RECEIVE_BYTES: Final = 1 << 20


class NetlinkError(OSError):
    """The kernel's refusal; `errno` is set, `doing` names the step."""

    def __init__(self, code: int, doing: str) -> None:
        super().__init__(code, os.strerror(code))
        self.doing = doing

    def __str__(self) -> str:
        return f"{self.doing}: {self.strerror}"


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `accepted` are refusals that mean "it is so already"."""

    kind: int
    flags: int
    body: bytes
    doing: str
    accepted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str  # "bridge", "veth", ... or ""
    master: int  # 0: none
    mac: str
    mtu: int
    up: bool


# --- messages ---------------------------------------------------------------------------------------------------------


def bridge(name: str, mtu: int, mac: str | None = None) -> Message:
    """A new bridge, down. Without a fixed address it would take that of its lowest port, which changes under flows."""
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name)
    if mac is not None:
        body += _attribute(_IFLA_ADDRESS, _mac(mac))
    body += _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"bridge\0"))
    if mtu:
        body += _attribute(_IFLA_MTU, _U32.pack(mtu))
    return _create(body, f"create bridge {name}")


def veth(
    name: str, bridge_index: int, peer: str, namespace_fd: int, mac: str, mtu: int, *, hairpin: bool, isolated: bool
) -> list[Message]:
    """A pair: our end up in the bridge, the other as `peer`, down, in the namespace behind `namespace_fd`."""
    other = _LINK.pack(0, 0, 0, 0, 0) + _name(peer) + _attribute(_IFLA_ADDRESS, _mac(mac))
    other += _attribute(_IFLA_NET_NS_FD, _U32.pack(namespace_fd))
    ours = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _name(name) + _attribute(_IFLA_MASTER, _U32.pack(bridge_index))
    if mtu:
        ours += _attribute(_IFLA_MTU, _U32.pack(mtu))
        other += _attribute(_IFLA_MTU, _U32.pack(mtu))
    data = _attribute(_IFLA_INFO_DATA | _NLA_F_NESTED, _attribute(_VETH_INFO_PEER | _NLA_F_NESTED, other))
    ours += _attribute(_IFLA_LINKINFO | _NLA_F_NESTED, _attribute(_IFLA_INFO_KIND, b"veth\0") + data)
    messages = [_create(ours, f"create veth {name}")]
    if hairpin or isolated:
        messages.append(bridge_port(name, hairpin=hairpin, isolated=isolated))
    return messages


def bridge_port(name: str, *, hairpin: bool, isolated: bool) -> Message:
    """Hairpin: a frame may leave by the port it came from. Isolated: never to another isolated port (icc=false)."""
    flags = _attribute(_IFLA_BRPORT_MODE, bytes([hairpin])) + _attribute(_IFLA_BRPORT_ISOLATED, bytes([isolated]))
    data = _attribute(_IFLA_INFO_SLAVE_DATA | _NLA_F_NESTED, flags)
    info = _attribute(_IFLA_LINKINFO | _NLA_F_NESTED, _attribute(_IFLA_INFO_SLAVE_KIND, b"bridge\0") + data)
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name) + info
    return Message(_RTM_NEWLINK, 0, body, f"set bridge port {name}")


def macvlan(parent: int, peer: str, namespace_fd: int, mac: str | None, mode: str, mtu: int) -> Message:
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(peer) + _attribute(_IFLA_LINK, _U32.pack(parent))
    body += _attribute(_IFLA_NET_NS_FD, _U32.pack(namespace_fd))
    if mac is not None:
        body += _attribute(_IFLA_ADDRESS, _mac(mac))
    if mtu:
        body += _attribute(_IFLA_MTU, _U32.pack(mtu))
    data = _attribute(_IFLA_INFO_DATA | _NLA_F_NESTED, _attribute(_IFLA_MACVLAN_MODE, _U32.pack(MACVLAN_MODES[mode])))
    body += _attribute(_IFLA_LINKINFO | _NLA_F_NESTED, _attribute(_IFLA_INFO_KIND, b"macvlan\0") + data)
    return _create(body, f"create macvlan {peer}")


def link_up(name: str, *, link_local: bool = True) -> Message:
    """`link_local=False`: the kernel gives the link no fe80:: address (and sends nothing for it)."""
    body = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _name(name)
    if not link_local:
        body += _attribute(
            _IFLA_AF_SPEC | _NLA_F_NESTED,
            _attribute(
                socket.AF_INET6 | _NLA_F_NESTED,
                _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_IN6_ADDR_GEN_MODE_NONE])),
            ),
        )
    return Message(_RTM_NEWLINK, 0, body, f"bring {name} up")


def route_localnet(name: str) -> Message:
    """Let packets with a loopback source or destination pass this link, as sysctl net.ipv4.conf.X.route_localnet."""
    setting = _attribute(_IPV4_DEVCONF_ROUTE_LOCALNET, _U32.pack(1))
    inet = _attribute(socket.AF_INET | _NLA_F_NESTED, _attribute(_IFLA_INET_CONF | _NLA_F_NESTED, setting))
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name) + _attribute(_IFLA_AF_SPEC | _NLA_F_NESTED, inet)
    return Message(_RTM_NEWLINK, 0, body, f"let loopback addresses through {name}")


def delete_link(name: str) -> Message:
    body = _LINK.pack(0, 0, 0, 0, 0) + _name(name)
    return Message(_RTM_DELLINK, 0, body, f"delete {name}", (errno.ENODEV,))


def address(index: int, interface: IpInterface) -> Message:
    """Without duplicate address detection: addresses are ours to give, and a container may use its own at once."""
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, interface.network.prefixlen, 0, 0, index)
    body += _attribute(_IFA_ADDRESS, interface.ip.packed)
    if interface.version == 4:
        body += _attribute(_IFA_LOCAL, interface.ip.packed)
        if interface.network.prefixlen < 31:
            body += _attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    else:
        body += _attribute(_IFA_FLAGS, _U32.pack(_IFA_F_NODAD))
    flags = _NLM_F_CREATE | _NLM_F_EXCL
    return Message(_RTM_NEWADDR, flags, body, f"give address {interface}", (errno.EEXIST,))


def default_route(index: int, gateway: IpAddress | None, version: int = 4) -> Message:
    """By `gateway`, or, without one, straight into the link. Replaces the default route that is there."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    scope = 0 if gateway is not None or version == 6 else _RT_SCOPE_LINK
    body = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0)
    if gateway is not None:
        body += _attribute(_RTA_GATEWAY, gateway.packed)
    body += _attribute(_RTA_OIF, _U32.pack(index))
    flags = _NLM_F_CREATE | _NLM_F_REPLACE
    return Message(_RTM_NEWROUTE, flags, body, f"route everything by {gateway or index}")


def forget_neighbour(index: int, ip: IpAddress) -> Message:
    """The link address that the kernel remembers for `ip` on a link; whoever gets the address now has another."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    body = _NEIGHBOUR.pack(family, index, 0, 0, 0) + _attribute(_NDA_DST, ip.packed)
    return Message(_RTM_DELNEIGH, 0, body, f"forget neighbour {ip}", (errno.ENOENT,))


# --- the socket -------------------------------------------------------------------------------------------------------


class Netlink:
    """One rtnetlink socket of the namespace in which it is made. Not for use by several threads at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def do(self, messages: Sequence[Message]) -> None:
        """Send all in one datagram; the kernel carries out every one, whatever became of those before.

        Raises NetlinkError for the first refusal that its message does not accept.
        """
        if not messages:
            return  # the kernel refuses an empty datagram
        first = self._sequence + 1
        self._sequence += len(messages)
        parts = []
        for sequence, message in enumerate(messages, first):
            flags = _NLM_F_REQUEST | _NLM_F_ACK | message.flags
            parts.append(_HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, sequence, 0))
            parts.append(message.body)  # attributes are padded, so the next header is aligned
        self._socket.send(b"".join(parts))
        failed: NetlinkError | None = None
        answered = 0
        while answered < len(messages):
            for kind, sequence, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind != _NLMSG_ERROR or not first <= sequence < first + len(messages):
                    continue
                answered += 1
                code = -struct.unpack_from("=i", body)[0]
                message = messages[sequence - first]
                if code and code not in message.accepted and failed is None:
                    failed = NetlinkError(code, message.doing)
        if failed is not None:
            raise failed

    def link(self, name: str) -> Link | None:
        """One link by name, without dumping them all."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _name(name)
        try:
            for answer in self._ask(_RTM_GETLINK, 0, body, f"look at {name}"):
                return _link(answer)
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise
        return None

    def links(self) -> list[Link]:
        return [_link(body) for body in self._ask(_RTM_GETLINK, _NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0), "list links")]

    def addresses(self, index: int | None = None) -> list[IpInterface]:
        """Of one link, or of all."""
        found: list[IpInterface] = []
        for body in self._ask(_RTM_GETADDR, _NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "list addresses"):
            family, length, _, _, link = _ADDRESS.unpack_from(body)
            if index is None or link == index:
                values = _attributes(body, _ADDRESS.size)
                # On a point-to-point link IFA_ADDRESS is the other side's; IFA_LOCAL is ours.
                packed = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS, b""))
                found.append(_interface(family, packed, length))
        return found

    def routes(self) -> list[IpNetwork]:
        """Destinations of the main table, without default routes."""
        found: list[IpNetwork] = []
        for body in self._ask(_RTM_GETROUTE, _NLM_F_DUMP, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0), "list routes"):
            family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            values = _attributes(body, _ROUTE.size)
            number = _U32.unpack(values[_RTA_TABLE])[0] if _RTA_TABLE in values else table
            if number == _RT_TABLE_MAIN and kind == _RTN_UNICAST and length and _RTA_DST in values:
                found.append(_interface(family, values[_RTA_DST], length).network)
        return found

    def _ask(self, kind: int, flags: int, body: bytes, doing: str) -> Iterator[bytes]:
        """The bodies of all answers; a single question ends with its acknowledgement, a dump with NLMSG_DONE."""
        self._sequence += 1
        if flags == 0:
            flags = _NLM_F_ACK
        header = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        answers: list[bytes] = []
        while True:
            for answer, sequence, content in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if answer == _NLMSG_DONE:
                    return iter(answers)
                if answer == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise NetlinkError(code, doing)
                    return iter(answers)
                answers.append(content)


# --- pieces -----------------------------------------------------------------------------------------------------------


def _create(body: bytes, doing: str) -> Message:
    return Message(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, body, doing)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of every message in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += length + (-length % 4)


def _attributes(body: bytes, offset: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NLA_TYPE_MASK] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    values = _attributes(body, _LINK.size)
    info = _attributes(values.get(_IFLA_LINKINFO, b""), 0)
    return Link(
        index=index,
        name=values.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        kind=info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        master=_U32.unpack(values[_IFLA_MASTER])[0] if _IFLA_MASTER in values else 0,
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_U32.unpack(values[_IFLA_MTU])[0] if _IFLA_MTU in values else 0,
        up=bool(flags & _IFF_UP),
    )


def _interface(family: int, packed: bytes, length: int) -> IpInterface:
    if family == socket.AF_INET:
        return ipaddress.IPv4Interface((packed, length))
    return ipaddress.IPv6Interface((packed, length))
