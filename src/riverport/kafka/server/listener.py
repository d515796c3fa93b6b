"""The listening sockets of a server, and the limits that all its connections share."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.kafka.server.connection import RECEIVE_BUFFER, Connection
from riverport.kafka.server.connection_limits import ConnectionLimits
from riverport.kafka.server.dispatch import Dispatch

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

BACKLOG = 1024
SPARE_BYTES = 2 * 1024 * 1024
"""Buffers of large frames up to this size are used again: producers fill one after another, of 1 MB each. A new one is
cleared first, and its pages are made and given back, which was 6 % of the CPU time of producing."""
SPARES = 2
STALLED_MS = 10_000
"""A large frame that has not grown for so long gives its memory to those who wait for some."""


class MemoryBudget:
    """Bytes that large request frames of all connections may take together (`queued.max.request.bytes`)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[Connection] = deque()

    def take(self, size: int) -> bool:
        """Whether `size` bytes may be allocated. One frame is always let in, so that any allowed size can pass."""
        if self.used and self.used + size > self.limit:
            return False
        self.used += size
        return True

    def wait(self, connection: Connection) -> None:
        if connection not in self._waiting:
            self._waiting.append(connection)

    def give(self, size: int) -> None:
        """Take `size` bytes back, and let everyone who waits try again, in order: who gets none waits on."""
        self.used -= size
        if self._waiting:
            waiting, self._waiting = self._waiting, deque()
            for connection in waiting:
                asyncio.get_running_loop().call_soon(connection.budget_available)

    @property
    def is_short(self) -> bool:
        """Whether somebody waits."""
        return any(not connection.closed for connection in self._waiting)


class Server:
    """What the listeners of one process share: limits, clock, open connections."""

    def __init__(self, broker: "Broker") -> None:
        config = broker.config
        self.now_ms: Callable[[], float] = broker.clock.mono_ms
        self.max_request_bytes: int = config["socket.request.max.bytes"]
        limit: int = config["queued.max.request.bytes"]
        self.budget = MemoryBudget(limit if limit > 0 else max(256 * 1024 * 1024, 2 * self.max_request_bytes))
        self.receive_buffer = bytearray(RECEIVE_BUFFER)
        self.receive_view = memoryview(self.receive_buffer)
        self.is_closed = False
        self._spares: list[bytearray] = []
        self.listeners: list[Listener] = []
        self.connections: dict[Connection, None] = {}  # in the order in which they came
        self.limits = {kind: ConnectionLimits(broker, kind) for kind in ("broker", "controller")}
        self.broker = broker

    def settings_changed(self) -> None:
        """Take the limits from the node's settings anew."""
        config = self.broker.config
        self.max_request_bytes = config["socket.request.max.bytes"]
        for limits in self.limits.values():
            limits.settings_changed()

    def frame_buffer(self, size: int) -> memoryview:
        """Room for a frame; whatever was there before may be in it."""
        for at, spare in enumerate(self._spares):
            if len(spare) >= size:
                return memoryview(self._spares.pop(at))[:size]
        return memoryview(bytearray(-(-size // RECEIVE_BUFFER) * RECEIVE_BUFFER))[:size]

    def frame_done(self, frame: memoryview) -> None:
        """Take a frame's buffer back; nobody may look at the frame any more."""
        buffer = frame.obj
        if isinstance(buffer, bytearray) and len(buffer) <= SPARE_BYTES:
            self._spares = sorted([*self._spares, buffer], key=len)[-SPARES:]

    async def close(self) -> None:
        self.is_closed = True
        for _ in range(2):
            # asyncio forgets a connection that is accepted but not made when its server closes: its client would hang.
            await asyncio.sleep(0)
        for listener in self.listeners:
            listener.stop_accepting()
        for connection in list(self.connections):
            connection.close()
        for limits in self.limits.values():
            limits.close()
        for listener in self.listeners:
            await listener.wait_closed()

    @property
    def idle_check_ms(self) -> int:
        """How often to call `close_idle`: a connection may outlive its time by half of it, and by no more than 10 s."""
        idle_ms: int = self.broker.config["connections.max.idle.ms"]
        return min(max(idle_ms // 2, 50), 10_000) if idle_ms >= 0 else 10_000

    def close_idle(self) -> None:
        """Close connections on which nothing happened for `connections.max.idle.ms`, and those that hold up others."""
        now_ms = self.now_ms()
        idle_ms: int = self.broker.config["connections.max.idle.ms"]
        is_short = self.budget.is_short
        for connection in list(self.connections):
            silent_ms = now_ms - connection.last_active_ms
            if 0 <= idle_ms < silent_ms and connection.is_idle:
                log.info("idle connection closed", peer=connection.peer_host, port=connection.peer_port)
                connection.close()
            elif is_short and connection.has_large and connection.is_idle and silent_ms > STALLED_MS:
                log.warning("connection closed, others wait for its memory", peer=connection.peer_host)
                connection.close()


class Listener:
    """One named listener: its socket, its dispatch table, its connections."""

    def __init__(self, server: Server, name: str, host: str, port: int, dispatch: Dispatch) -> None:
        self.server = server
        self.name = name
        self.host = host
        self.port = port  # once `start` has run, the port that was bound
        self.dispatch = dispatch
        self._count = 0
        self._asyncio_server: asyncio.Server | None = None
        server.listeners.append(self)

    async def start(self) -> None:
        """Bind and listen; connections are accepted from `accept` on. Raises OSError with the address in it."""
        config = self.server.broker.config
        loop = asyncio.get_running_loop()
        try:
            sock = self.server.broker.machine.bind(self.host, self.port)
        except OSError as error:
            raise OSError(error.errno, f"{self.name}://{self.host}:{self.port}: {error.strerror}") from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it, and the buffer sizes
        for option, key in (
            (socket.SO_SNDBUF, "socket.send.buffer.bytes"),
            (socket.SO_RCVBUF, "socket.receive.buffer.bytes"),
        ):
            # A fixed size ends the system's own sizing, which grows with what a connection carries: with the default's
            # 100 KB a producer of 1 MB batches wakes the loop seven times for each MB, without it once for three.
            if key in config.values.given and config[key] > 0:
                sock.setsockopt(socket.SOL_SOCKET, option, config[key])
        self.port = sock.getsockname()[1]
        self._asyncio_server = await loop.create_server(
            lambda: Connection(self), sock=sock, backlog=BACKLOG, start_serving=False
        )

    async def accept(self) -> None:
        assert self._asyncio_server is not None
        await self._asyncio_server.start_serving()

    def opened(self, connection: Connection) -> None:
        if self.server.is_closed:
            connection.close()  # it was accepted just before we stopped to
            return
        self.server.connections[connection] = None
        self.server.limits[self.dispatch.kind].arrive(connection)

    def closed(self, connection: Connection) -> None:
        self.server.connections.pop(connection, None)
        self.server.limits[self.dispatch.kind].leave(connection)
        if self.dispatch.kind == "controller" and self.server.broker.controller is not None:
            self.server.broker.controller.connection_closed(connection)

    def stop_accepting(self) -> None:
        if self._asyncio_server is not None:
            self._asyncio_server.close()

    async def wait_closed(self) -> None:
        if self._asyncio_server is not None:
            await self._asyncio_server.wait_closed()
            self._asyncio_server = None
