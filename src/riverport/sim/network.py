"""A simulated network of TCP: hosts, links between them with a delay, loss and cuts, and who connects to whom.

    Link       one direction between two hosts; what a lost packet means is that it comes later, as TCP sends it again
    Network    all of them, sockets that listen, attempts to connect, faults; `transport` is what comes of an attempt

A host whose process has died answers with a reset; one that has no power answers nothing, until it is back and knows
of no connection. A cut link holds what is sent on it; it comes when the link is whole again.
"""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from riverport.sim.loop import SimLoop, World
from riverport.sim.transport import SimTransport

RETRANSMIT_S = 0.2
SYN_RETRIES = 6
FIRST_PORT = 40_000


@dataclass(slots=True)
class Link:
    """From one host to another."""

    delay_s: float = 0.0005
    jitter_s: float = 0.0005
    loss: float = 0.0  # the share of packets that have to be sent again
    cut: bool = False
    held: "list[tuple[Callable[..., object], tuple[Any, ...]]]" = field(default_factory=list)

    def seconds(self, rng: Random) -> float:
        """How long the next packet takes."""
        seconds = self.delay_s + self.jitter_s * rng.random()
        if self.loss:
            again = RETRANSMIT_S
            while rng.random() < self.loss and again < 10:
                seconds += again
                again *= 2
        return seconds


class Network:
    """All hosts, and the links between them."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.bound: dict[tuple[str, int], SimSocket] = {}
        self.dark: dict[str, list[SimTransport]] = {}  # hosts without power, and who has sent to them since
        self._links: dict[tuple[str, str], Link] = {}
        self._ends: dict[str, dict[SimTransport, None]] = {}  # open ends of connections, by host
        self._ports: dict[str, int] = {}

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = Link()
        return found

    # --- faults

    def cut(self, source: str, target: str) -> None:
        self.link(source, target).cut = True

    def heal(self) -> None:
        """Every link is whole and quick again; what was held arrives."""
        for (source, target), link in list(self._links.items()):
            link.delay_s, link.jitter_s, link.loss = 0.0005, 0.0005, 0.0
            self.mend(source, target)

    def mend(self, source: str, target: str) -> None:
        link = self.link(source, target)
        link.cut = False
        held, link.held = link.held, []
        for callback, args in held:
            self.world.after(self.rng.uniform(0.0, RETRANSMIT_S), callback, *args)

    def reset(self, host: str, other: str) -> None:
        """Every connection between two hosts is reset, on both sides."""
        for end in list(self._ends.get(host, ())):
            if end.peer.loop.host == other:
                end.reset()
                end.peer.reset()

    def process_died(self, loop: SimLoop) -> None:
        """Its sockets are closed by its system: peers see an end or a reset."""
        for sock in [sock for sock in self.bound.values() if sock.loop is loop]:
            sock.close()
        for end in [end for end in self._ends.get(loop.host, ()) if end.loop is loop]:
            end.die()

    def power_off(self, loop: SimLoop) -> None:
        """As `process_died`, but nobody is told."""
        self.dark[loop.host] = []
        for sock in [sock for sock in self.bound.values() if sock.loop is loop]:
            sock.close()
        for end in [end for end in self._ends.get(loop.host, ()) if end.loop is loop]:
            end.vanish()

    def power_on(self, host: str) -> None:
        for sender in self.dark.pop(host, ()):
            sender.refuse_later()

    # --- listening and connecting

    def bind(self, loop: SimLoop, host: str, port: int) -> "SimSocket":
        port = port or self._next_port(host)
        if (host, port) in self.bound:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        found = self.bound[host, port] = SimSocket(self, loop, host, port)
        return found

    def server(self, loop: SimLoop, factory: Callable[[], Any], sock: "SimSocket") -> "SimServer":
        return SimServer(loop, factory, sock)

    def _next_port(self, host: str) -> int:
        port = self._ports[host] = self._ports.get(host, FIRST_PORT) + 1
        return port

    def connect(self, loop: SimLoop, host: str, port: int, connected: "asyncio.Future[Any]") -> None:
        self._send_syn(_Attempt(loop, host, port, connected))

    def _send_syn(self, attempt: "_Attempt") -> None:
        self.world.after(self.link(attempt.loop.host, attempt.host).seconds(self.rng), self._syn_arrives, attempt)

    def _syn_arrives(self, attempt: "_Attempt") -> None:
        loop, host = attempt.loop, attempt.host
        if attempt.connected.done() or not loop.alive:
            return
        there, back = self.link(loop.host, host), self.link(host, loop.host)
        if there.cut or back.cut or host in self.dark:
            attempt.tries += 1
            if attempt.tries > SYN_RETRIES:
                loop.enter(attempt.fail, TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
                return
            self.world.after(2.0 ** (attempt.tries - 1), self._send_syn, attempt)
            return
        sock = self.bound.get((host, attempt.port))
        if sock is None or sock.server is None:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ('{host}', {attempt.port})")
            self.world.after(back.seconds(self.rng), loop.enter, attempt.fail, refused)
            return
        near, far = self._pair(loop, sock, attempt)
        sock.loop.enter(sock.server.accept, far)
        self.world.after(back.seconds(self.rng), loop.enter, attempt.succeed, near)

    def _pair(self, loop: SimLoop, sock: "SimSocket", attempt: "_Attempt") -> tuple[SimTransport, SimTransport]:
        own, theirs = (loop.host, self._next_port(loop.host)), (attempt.host, attempt.port)
        near = SimTransport(self, loop, own, theirs)
        far = SimTransport(self, sock.loop, theirs, own)
        near.peer, far.peer = far, near
        for end in (near, far):
            self._ends.setdefault(end.loop.host, {})[end] = None
        return near, far

    def connections(self) -> list[tuple[tuple[str, int], tuple[str, int]]]:
        """(own, other) address of each open end, in order."""
        ends = [end for of_host in self._ends.values() for end in of_host]
        return sorted((end.get_extra_info("sockname"), end.get_extra_info("peername")) for end in ends)

    def ended(self, end: SimTransport) -> None:
        self._ends[end.loop.host].pop(end, None)


@dataclass(slots=True)
class _Attempt:
    loop: SimLoop
    host: str
    port: int
    connected: "asyncio.Future[Any]"
    tries: int = 0

    def succeed(self, end: SimTransport) -> None:
        if self.connected.done():
            end.abort()
        elif end.is_closing():
            self.fail(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        else:
            self.connected.set_result(end)

    def fail(self, error: OSError) -> None:
        if not self.connected.done():
            self.connected.set_exception(error)


class SimSocket:
    """A bound socket, as far as a listener looks at one."""

    def __init__(self, network: Network, loop: SimLoop, host: str, port: int) -> None:
        self._network = network
        self.loop = loop
        self._address = (host, port)
        self.server: SimServer | None = None  # once it listens

    def setsockopt(self, *_: Any) -> None:
        """Nothing here has options."""

    def getsockname(self) -> tuple[str, int]:
        return self._address

    def close(self) -> None:
        self.server = None
        if self._network.bound.get(self._address) is self:
            del self._network.bound[self._address]


class SimServer:
    """What `create_server` returns."""

    def __init__(self, loop: SimLoop, factory: Callable[[], Any], sock: SimSocket) -> None:
        self._loop = loop
        self._factory = factory
        self._sock = sock

    async def start_serving(self) -> None:
        self._sock.server = self

    def close(self) -> None:
        self._sock.close()

    async def wait_closed(self) -> None:
        """It is."""

    def accept(self, end: SimTransport) -> None:
        end.begin(self._factory())
