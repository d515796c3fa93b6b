"""One end of a simulated TCP connection, as asyncio's protocols know it.

Bytes arrive in their order, whatever their link does, or not at all: a packet never overtakes one of its connection,
connections overtake each other freely. What is written at one moment is one packet. A writer is paused once more is on
its way than the window and its limit take, until its peer has read enough. Nothing but bytes passes from one process to
another.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zlib import crc32

from riverport.sim.loop import SimLoop

if TYPE_CHECKING:
    from riverport.sim.network import Network

WINDOW_BYTES = 128 * 1024
"""What the systems of both sides take before a transport has to hold anything."""


class SimTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", loop: SimLoop, own: tuple[str, int], theirs: tuple[str, int]) -> None:
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
        self._sent = 0  # packets
        self._expected = 0  # the number of the next packet of the other side's
        self._early: dict[int, list[bytes] | None] = {}  # what came before that one, by number
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
            self._send(self._sending)
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
            self._send(None)
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

    def arrive(self, number: int, chunks: list[bytes] | None) -> None:
        """A packet is there; None is the end of what the other side sends."""
        peer = self.peer
        link = peer._link
        if link.cut:
            link.held.append((self.arrive, (number, chunks)))
            return
        if chunks is not None and chunks is peer._sending:
            peer._sending = None
        if self._closed:
            if self.loop.host in self._network.dark:
                self._network.dark[self.loop.host].append(peer)
            elif chunks is not None:
                peer.refuse_later()
            return
        # What a cut link has held comes after it in any order.
        self._early[number] = chunks
        if number != self._expected:
            return
        while self._expected in self._early:
            self._take(self._early.pop(self._expected))
            self._expected += 1
        if self._protocol is not None:
            self.loop.enter(self._read)

    def _take(self, chunks: list[bytes] | None) -> None:
        if chunks is None:
            self._inbox.append(None)
        else:
            content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._world.hash = crc32(content, self._world.hash)
            self._inbox.append(content)

    def _send(self, chunks: list[bytes] | None) -> None:
        self._post(self.peer.arrive, self._sent, chunks)
        self._sent += 1

    def _post(self, callback: Callable[..., object], *args: Any) -> None:
        """To the other side, behind everything that was sent before."""
        when = self._world.now + self._link.seconds(self._network.rng)
        self._arrives_at = when = max(when, self._arrives_at)
        self._world.at(when, callback, *args)

    def _post_end(self) -> None:
        if self._network.rng.random() < 0.5:
            self._send(None)
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
        self._early.clear()
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
