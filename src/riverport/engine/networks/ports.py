"""Ports of the host, held by bound sockets that nobody listens on, so that no other process takes them meanwhile.

The packets never reach the sockets: the firewall leads them away. What does reach one (a client of ::1, which the
kernel cannot lead away) is refused at once, and the client tries 127.0.0.1.
"""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from riverport.base.logging import get_logger
from riverport.engine.errors import SystemFailure
from riverport.engine.networks.publish import Binding, Wanted

log = get_logger(__name__)

_EPHEMERAL_TRIES: Final = 64
_KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_UNHOLDABLE: Final = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container's published ports lead, by IP version, and where they are published by default."""

    addresses: dict[int, str]  # 4: "172.17.0.2"
    defaults: dict[int, str]  # 4: "0.0.0.0"
    routed: frozenset[int] = frozenset()  # versions whose ports are opened at the container, and none of the host's


class Ports:
    """Who holds which port of the host. Bindings of several containers never overlap."""

    def __init__(self) -> None:
        # By (protocol, port) and host address; None where the kernel has no such sockets to hold it with.
        self._held: dict[tuple[str, int], dict[str, socket.socket | None]] = {}

    def reserve(self, wanted: Iterable[Wanted], target: Target) -> list[Binding]:
        """All of them or none. Raises SystemFailure in Docker's words."""
        made: list[Binding] = []
        try:
            for entry in wanted:
                # Two ports of the host may lead to one of the container; open it is once.
                made += [binding for binding in self._reserve(entry, target) if binding not in made]
        except BaseException:
            self.release(made)
            raise
        return made

    def hold_again(self, bindings: Iterable[Binding]) -> None:
        """After a restart: the ports were given; what another process took meanwhile still leads to the container."""
        for binding in bindings:
            if binding.routed:
                continue
            held = self._held.setdefault((binding.protocol, binding.host_port), {})
            try:
                held[binding.host_ip] = _bind(binding.protocol, binding.host_ip, binding.host_port)
            except OSError as error:
                log.warning("published port is held by another process", port=binding.host_port, error=error)
                held[binding.host_ip] = None

    def release(self, bindings: Iterable[Binding]) -> None:
        for binding in bindings:
            held = self._held.get((binding.protocol, binding.host_port), {})
            holder = held.pop(binding.host_ip, None)
            if holder is not None:
                holder.close()
            if not held:
                self._held.pop((binding.protocol, binding.host_port), None)

    def close(self) -> None:
        for held in self._held.values():
            for holder in held.values():
                if holder is not None:
                    holder.close()
        self._held.clear()

    def _reserve(self, wanted: Wanted, target: Target) -> list[Binding]:
        opened = _opened(wanted, target)
        places = _places(wanted, target)
        return [*opened, *self._reserve_places(wanted, places)] if places else opened

    def _reserve_places(self, wanted: Wanted, places: list[tuple[str, str]]) -> list[Binding]:
        if wanted.low == 0:
            return self._reserve_any(wanted, places)
        for port in range(wanted.low, wanted.high + 1):
            try:
                return self._reserve_at(wanted, places, port)
            except SystemFailure:
                if port == wanted.high:
                    raise
        return []

    def _reserve_any(self, wanted: Wanted, places: list[tuple[str, str]]) -> list[Binding]:
        """A port that the kernel gives for the first address, and that the second has free too."""
        for attempt in range(_EPHEMERAL_TRIES):
            port = _free_port(wanted.protocol, places[0][0])
            try:
                return self._reserve_at(wanted, places, port)
            except SystemFailure:
                if attempt == _EPHEMERAL_TRIES - 1:
                    raise
        return []

    def _reserve_at(self, wanted: Wanted, places: list[tuple[str, str]], port: int) -> list[Binding]:
        made: list[Binding] = []
        try:
            for host_ip, address in places:
                self._hold(Binding(wanted.protocol, wanted.port, host_ip, port, address))
                made.append(Binding(wanted.protocol, wanted.port, host_ip, port, address))
        except BaseException:
            self.release(made)
            raise
        return made

    def _hold(self, binding: Binding) -> None:
        host_ip, host_port = binding.host_ip, binding.host_port
        held = self._held.get((binding.protocol, host_port), {})
        if any(_overlap(host_ip, other) for other in held):
            shown = f"[{host_ip}]" if ":" in host_ip else host_ip
            raise SystemFailure(f"Bind for {shown}:{host_port} failed: port is already allocated")
        try:
            holder = _bind(binding.protocol, host_ip, host_port)
        except OSError as error:
            if error.errno not in _UNHOLDABLE:
                way = f"{host_ip}:{host_port}:{binding.address}:{binding.port}/{binding.protocol}"
                reason = (error.strerror or str(error)).lower()
                raise SystemFailure(f"failed to bind host port for {way}: {reason}") from error
            holder = None
        self._held.setdefault((binding.protocol, host_port), {})[host_ip] = holder


def _places(wanted: Wanted, target: Target) -> list[tuple[str, str]]:
    """(host address, container's address) pairs: both versions where none is asked for and the container has both."""
    return [
        (wanted.host_ip or target.defaults[version], address)
        for version, address in _wanted_addresses(wanted, target)
        if version not in target.routed
    ]


def _opened(wanted: Wanted, target: Target) -> list[Binding]:
    """In routed versions: no host address and no host port is of any meaning there, not even one that is asked for."""
    return [
        Binding(wanted.protocol, wanted.port, {4: "0.0.0.0", 6: "::"}[version], 0, address)
        for version, address in _wanted_addresses(wanted, target)
        if version in target.routed
    ]


def _wanted_addresses(wanted: Wanted, target: Target) -> list[tuple[int, str]]:
    """Of the container, by version: that of the host address, else all that are published by default."""
    if wanted.host_ip:
        version = 6 if ":" in wanted.host_ip else 4
        return [(version, target.addresses[version])] if version in target.addresses else []
    return [(version, address) for version, address in target.addresses.items() if target.defaults[version]]


def _overlap(first: str, second: str) -> bool:
    """Of the same protocol and port: the same address, or the same family and one of them everywhere."""
    if (":" in first) != (":" in second):
        return False
    return first == second or bool({first, second} & {"0.0.0.0", "::"})


def _open(protocol: str, host_ip: str) -> socket.socket:
    kind, number = _KINDS[protocol]
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return opened


def _bind(protocol: str, host_ip: str, port: int) -> socket.socket:
    """Without SO_REUSEADDR, so that nobody with it shares the port.

    Connections that linger in TIME_WAIT from a process that listened here before are no reason to refuse; a listening
    socket has the port as safely, and is told apart from one that another process listens on.
    """
    opened = _open(protocol, host_ip)
    try:
        opened.bind((host_ip, port))
    except OSError as error:
        opened.close()
        if protocol != "tcp" or error.errno != errno.EADDRINUSE:
            raise
        opened = _open(protocol, host_ip)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host_ip, port))
            opened.listen(1)
        except OSError:
            opened.close()
            raise
    return opened


def _free_port(protocol: str, host_ip: str) -> int:
    """One that was free a moment ago."""
    try:
        with _open(protocol, host_ip) as probe:
            probe.bind((host_ip, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno in _UNHOLDABLE and protocol != "udp":
            return _free_port("udp", host_ip)
        raise SystemFailure(f"failed to bind host port for {host_ip}:0/{protocol}: {error.strerror}") from error
