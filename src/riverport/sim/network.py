"""A simulated network of TCP: links between hosts with a delay, loss, cuts and resets, and the connections on them.

    Link       one direction between two hosts; what a lost packet means is that it comes later, as TCP sends it again
    SimTransport    one end of a connection: bytes arrive in their order, whatever their link does, or not at all

A host whose process has died answers with a reset; one that has no power answers nothing, until it is back and knows
of no connection. A cut link holds what is sent on it; it comes when the link is whole again. Connections overtake each
other freely. Nothing but bytes passes from one process to another.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from zlib import crc32

from riverport.sim.loop import SimLoop, World

WINDOW_BYTES = 128 * 1024
"""What the systems of both sides take before a transport has to hold anything."""
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

    def _pair(self, loop: SimLoop, sock: "SimSocket", attempt: "_Attempt") -> "tuple[SimTransport, SimTransport]":
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

    def ended(self, end: "SimTransport") -> None:
        self._ends[end.loop.host].pop(end, None)


@dataclass(slots=True)
class _Attempt:
    loop: SimLoop
    host: str
    port: int
    connected: "asyncio.Future[Any]"
    tries: int = 0

    def succeed(self, end: "SimTransport") -> None:
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

    def accept(self, end: "SimTransport") -> None:
        end.begin(self._factory())


class SimTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: Network, loop: SimLoop, own: tuple[str, int], theirs: tuple[str, int]) -> None:
        super().__init__({"sockname": own, "peername": theirs})
        self.loop = loop
        self.peer: SimTransport
        self._network = network
        self._world = network.world
        self._link = network.link(own[0], theirs[0])
        self._protocol: Any = None
        self._fills_buffers = False
        self._closed = False  # takes nothing more, from either side
        self._lost = False  # the protocol has been told
        self._inbox: deque[bytes | None] = deque()  # arrived and not read yet; None is the end
        self._reading = True
        self._sending: list[bytes] | None = None  # what was written at `_sent_at` and is on its way
        self._sent_at = -1.0
        self._arrives_at = 0.0  # the last packet to the other side
        self._on_the_way = 0  # bytes
        self._high, self._low = 64 * 1024, 16 * 1024
        self._write_paused = False

    def begin(self, protocol: Any) -> None:
        self._protocol = protocol
        self._fills_buffers = isinstance(protocol, asyncio.BufferedProtocol)
        protocol.connection_made(self)
        if self._closed:
            self._tell_lost(None)
        else:
            self._read()

    # --- asyncio.Transport

    def is_closing(self) -> bool:
        return self._closed

    def get_protocol(self) -> Any:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return max(self._on_the_way - WINDOW_BYTES, 0)

    def write(self, data: Any) -> None:
        if self._closed:
            return
        content = bytes(data)
        self._on_the_way += len(content)
        if self._sending is not None and self._sent_at == self._world.now:
            self._sending.append(content)
        else:
            self._sending, self._sent_at = [content], self._world.now
            self._post(self.peer.arrive, self._sending)
        if self._on_the_way > WINDOW_BYTES + self._high and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            if self._inbox:
                self.loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return self._reading

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if not self._closed:
            self._close()
            self._post(self.peer.arrive, None)
            self.loop.call_soon(self._tell_lost, None)

    def abort(self) -> None:
        if not self._closed:
            self._close()
            self._post_end()
            self.loop.call_soon(self._tell_lost, None)

    # --- what happens to the connection

    def die(self) -> None:
        """The process is gone; its system closes what it had open."""
        if not self._closed:
            self._close()
            self._post_end()

    def vanish(self) -> None:
        """The host is gone."""
        self._close()

    def reset(self) -> None:
        """A reset has arrived."""
        if not self._closed:
            self._close()
            self.loop.enter(self._tell_lost, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def refuse_later(self) -> None:
        """The other host does not know this connection, and says so."""
        self._world.after(self.peer._link.seconds(self._network.rng), self.reset)

    def arrive(self, chunks: list[bytes] | None) -> None:
        """A packet is there; None is the end of what the other side sends."""
        peer = self.peer
        link = peer._link
        if link.cut:
            link.held.append((self.arrive, (chunks,)))
            return
        if chunks is not None and chunks is peer._sending:
            peer._sending = None
        if self._closed:
            if self.loop.host in self._network.dark:
                self._network.dark[self.loop.host].append(peer)
            elif chunks is not None:
                peer.refuse_later()
            return
        if chunks is None:
            self._inbox.append(None)
        else:
            content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._world.hash = crc32(content, self._world.hash)
            self._inbox.append(content)
        if self._protocol is not None:
            self.loop.enter(self._read)

    def _post(self, callback: Callable[..., object], *args: Any) -> None:
        """To the other side, behind everything that was sent before."""
        when = self._world.now + self._link.seconds(self._network.rng)
        self._arrives_at = when = max(when, self._arrives_at)
        self._world.at(when, callback, *args)

    def _post_end(self) -> None:
        if self._network.rng.random() < 0.5:
            self._post(self.peer.arrive, None)
        else:
            self._post(self._reset_peer)

    def _reset_peer(self) -> None:
        if self._link.cut:
            self._link.held.append((self._reset_peer, ()))
        else:
            self.peer.reset()

    def _close(self) -> None:
        self._closed = True
        self._inbox.clear()
        self._network.ended(self)

    def _tell_lost(self, error: Exception | None) -> None:
        if self._protocol is not None and not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)

    def _read(self) -> None:
        inbox = self._inbox
        while inbox and self._reading and not self._closed:
            content = inbox.popleft()
            if content is None:
                if not self._protocol.eof_received():
                    self.close()
            elif self._fills_buffers:
                self._fill(content)
            else:
                self._consumed(len(content))
                self._protocol.data_received(content)

    def _fill(self, content: bytes) -> None:
        room = self._protocol.get_buffer(-1)
        size = min(len(room), len(content))
        room[:size] = content[:size]
        if size < len(content):
            self._inbox.appendleft(content[size:])
        self._consumed(size)
        self._protocol.buffer_updated(size)

    def _consumed(self, size: int) -> None:
        peer = self.peer
        peer._on_the_way -= size
        if peer._write_paused and peer._on_the_way <= WINDOW_BYTES + peer._low:
            self._world.after(self._link.seconds(self._network.rng), peer.loop.enter, peer._resume)

    def _resume(self) -> None:
        if self._write_paused and not self._closed:
            self._write_paused = False
            self._protocol.resume_writing()
