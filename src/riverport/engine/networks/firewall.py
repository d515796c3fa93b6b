"""The one nftables table of all networks, as text for libnftables. Pure.

Rules are fixed; what varies lives in sets and maps, so that a packet's way costs the same with one published port as
with a thousand, and publishing is one element.

  guard        a packet from a bridge to 127/8 is forged (route_localnet lets it in): gone before anything else
  prerouting   to an address of this host and a published port: to the container, and `conntrack` remembers ("dnat")
  output       the same for this host's own processes, 127.0.0.1 included
  forward      first the administrator's chain `user`; then: into a bridge goes only what was published, what belongs to
               a flow, and what comes from the same bridge. That keeps networks apart, and unpublished ports private.
               Gateway modes open more: `open` are published ports of routed networks, to which ICMP goes too; to
               unprotected ones goes everything but what other networks send
  postrouting  out of a subnet, to elsewhere: in the host's name. Loopback into a bridge, and a container to itself by a
               published port: likewise, because the answer must come back this way

Priorities stand one beside the usual ones, so that dockerd's rules (iptables) and ours have an order. One statement a
line, and priorities as numbers: nft 1.0.6 reads nothing else in a buffer.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from riverport.engine.networks.gateway_mode import GatewayMode
from riverport.engine.networks.publish import Binding

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")

_SETS: Final = """
set bridges { type ifname; }
set internal { type ifname; }
set within { type ifname . ifname; }
set masquerade4 { type ipv4_addr; flags interval; }
set masquerade6 { type ipv6_addr; flags interval; }
set hairpin4 { type ipv4_addr . ipv4_addr; flags interval; }
set hairpin6 { type ipv6_addr . ipv6_addr; flags interval; }
set routed4 { type ifname; }
set routed6 { type ifname; }
set unprotected4 { type ifname; }
set unprotected6 { type ifname; }
set open4 { type ipv4_addr . inet_proto . inet_service; }
set open6 { type ipv6_addr . inet_proto . inet_service; }
map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
map any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
map at4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
map at6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
"""
_STATE: Final = tuple((line.split()[0], line.split()[1]) for line in _SETS.split("\n") if line)

_CHAINS: Final = {
    "user": ("", []),
    "guard": (
        "type filter hook prerouting priority -301; policy accept;",
        ["iifname @bridges ip daddr 127.0.0.0/8 drop"],
    ),
    "published": (
        "",
        [
            "dnat ip to ip daddr . meta l4proto . th dport map @at4",
            "dnat ip to meta l4proto . th dport map @any4",
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6",
            "dnat ip6 to meta l4proto . th dport map @any6",
        ],
    ),
    "prerouting": (
        "type nat hook prerouting priority -101; policy accept;",
        ["meta l4proto { tcp, udp, sctp } fib daddr type local jump published"],
    ),
    "output": (
        "type nat hook output priority -101; policy accept;",
        ["meta l4proto { tcp, udp, sctp } fib daddr type local jump published"],
    ),
    "postrouting": (
        "type nat hook postrouting priority 101; policy accept;",
        [
            "ct status dnat ip saddr . ip daddr @hairpin4 masquerade",
            "ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade",
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ip saddr @masquerade4 oifname != @bridges masquerade",
            "ip6 saddr @masquerade6 oifname != @bridges masquerade",
        ],
    ),
}

_OPENING: Final = {GatewayMode.ROUTED: "routed", GatewayMode.NAT_UNPROTECTED: "unprotected"}
"""The set of bridges, less the IP version, of modes that let more into a bridge."""

_FORWARD: Final = "type filter hook forward priority 1; policy accept;"


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What the table holds about one network."""

    bridge: str
    subnets: tuple[IpNetwork, ...]
    internal: bool
    masquerade: bool
    icc: bool
    modes: Mapping[int, GatewayMode]  # by IP version


class Firewall:
    """Writes commands; `table` is the table's name."""

    def __init__(self, table: str, *, firewalled: bool) -> None:
        assert _NAME.match(table), table
        self._table = f"inet {table}"
        self._firewalled = firewalled

    def build(self, bridges: Iterable[BridgeRules], bindings: Iterable[Binding]) -> str:
        """The whole table anew, in one transaction: a packet meets the old rules or the new ones.

        Chain `user` keeps what the administrator put there, and therefore the table is never deleted; a set cannot be
        declared anew under the rules that name it, so it is emptied instead.
        """
        lines = [f"add table {self._table}"]
        for line in _SETS.strip().split("\n"):
            kind, rest = line.split(" ", 1)
            name, spec = rest.split(" ", 1)
            lines.append(f"add {kind} {self._table} {name} {spec}")
        chains = {**_CHAINS, "forward": (_FORWARD, self._forward_rules())}
        for name, (hook, _) in chains.items():
            lines.append(f"add chain {self._table} {name}" + (f" {{ {hook} }}" if hook else ""))
        lines += [f"flush chain {self._table} {name}" for name in chains if name != "user"]
        lines += [f"flush {kind} {self._table} {name}" for kind, name in _STATE]
        for name, (_, rules) in chains.items():
            lines += [f"add rule {self._table} {name} {rule}" for rule in rules]
        for bridge in bridges:
            lines += self._bridge_lines("add", bridge)
        return "\n".join([*lines, *self._binding_lines("add", bindings), ""])

    def add_bridge(self, bridge: BridgeRules) -> str:
        return "\n".join([*self._bridge_lines("add", bridge), ""])

    def remove_bridge(self, bridge: BridgeRules) -> str:
        return "\n".join([*self._bridge_lines("delete", bridge), ""])

    def publish(self, bindings: Iterable[Binding]) -> str:
        return "\n".join([*self._binding_lines("add", bindings), ""])

    def unpublish(self, bindings: Iterable[Binding]) -> str:
        return "\n".join([*self._binding_lines("delete", bindings), ""])

    def remove(self) -> str:
        return f"add table {self._table}\ndelete table {self._table}\n"

    def _forward_rules(self) -> list[str]:
        rules = [
            "jump user",
            "ct state established,related accept",
            "iifname . oifname @within accept",
        ]
        if self._firewalled:
            rules.append("oifname @bridges iifname != @bridges drop")
        return [
            *rules,
            "iifname @internal drop",
            "oifname @internal drop",
            "oifname @bridges ct status dnat accept",
            "ip daddr . meta l4proto . th dport @open4 accept",
            "ip6 daddr . meta l4proto . th dport @open6 accept",
            "oifname @routed4 meta nfproto ipv4 meta l4proto icmp accept",
            "oifname @routed6 meta nfproto ipv6 meta l4proto ipv6-icmp accept",
            "oifname @unprotected4 meta nfproto ipv4 iifname != @bridges accept",
            "oifname @unprotected6 meta nfproto ipv6 iifname != @bridges accept",
            "oifname @bridges drop",
        ]

    def _bridge_lines(self, verb: str, bridge: BridgeRules) -> list[str]:
        name = json.dumps(bridge.bridge)
        lines = [self._element(verb, "bridges", [name])]
        if bridge.icc:
            lines.append(self._element(verb, "within", [f"{name} . {name}"]))
        if bridge.internal:
            lines.append(self._element(verb, "internal", [name]))
        for version, mode in bridge.modes.items():
            if mode in _OPENING:
                lines.append(self._element(verb, f"{_OPENING[mode]}{version}", [name]))
        for subnet in bridge.subnets:
            lines.append(self._element(verb, f"hairpin{subnet.version}", [f"{subnet} . {subnet}"]))
            if bridge.masquerade and not bridge.internal and bridge.modes[subnet.version] is not GatewayMode.ROUTED:
                lines.append(self._element(verb, f"masquerade{subnet.version}", [str(subnet)]))
        return lines

    def _binding_lines(self, verb: str, bindings: Iterable[Binding]) -> list[str]:
        elements: dict[str, list[str]] = {}
        for binding in bindings:
            if binding.routed:
                key = f"{binding.address} . {binding.protocol} . {binding.port}"
                elements.setdefault(f"open{binding.version}", []).append(key)
                continue
            key = f"{binding.protocol} . {binding.host_port}"
            name = f"{'any' if binding.anywhere else 'at'}{binding.version}"
            if not binding.anywhere:
                key = f"{binding.host_ip} . {key}"
            elements.setdefault(name, []).append(f"{key} : {binding.address} . {binding.port}")
        return [self._element(verb, name, entries) for name, entries in elements.items()]

    def _element(self, verb: str, name: str, entries: Sequence[str]) -> str:
        return f"{verb} element {self._table} {name} {{ {', '.join(entries)} }}"
