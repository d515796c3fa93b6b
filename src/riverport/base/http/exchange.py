"""A connection's life: requests one after another, each answered before the next is read.

h11 keeps the state of the protocol, in both directions; this file moves bytes and time. The one exception is a hijacked
connection, whose head is written by hand because what follows it is no HTTP (a 101, or Docker's bare 200).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import h11

from riverport.base.http.messages import (
    Answer,
    ClientGone,
    FileRange,
    Handler,
    Headers,
    Hijack,
    HttpError,
    Peer,
    Request,
    Response,
)
from riverport.base.http.streams import Stream
from riverport.base.logging import get_logger

log = get_logger(__name__)


@dataclass(slots=True, frozen=True)
class Limits:
    """What a client may take. Times are in seconds."""

    head_bytes: int = 256 << 10
    """A request line and its headers; `docker build` writes its arguments into the request line."""
    head_s: float = 20.0
    """From the first byte of a head to its last."""
    idle_s: float = 600.0
    """Between two requests."""
    body_stall_s: float = 1800.0
    """Between two pieces of a body: `docker load` may have to wait for what is piped into it."""
    drain_bytes: int = 1 << 20
    """Of a body that no handler wants any more; a longer one ends the connection."""
    drain_s: float = 1.0
    """For which an answer waits until it is known whether the rest of a body is as short as that."""
    linger_s: float = 1.0
    """After the last answer, so that a client which is still sending reads it before it meets a reset."""
    connections: int = 4096


_BODYLESS: Final = frozenset({204, 304})
_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8"}


class Connection:
    """`run` returns when the connection is closed."""

    def __init__(self, stream: Stream, peer: Peer, handler: Handler, limits: Limits) -> None:
        self._stream = stream
        self._peer = peer
        self._handler = handler
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._request = Request("GET", "/")
        self._received: asyncio.Future[None] | None = None  # done when the request's body has been read to its end
        self._taken = 0  # bytes of the request's body
        self._closing = False  # whether the answer says that it is the last one
        self.idle = True  # between two requests: may be closed without hurting anyone

    async def run(self) -> None:
        try:
            while await self._serve_one():
                pass
        except ClientGone as error:
            log.debug("client gone", peer=self._peer.address, reason=error)
        finally:
            self._stream.close()

    async def _serve_one(self) -> bool:
        """One request and its answer; whether another may follow."""
        self.idle = True
        try:
            head = await self._head()
        except HttpError as error:
            await self._refuse(error)
            return False
        if head is None:
            return False
        self.idle = False
        request = self._request = Request(
            head.method.decode("ascii"),
            head.target.decode("latin-1"),
            Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers),
            self._body,
            self._peer,
        )
        self._received = asyncio.get_running_loop().create_future()
        self._taken = 0
        if _has_no_body(request.headers):
            self._http.next_event()
            self._received.set_result(None)
        answer = await self._answer(request)
        if isinstance(answer, Hijack):
            await self._hijack(answer)
            return False
        self._closing = not await self._is_body_over(answer)
        await self._send(answer)
        return await self._is_ready_for_next()

    # --- in

    async def _head(self) -> h11.Request | None:
        """The next request; None if the client is done. Raises HttpError for rubbish and for heads that never end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.idle_s
        begun = bool(self._http.trailing_data[0])
        if begun:
            deadline = loop.time() + self._limits.head_s
        while True:
            event = self._parsed()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._stream.read()
            except TimeoutError:
                if begun:
                    raise HttpError(408, "the request's head took too long") from None
                return None
            if not data:
                return None
            if not begun:
                begun, deadline = True, loop.time() + self._limits.head_s
            self._http.receive_data(data)

    def _parsed(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise HttpError(error.error_status_hint, str(error)) from error

    async def _body(self) -> AsyncIterator[bytes]:
        assert self._received is not None
        if self._received.done():
            return
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            await self._stream.write(self._http.send(go_on) or b"")
        while True:
            event = self._parsed()
            if isinstance(event, h11.Data):
                self._taken += len(event.data)
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
                self._request.trailers = Headers(pairs)
                self._received.set_result(None)
                return
            elif event is h11.NEED_DATA:
                self._http.receive_data(await self._more())
            else:
                return

    async def _more(self) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_stall_s):
                data = await self._stream.read()
        except TimeoutError:
            raise HttpError(408, "the request's body took too long") from None
        if not data:
            raise ClientGone("the request's body ended early")
        return data

    # --- out

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except HttpError as error:
            return Response(error.status, dict(_PLAIN), f"{error}\n".encode())
        except ClientGone:
            raise
        except Exception:
            log.exception("a request failed", method=request.method, path=request.path)
            return Response(500, dict(_PLAIN), b"internal error\n")

    async def _send(self, answer: Response) -> None:
        match answer.body:
            case bytes() as data:
                bare = self._request.method == "HEAD" or answer.status in _BODYLESS
                await self._stream.write(self._start(answer, len(data)) + (b"" if bare else self._piece(data)))
            case FileRange() as piece:
                await self._send_file(answer, piece)
            case iterator:
                await self._send_stream(answer, iterator)
        await self._stream.write(self._http.send(h11.EndOfMessage()) or b"")

    async def _send_file(self, answer: Response, piece: FileRange) -> None:
        fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            count = os.fstat(fd).st_size - piece.offset if piece.length is None else piece.length
            await self._stream.write(self._start(answer, count))
            if self._request.method != "HEAD":
                # h11 only counts; the kernel carries.
                self._http.send_with_data_passthrough(h11.Data(data=cast(bytes, range(count))))
                await self._stream.send_file(fd, piece.offset, count)
        except EOFError as error:
            raise ClientGone(f"{piece.path}: {error}") from error
        finally:
            os.close(fd)

    async def _send_stream(self, answer: Response, body: AsyncIterator[bytes]) -> None:
        """Pump the iterator while watching for the client to go, which a writer alone would learn too late."""
        assert self._received is not None
        pump: asyncio.Future[None] = asyncio.ensure_future(self._pump(self._start(answer, None), body))
        try:
            await asyncio.wait({pump, self._received}, return_when=asyncio.FIRST_COMPLETED)
            if not pump.done():
                reading = self._stream.begin_read()
                await asyncio.wait(_either(pump, reading), return_when=asyncio.FIRST_COMPLETED)
                if not pump.done() and (reading.cancelled() or reading.exception() or not reading.result()):
                    raise ClientGone("closed while an answer was streamed")
            await asyncio.shield(pump)
        finally:
            if not pump.done():
                pump.cancel()
                await asyncio.wait({pump})
            if not pump.cancelled():
                pump.exception()

    async def _pump(self, head: bytes, body: AsyncIterator[bytes]) -> None:
        try:
            await self._stream.write(head)
            if self._request.method == "HEAD":
                return
            async for piece in body:
                if piece:
                    await self._stream.write(self._piece(piece))
        except (ClientGone, asyncio.CancelledError):
            raise
        except HttpError as error:  # its body turned bad while it was answered
            raise ClientGone(str(error)) from error
        except Exception as error:
            log.exception("an answer broke off", method=self._request.method, path=self._request.path)
            raise ClientGone("the answer broke off") from error
        finally:
            # Here and not in the watcher: a generator is closed by the task it ran in.
            if (close := getattr(body, "aclose", None)) is not None:
                await close()

    def _start(self, answer: Response, length: int | None) -> bytes:
        """The head's bytes. `length` None leaves the framing to the handler's Content-Length, or to chunks."""
        headers = dict(answer.headers)
        own = next((name for name in headers if name.lower() == "content-length"), None)
        head_only = self._request.method == "HEAD"
        if length is not None and answer.status not in _BODYLESS and not (own and head_only):
            headers.pop(own or "", None)
            headers["Content-Length"] = str(length)
        headers["Date"] = _date()
        if self._closing or self._http.they_are_waiting_for_100_continue:
            headers["Connection"] = "close"  # where it waits, whether the body comes now nobody can tell
        return self._head_bytes(answer.status, headers.items())

    def _head_bytes(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        pairs = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in headers]
        return self._http.send(h11.Response(status_code=status, headers=pairs, reason=_reason(status))) or b""

    def _piece(self, data: bytes) -> bytes:
        return self._http.send(h11.Data(data=data)) or b""

    # --- ends

    async def _hijack(self, answer: Hijack) -> None:
        assert self._received is not None
        if not self._received.done() and "Content-Length" in self._request.headers:
            # docker-modem (dockerode) sends its options as JSON along: they are no input of the container.
            await self._drain()
        lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status).decode()}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        await self._stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self._stream.unread(self._http.trailing_data[0])
        await answer.run(self._stream)

    async def _refuse(self, error: HttpError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._request = Request("GET", "/")
            headers = {**_PLAIN, "Connection": "close"}
            text = f"{error.status} {_reason(error.status).decode()}: {error}\n".encode()
            await self._send(Response(error.status, headers, text))
        await self._linger()

    async def _is_body_over(self, answer: Response) -> bool:
        """Whether the connection may live as far as the request's body goes, which the answer's head has to say.

        As in Go's net/http, what no handler reads any more is read over before the answer: some clients read nothing
        before they have sent everything. Go waits for it without end. An answer that is a stream may still read it.
        """
        assert self._received is not None
        if self._received.done() or self._http.they_are_waiting_for_100_continue:
            return True
        if not isinstance(answer.body, bytes | FileRange) or _ends_connection(self._request.headers):
            return True
        if int(self._request.headers.get("content-length", "0")) - self._taken > self._limits.drain_bytes:
            return False
        try:
            async with asyncio.timeout(self._limits.drain_s):
                await self._drain()
        except (HttpError, ClientGone, TimeoutError) as error:
            log.debug("a body's rest does not come", reason=error)
        return self._received.done()

    async def _is_ready_for_next(self) -> bool:
        assert self._received is not None
        is_open = self._http.our_state is h11.DONE
        if is_open and not self._received.done() and not self._http.they_are_waiting_for_100_continue:
            try:
                await self._drain()
            except HttpError as error:
                log.debug("a body's rest is malformed", reason=error)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        await self._linger()
        return False

    async def _drain(self) -> None:
        left = self._limits.drain_bytes
        async for piece in self._body():
            left -= len(piece)
            if left < 0:
                return

    async def _linger(self) -> None:
        """Close our half and give the client a moment to read: a socket closed over unread bytes resets the answer."""
        await self._stream.write_eof()
        left = self._limits.drain_bytes
        try:
            async with asyncio.timeout(self._limits.linger_s):
                while left > 0 and (data := await self._stream.read()):
                    left -= len(data)
        except TimeoutError:
            pass


def _either(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)


def _has_no_body(headers: Headers) -> bool:
    return "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"


def _ends_connection(headers: Headers) -> bool:
    return "close" in headers.get("connection", "").lower()


def _reason(status: int) -> bytes:
    if status == 101:
        return b"UPGRADED"  # Docker's word, which some clients compare
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


_dated: tuple[int, str] = (0, "")


def _date() -> str:
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)))
    return _dated[1]
