"""The listening sockets of a server, and the limits that all its connections share."""

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.kafka.server.connection import Connection
from riverport.kafka.server.dispatch import Dispatch

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

BACKLOG = 1024


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
        self.used -= size
        while self._waiting and self.used < self.limit:
            connection = self._waiting.popleft()
            if not connection.closed:
                asyncio.get_running_loop().call_soon(connection.budget_available)
                return


class Server:
    """What the listeners of one process share: limits, clock, open connections."""

    def __init__(self, broker: "Broker") -> None:
        config = broker.config
        self.now_ms: Callable[[], float] = broker.clock.mono_ms
        self.max_request_bytes: int = config["socket.request.max.bytes"]
        limit: int = config["queued.max.request.bytes"]
        self.budget = MemoryBudget(limit if limit > 0 else max(256 * 1024 * 1024, 2 * self.max_request_bytes))
        self.listeners: list[Listener] = []
        self.connections: set[Connection] = set()
        self.by_host: Counter[str] = Counter()
        self.broker = broker

    def settings_changed(self) -> None:
        """Take the limits from the node's settings anew."""
        config = self.broker.config
        self.max_request_bytes = config["socket.request.max.bytes"]

    async def close(self) -> None:
        for listener in self.listeners:
            listener.stop_accepting()
        for connection in list(self.connections):
            connection.close()
        for listener in self.listeners:
            await listener.wait_closed()

    def close_idle(self) -> None:
        """Close connections on which nothing happened for `connections.max.idle.ms`."""
        idle_ms: int = self.broker.config["connections.max.idle.ms"]
        if idle_ms < 0:
            return
        oldest = self.now_ms() - idle_ms
        for connection in list(self.connections):
            if connection.last_active_ms < oldest and connection.is_idle:
                log.info("idle connection closed", peer=connection.peer_host, port=connection.peer_port)
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
        sock = self._bind()
        for option, key in (
            (socket.SO_SNDBUF, "socket.send.buffer.bytes"),
            (socket.SO_RCVBUF, "socket.receive.buffer.bytes"),
        ):
            if config[key] > 0:
                sock.setsockopt(socket.SOL_SOCKET, option, config[key])
        self.port = sock.getsockname()[1]
        self._asyncio_server = await loop.create_server(
            lambda: Connection(self), sock=sock, backlog=BACKLOG, start_serving=False
        )

    async def accept(self) -> None:
        assert self._asyncio_server is not None
        await self._asyncio_server.start_serving()

    def _bind(self) -> socket.socket:
        host = self.host or None
        family, _, _, _, address = socket.getaddrinfo(
            host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host is None:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"{self.name}://{self.host}:{self.port}: {error.strerror}") from error
        sock.setblocking(False)
        return sock

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False where `max.connections` or `max.connections.per.ip` is reached."""
        server, config = self.server, self.server.broker.config
        limit_of_host = config.connections_limit_of(connection.peer_host)
        if (
            len(server.connections) >= config["max.connections"]
            or server.by_host[connection.peer_host] >= limit_of_host
        ):
            log.warning(
                "connection refused, too many are open", peer=connection.peer_host, open=len(server.connections)
            )
            return False
        server.connections.add(connection)
        server.by_host[connection.peer_host] += 1
        return True

    def discard(self, connection: Connection) -> None:
        if connection in self.server.connections:
            self.server.connections.discard(connection)
            self.server.by_host[connection.peer_host] -= 1
            if not self.server.by_host[connection.peer_host]:
                del self.server.by_host[connection.peer_host]

    def stop_accepting(self) -> None:
        if self._asyncio_server is not None:
            self._asyncio_server.close()

    async def wait_closed(self) -> None:
        if self._asyncio_server is not None:
            await self._asyncio_server.wait_closed()
            self._asyncio_server = None
