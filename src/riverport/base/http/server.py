"""Listeners and the connections they accept."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riverport.base.http.exchange import Connection, Limits
from riverport.base.http.messages import ClientGone, Handler, Peer
from riverport.base.http.streams import SocketStream, Stream, TlsStream
from riverport.base.logging import get_logger

if TYPE_CHECKING:
    import ssl

log = get_logger(__name__)

_BACKLOG: Final = 1024
_HANDSHAKE_S: Final = 10.0
_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True, frozen=True)
class UnixListener:
    """A socket file; one that nobody listens on any more is replaced."""

    path: Path
    mode: int = 0o660
    group: int | None = None

    def bind(self) -> socket.socket:
        """Raises OSError(EADDRINUSE) when another process listens there."""
        _remove_stale(self.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody may connect before mode and group are set.
            before = os.umask(0o177)
            try:
                sock.bind(str(self.path))
            finally:
                os.umask(before)
            if self.group is not None:
                os.chown(self.path, -1, self.group)
            os.chmod(self.path, self.mode)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def tls(self) -> "ssl.SSLContext | None":
        return None


@dataclass(slots=True, frozen=True)
class TcpListener:
    host: str
    port: int
    tls: "ssl.SSLContext | None" = None

    def bind(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and self.host:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock


@dataclass(slots=True, frozen=True)
class OpenListener:
    """A socket that somebody else has bound and listens on: systemd's socket activation, or a test."""

    sock: socket.socket
    tls: "ssl.SSLContext | None" = None

    def bind(self) -> socket.socket:
        return self.sock


Listener = UnixListener | TcpListener | OpenListener


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "exists and is no socket", str(path))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another process listens on it", str(path))


class Server:
    """Made by `serve`. `addresses` are what `getsockname` says, in the order of the listeners."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self._handler = handler
        self._limits = limits
        self._room = asyncio.Semaphore(limits.connections)
        self._accepting: list[asyncio.Task[None]] = []
        self._open: dict[asyncio.Task[None], Connection | None] = {}
        self._listening: list[tuple[Listener, socket.socket]] = []
        self.addresses: list[str | tuple[str, int]] = []

    def start(self, listeners: Iterable[Listener]) -> None:
        """Raises OSError for the first that cannot be bound; then nothing is left open."""
        try:
            for listener in listeners:
                self._listening.append((listener, listener.bind()))
        except BaseException:
            self._unbind()
            raise
        for listener, sock in self._listening:
            sock.setblocking(False)
            name = sock.getsockname()
            self.addresses.append(name if isinstance(name, str) else (name[0], name[1]))
            self._accepting.append(asyncio.create_task(self._accept(listener, sock)))

    @property
    def ports(self) -> list[int]:
        """The TCP ports, in order; port 0 has become a number."""
        return [address[1] for address in self.addresses if not isinstance(address, str)]

    async def close(self, grace_s: float = 5.0) -> None:
        """Accept nothing more, let go of idle clients, give the others `grace_s`, then cut them off."""
        await _ended(self._accepting)
        self._unbind()
        await _ended([task for task, connection in self._open.items() if connection is None or connection.idle])
        if self._open and grace_s > 0:
            await asyncio.wait(set(self._open), timeout=grace_s)
        await _ended(list(self._open))
        await asyncio.sleep(0)  # sockets close a turn after their connections

    def _unbind(self) -> None:
        for listener, sock in self._listening:
            sock.close()
            if isinstance(listener, UnixListener):
                with contextlib.suppress(OSError):
                    listener.path.unlink()
        self._listening.clear()

    async def _accept(self, listener: Listener, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                client, address = await loop.sock_accept(sock)
            except OSError as error:
                self._room.release()
                if error.errno in _OUT_OF_DESCRIPTORS:
                    log.warning("no room for another connection", reason=error)
                    await asyncio.sleep(0.1)
                continue
            except asyncio.CancelledError:
                self._room.release()
                raise
            task = asyncio.create_task(self._serve(client, _text(address), listener.tls))
            self._open[task] = None
            task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", reason=repr(error))

    async def _serve(self, client: socket.socket, address: str, tls: "ssl.SSLContext | None") -> None:
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain = SocketStream(client)
        stream: Stream = plain
        peer = Peer(address)
        if tls is not None:
            secured = TlsStream(plain, tls)
            try:
                async with asyncio.timeout(_HANDSHAKE_S):
                    await secured.handshake()
            except (ClientGone, TimeoutError) as error:
                log.info("no TLS with a client", peer=address, reason=str(error) or "took too long")
                secured.close()
                return
            except BaseException:
                secured.close()
                raise
            stream, peer = secured, Peer(address, secured.certificate())
        connection = Connection(stream, peer, self._handler, self._limits)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = connection
        await connection.run()


def _text(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = set(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


async def serve(handler: Handler, listeners: Iterable[Listener], limits: Limits | None = None) -> Server:
    """Listen on all of them. Raises OSError, naming the one that is taken."""
    server = Server(handler, limits or Limits())
    server.start(listeners)
    return server
