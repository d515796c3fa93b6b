"""What handlers receive and return."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

JSON_LIMIT: Final = 4 << 20
"""Bytes of a JSON document that a client may send, unless a handler says otherwise."""


class HttpError(Exception):
    """An answer by exception, for what no product words by itself: a body that is too long, a path that is none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClientGone(ConnectionError):
    """The client closed its connection before its request, or the answer, was complete."""


class Headers:
    """Names compare without regard to case; a name may occur more than once."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """The first value; of list-valued headers see `all`."""
        values = self._values.get(name.lower())
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        return list(self._values.get(name.lower(), ()))

    def has_token(self, name: str, token: str) -> bool:
        """Whether a comma-separated header such as Connection has this word."""
        return any(part.strip().lower() == token for value in self.all(name) for part in value.split(","))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values


@dataclass(slots=True, frozen=True)
class Peer:
    """Who asks: an address as text ("" on a Unix socket), and the verified client certificate if TLS showed one."""

    address: str = ""
    certificate: Mapping[str, Any] | None = None


BodyReader = Callable[[], AsyncIterator[bytes]]


class Request:
    """One request; its body is read while the handler runs, and only as fast as the handler takes it."""

    __slots__ = ("_query", "_read", "headers", "method", "params", "path", "peer", "raw_query", "trailers")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers | Mapping[str, str] | None = None,
        body: bytes | BodyReader = b"",
        peer: Peer | None = None,
    ) -> None:
        """`target` is the request line's: path and query, percent-encoded."""
        self.method = method
        self.path, _, self.raw_query = target.partition("?")
        self.headers = headers if isinstance(headers, Headers) else Headers((headers or {}).items())
        self.peer = peer or Peer()
        self.params: dict[str, str] = {}  # what the route's pattern matched, decoded
        self.trailers = Headers()  # filled when the body has been read to its end
        self._query: dict[str, list[str]] | None = None
        self._read: BodyReader = body if callable(body) else lambda: _once(body)

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            self._query = parse_qs(self.raw_query, keep_blank_values=True)
        return self._query

    def one(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    def many(self, name: str) -> list[str]:
        return self.query.get(name, [])

    def stream(self) -> AsyncIterator[bytes]:
        """The body's pieces as they arrive. Raises ClientGone if it ends early, HttpError if it is malformed."""
        return self._read()

    async def body(self, limit: int = JSON_LIMIT) -> bytes:
        """The whole body. Raises HttpError(413) beyond `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit:
                raise HttpError(413, f"request body is larger than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def json(self, limit: int = JSON_LIMIT) -> Any:
        """The body as JSON; None if it is empty. Raises HttpError(400)."""
        data = await self.body(limit)
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"invalid JSON: {error}") from error


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


@dataclass(slots=True, frozen=True)
class FileRange:
    """Bytes of a file, sent by the kernel. `length` None is: to the end the file has when the answer begins."""

    path: Path
    offset: int = 0
    length: int | None = None


Body = bytes | AsyncIterator[bytes] | FileRange


@dataclass(slots=True)
class Response:
    """An answer. The head of a streamed body leaves at once, before its first piece is there.

    A streamed body without Content-Length is sent in chunks. If the client goes, the iterator is cancelled where it
    waits and closed. An iterator that raises ends the connection without the last chunk, so that the client knows.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = b""


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
    return Response(status, {"Content-Type": "application/json", **(headers or {})}, body)


class Duplex(Protocol):
    """A connection after its HTTP is over."""

    async def read(self, limit: int = 65536, /) -> bytes:
        """At most `limit` bytes; b"" when the client has closed its half, or all of it."""
        ...

    async def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Returns when the kernel has taken everything. Raises ClientGone."""
        ...

    async def write_eof(self) -> None:
        """Closes our half; the client may go on sending."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Hijack:
    """An answer after whose head the connection belongs to `run`, without framing. It is closed when `run` returns."""

    status: int
    headers: dict[str, str]
    run: Callable[[Duplex], Awaitable[None]]


Answer = Response | Hijack
Handler = Callable[[Request], Awaitable[Answer]]
