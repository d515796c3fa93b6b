"""The machine's own forward chain: what our table lets through must not be dropped there. Pure.

A verdict "drop" in any table is final, "accept" counts in its own table only; and ufw, firewalld's iptables backend and
dockerd give chain FORWARD of iptables the policy DROP. So each bridge of ours gets two rules there, if it exists. They
open nothing: the packets meet our own table's forward chain as well, which is the one that decides.
"""

import json
import re
from collections.abc import Iterable
from typing import Final

CHAINS: Final = ("ip filter FORWARD", "ip6 filter FORWARD")
"""Where iptables-nft has its rules; the old iptables' tables cannot be reached by nft."""

_OURS: Final = re.compile(r'(?:iifname|oifname) "([^"]+)".*comment "riverport (?:in|out)".*# handle (\d+)')


def plan(chain: str, listing: str, bridges: Iterable[str]) -> str:
    """Commands that make the chain right; empty if it is. `listing` is the chain as nft lists it with handles."""
    wanted = set(bridges)
    present: dict[str, list[str]] = {}
    for name, handle in _OURS.findall(listing):
        present.setdefault(name, []).append(handle)
    lines: list[str] = []
    for name, handles in present.items():
        # One that somebody deleted half of is made anew.
        if name not in wanted or len(handles) != 2:
            lines += [f"delete rule {chain} handle {handle}" for handle in handles]
    for name in sorted(wanted):
        if len(present.get(name, ())) != 2:
            quoted = json.dumps(name)
            lines.append(f'insert rule {chain} iifname {quoted} accept comment "riverport in"')
            lines.append(f'insert rule {chain} oifname {quoted} accept comment "riverport out"')
    return "".join(f"{line}\n" for line in lines)
