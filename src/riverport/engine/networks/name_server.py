"""The name server that a container sees at 127.0.0.11: names of its networks, and the host's servers for the rest.

Its sockets are opened inside the container's network namespace, on a port of the kernel's choice, so that a container
may have port 53 for itself. A few stateless rules there turn the port number of packets to and from 127.0.0.11:53 into
that port: no connection tracking, which would cost every other packet. The sockets are read here, by the event loop,
and questions for the servers outside leave from the host's namespace.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from riverport.base.logging import get_logger
from riverport.engine.linux.nft import Nft
from riverport.engine.networks import wire
from riverport.engine.networks.files import EMBEDDED
from riverport.engine.networks.names import Asker, Directory

log = get_logger(__name__)

PENDING: Final = 256
"""Questions of one container that may wait for the servers outside; more are refused."""
CONNECTIONS: Final = 64
IDLE_S: Final = 10.0
UPSTREAM_S: Final = 4.0
_MESSAGE_BYTES: Final = 65535
_PORT_TRIES: Final = 16

_RULES: Final = """\
add table ip riverport
add chain ip riverport names {{ type filter hook output priority -150; policy accept; }}
flush chain ip riverport names
add rule ip riverport names ip daddr {address} udp dport 53 udp dport set {port}
add rule ip riverport names ip daddr {address} tcp dport 53 tcp dport set {port}
add rule ip riverport names ip saddr {address} udp sport {port} udp sport set 53
add rule ip riverport names ip saddr {address} tcp sport {port} tcp sport set 53
"""


class Sockets:
    """Made anywhere, opened by a thread inside the container's namespace, read by the event loop."""

    def __init__(self) -> None:
        self.udp: socket.socket | None = None
        self.tcp: socket.socket | None = None

    def open(self) -> None:
        """Also after a restart of the daemon: the rules are then replaced."""
        for attempt in range(_PORT_TRIES):
            self.udp = _socket(socket.SOCK_DGRAM)
            self.udp.bind((EMBEDDED, 0))
            port = self.udp.getsockname()[1]
            self.tcp = _socket(socket.SOCK_STREAM)
            try:
                self.tcp.bind((EMBEDDED, port))
            except OSError:
                self.close()
                if attempt == _PORT_TRIES - 1:
                    raise
                continue
            self.tcp.listen(CONNECTIONS)
            with Nft() as nft:
                nft.run(_RULES.format(address=EMBEDDED, port=port))
            return

    def close(self) -> None:
        for opened in (self.udp, self.tcp):
            if opened is not None:
                opened.close()
        self.udp = self.tcp = None


class NameServer:
    """Of one container. `upstream` gives the servers outside, anew for each question; none: there is no outside."""

    def __init__(self, directory: Directory, asker: Asker, upstream: Callable[[], Sequence[str]]) -> None:
        self.asker = asker
        self._directory = directory
        self._upstream = upstream
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()

    async def serve(self, sockets: Sockets) -> None:
        assert sockets.udp is not None, "opened before"
        assert sockets.tcp is not None, "opened before"
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sockets.udp)
        self._server = await asyncio.start_server(self._converse, sock=sockets.tcp)

    def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()

    def received(self, message: bytes, peer: tuple[str, int]) -> None:
        """A datagram: known names are answered in the same turn of the event loop."""
        reply, limit = self._answer(message)
        if reply is not None:
            self._send(wire.truncated(reply, limit), peer)
        elif len(self._tasks) >= PENDING:
            self._send(wire.failure(message), peer)
        else:
            task = asyncio.get_running_loop().create_task(self._forward_datagram(message, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _answer(self, message: bytes) -> tuple[bytes | None, int]:
        """(reply, how much the client takes); no reply: the servers outside are to be asked."""
        try:
            question = wire.read_question(message)
            return answer(question, self._directory, self.asker), question.udp_bytes
        except wire.MalformedMessage:
            # What we cannot read (an update, a transfer) is passed on; what nobody can read, too, and dies there.
            return None, wire.UDP_BYTES

    def _send(self, reply: bytes, peer: tuple[str, int]) -> None:
        if self._datagrams is not None and not self._datagrams.is_closing():
            self._datagrams.sendto(reply, peer)

    async def _forward_datagram(self, message: bytes, peer: tuple[str, int]) -> None:
        for server in self._upstream():
            with suppress(OSError, asyncio.TimeoutError):
                self._send(await ask_datagram(server, message), peer)
                return
        self._send(wire.failure(message), peer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: messages behind two bytes of length (RFC 1035, 4.2.2), answered in order."""
        if len(self._connections) >= CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    message = await reader.readexactly(length)
                reply, _ = self._answer(message)
                if reply is None:
                    reply = await self._forward_stream(message)
                writer.write(len(reply).to_bytes(2, "big") + reply)
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone, or has nothing more to say
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _forward_stream(self, message: bytes) -> bytes:
        for server in self._upstream():
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                return await ask_stream(server, message)
        return wire.failure(message)


def answer(question: wire.Question, directory: Directory, asker: Asker) -> bytes | None:
    """What the directory has to say; None for a name that is not of these networks.

    A known name has no other records than its addresses: any other question about it gets an empty answer without an
    error (RFC 2308, 2.2), so that a client that asks for AAAA first goes on to A.
    """
    if question.kind == wire.PTR:
        address = wire.reverse_address(question.name)
        pointer = directory.reverse(asker, address) if address is not None else None
        return None if pointer is None else question.reply(pointer=pointer)
    addresses = directory.find(asker, question.name)
    if addresses is None:
        return None
    version = {wire.A: 4, wire.AAAA: 6}.get(question.kind)
    return question.reply([address for address in addresses if address.version == version])


async def ask_datagram(server: str, message: bytes) -> bytes:
    """One question to one server. A socket and an id of its own for each, so that answers are hard to forge."""
    loop = asyncio.get_running_loop()
    identifier = int.from_bytes(os.urandom(2), "big")
    answered: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Once(answered, identifier), remote_addr=(server, 53), family=_family(server)
    )
    try:
        transport.sendto(wire.with_id(message, identifier))
        async with asyncio.timeout(UPSTREAM_S):
            reply = await answered
    finally:
        transport.close()
    return message[:2] + reply[2:]


async def ask_stream(server: str, message: bytes) -> bytes:
    async with asyncio.timeout(UPSTREAM_S):
        reader, writer = await asyncio.open_connection(server, 53)
        try:
            writer.write(len(message).to_bytes(2, "big") + message)
            await writer.drain()
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.received(data, addr)


class _Once(asyncio.DatagramProtocol):
    """Waits for the answer with the right id."""

    def __init__(self, answered: asyncio.Future[bytes], identifier: int) -> None:
        self._answered = answered
        self._identifier = identifier

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answered.done() and data[:2] == self._identifier.to_bytes(2, "big"):
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


def _socket(kind: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    opened.setblocking(False)
    return opened


def _family(server: str) -> int:
    return socket.AF_INET6 if ":" in server else socket.AF_INET
