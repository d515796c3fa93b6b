"""Bytes over a connected socket, plain or in TLS.

Plain non-blocking sockets rather than asyncio's transports, for three things that transports do not give: sendfile on
uvloop, a half-close under TLS (`docker run -i` ends stdin that way), and nothing read that nobody asked for.

A read that was begun stays begun: who waited for it may be cancelled or time out, and the next reader gets its bytes.
"""

import asyncio
import contextlib
import os
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from riverport.base.http.messages import ClientGone

if TYPE_CHECKING:
    import ssl

READ_SIZE: Final = 256 << 10
SEND_SIZE: Final = 1 << 20
"""Bytes of a file that are sent before others get their turn."""

_TURNS: Final = 32
"""Reads that are answered from the kernel's buffer at once before others get their turn."""


class Stream(ABC):
    """The common part; what differs is how bytes are received and sent."""

    def __init__(self) -> None:
        self._left = b""  # received and not yet taken
        self._reading: asyncio.Future[bytes] | None = None  # begun, and awaited by whoever reads next
        self.ended = False  # the peer has closed its half

    async def read(self, limit: int = READ_SIZE) -> bytes:
        """At most `limit` bytes, b"" at the end. Raises ClientGone when the connection broke."""
        if not self._left and not self.ended:
            begun = self.begin_read()
            try:
                self._left = await asyncio.shield(begun)
            finally:
                if begun.done():
                    self._reading = None
            self.ended = not self._left
        if limit >= len(self._left):
            taken, self._left = self._left, b""
        else:
            taken, self._left = self._left[:limit], self._left[limit:]
        return taken

    def begin_read(self) -> asyncio.Future[bytes]:
        """A future for the next bytes, which `read` will return; to learn that the client has gone while one writes."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._receive())
            self._reading.add_done_callback(_retrieved)
        return self._reading

    def unread(self, data: bytes) -> None:
        """Give back what was read too much."""
        self._left = data + self._left

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._close()

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """All of it, or ClientGone."""

    @abstractmethod
    async def write_eof(self) -> None:
        """Close our half: the peer reads to the end, and may go on sending."""

    @abstractmethod
    async def send_file(self, fd: int, offset: int, count: int) -> None:
        """Bytes of an open file, all of them or ClientGone; EOFError if the file is shorter."""

    @abstractmethod
    async def _receive(self) -> bytes:
        """What has come, b"" at the end. Raises ClientGone."""

    @abstractmethod
    def _close(self) -> None:
        """Let the socket go."""


def _retrieved(reading: asyncio.Future[bytes]) -> None:
    """A read that nobody waits for any more is not a forgotten error."""
    if not reading.cancelled():
        reading.exception()


class SocketStream(Stream):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._turns = 0

    async def read(self, limit: int = READ_SIZE) -> bytes:
        """As `Stream.read`; bytes that the kernel already has come without a round through the event loop."""
        if not self._left and not self.ended and self._reading is None and self._turns < _TURNS:
            self._turns += 1
            try:
                data = self._sock.recv(limit)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                raise ClientGone(str(error)) from error
            else:
                self.ended = not data
                return data
        self._turns = 0
        return await super().read(limit)

    async def _receive(self) -> bytes:
        try:
            return await self._loop.sock_recv(self._sock, READ_SIZE)
        except OSError as error:
            raise ClientGone(str(error)) from error

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError as error:
            raise ClientGone(str(error)) from error

    async def write_eof(self) -> None:
        with contextlib.suppress(OSError):  # it has gone, so it knows
            self._sock.shutdown(socket.SHUT_WR)

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        end = offset + count
        turn = 0
        while offset < end:
            try:
                sent = os.sendfile(self._sock.fileno(), fd, offset, min(end - offset, SEND_SIZE - turn))
            except (BlockingIOError, InterruptedError):
                turn = 0
                await self._writable()
                continue
            except OSError as error:
                raise ClientGone(str(error)) from error
            if sent == 0:
                raise EOFError(f"{end - offset} bytes are missing at the end of the file")
            offset += sent
            turn += sent
            if turn >= SEND_SIZE:
                turn = 0
                await asyncio.sleep(0)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._sock, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._sock)

    def _close(self) -> None:
        # A turn later: asyncio takes a cancelled read's descriptor out of its selector by a callback, and by then the
        # number must not belong to another connection.
        self._loop.call_soon(self._sock.close)


def _resolve(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


class TlsStream(Stream):
    """TLS by OpenSSL on memory buffers, over another stream. Reading and writing may go on at the same time."""

    def __init__(self, inner: SocketStream, context: "ssl.SSLContext") -> None:
        import ssl

        super().__init__()
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._want_read = ssl.SSLWantReadError
        self._closed = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
        self._error = ssl.SSLError
        self._sending = asyncio.Lock()  # records leave in the order in which they were sealed

    async def handshake(self) -> None:
        """Raises ClientGone if the two do not come to terms; the alert has been sent by then."""
        while True:
            try:
                self._tls.do_handshake()
            except self._want_read:
                await self._flush()
                await self._feed()
                continue
            except self._error as error:
                await self._flush()
                raise ClientGone(f"TLS: {error}") from error
            await self._flush()
            return

    def certificate(self) -> dict[str, Any] | None:
        """The client's, if it showed one and it was verified."""
        return self._tls.getpeercert()

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(READ_SIZE)
            except self._want_read:
                await self._flush()  # key updates are answered
                await self._feed()
            except self._closed:
                return b""
            except self._error as error:
                raise ClientGone(f"TLS: {error}") from error

    async def _feed(self) -> None:
        data = await self._inner.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            for at in range(0, len(view), READ_SIZE):
                self._tls.write(view[at : at + READ_SIZE])
                await self._flush()
        except self._error as error:
            raise ClientGone(f"TLS: {error}") from error

    async def _flush(self) -> None:
        async with self._sending:
            if self._outgoing.pending:
                await self._inner.write(self._outgoing.read())

    async def write_eof(self) -> None:
        """close_notify ends our half; OpenSSL goes on reading the client's."""
        with contextlib.suppress(self._error, ClientGone):
            try:
                self._tls.unwrap()
            finally:
                await self._flush()

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        end = offset + count
        while offset < end:
            data = await self._inner._loop.run_in_executor(None, os.pread, fd, min(READ_SIZE, end - offset), offset)
            if not data:
                raise EOFError(f"{end - offset} bytes are missing at the end of the file")
            await self.write(data)
            offset += len(data)

    def _close(self) -> None:
        self._inner.close()
