"""What every API module imports: the request as the Docker API sees it, routes, and the usual shapes of answers.

ROUTES = [Route("POST", "/containers/{id}/start", start), Route("GET", "/containers/json", list_all)]
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from riverport.base.http.messages import (
    JSON_LIMIT,
    Answer,
    ClientGone,
    Duplex,
    Hijack,
    HttpError,
    Response,
    json_response,
)
from riverport.base.http.messages import Request as HttpRequest
from riverport.base.logging import get_logger
from riverport.engine.errors import EngineError, InvalidParameter
from riverport.engine.release import API_NEWEST, API_OLDEST

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

__all__ = [
    "Answer",
    "Duplex",
    "Hijack",
    "Request",
    "Response",
    "Route",
    "Version",
    "empty",
    "json_response",
    "lines",
    "progress",
]

log = get_logger(__name__)

Version = tuple[int, int]

OLDEST: Final[Version] = API_OLDEST
NEWEST: Final[Version] = API_NEWEST

_FALSE: Final = frozenset({"", "0", "no", "false", "none"})


class Request(HttpRequest):
    """`params` are the route's fields ("id", "name"), decoded; `version` is the API version the client speaks."""

    __slots__ = ("version",)

    def __init__(self, inner: HttpRequest, version: Version = NEWEST, params: dict[str, str] | None = None) -> None:
        target = f"{inner.path}?{inner.raw_query}" if inner.raw_query else inner.path
        super().__init__(inner.method, target, inner.headers, inner.stream, inner.peer)
        self.params = params if params is not None else inner.params
        self.version = version

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean of the query as Docker reads it: "", 0, no, false and none are false, all else is true."""
        values = self.query.get(name)
        return values[0].strip().lower() not in _FALSE if values else default

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Raises InvalidParameter for what is no number; an empty value is an absent one."""
        value = self.one(name)
        if not value:
            return default
        try:
            return int(value)
        except ValueError as error:
            raise InvalidParameter(f'strconv.Atoi: parsing "{value}": invalid syntax') from error

    async def document(self, limit: int = JSON_LIMIT) -> dict[str, Any]:
        """The body as a JSON object; {} if there is none. Raises InvalidParameter."""
        data = await self.body(limit)
        kind = self.headers.get("Content-Type").partition(";")[0].strip().lower()
        if not data.strip():
            return {}
        if kind and kind != "application/json":
            shown = self.headers.get("Content-Type")
            raise InvalidParameter(f"Content-Type specified ({shown}) must be 'application/json'")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidParameter(f"invalid JSON: {error}") from error
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidParameter(f"invalid JSON: an object is needed, not {type(value).__name__}")
        return value


Handler = Callable[["Engine", Request], Awaitable[Answer]]


@dataclass(slots=True, frozen=True)
class Route:
    """A path without its version prefix; a pattern's fields are those of `base.http.router`."""

    method: str
    pattern: str
    handler: Handler
    since: Version = OLDEST


def empty(status: int = 204) -> Response:
    return Response(status)


async def progress(items: AsyncIterator[dict[str, Any]]) -> Response:
    """A stream of JSON lines (pull, push, load, import, build).

    What fails before the first item is an error answer of its own; what fails later becomes the last line of a 200,
    because the head has left by then.
    """
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return Response(200, {"Content-Type": "application/json"}, b"")
    return Response(200, {"Content-Type": "application/json"}, _lines(items, first))


def lines(items: AsyncIterator[dict[str, Any]]) -> Response:
    """The same where Docker's head leaves before the work begins: every failure is a line of a 200."""
    return Response(200, {"Content-Type": "application/json"}, _lines(items))


async def _lines(items: AsyncIterator[dict[str, Any]], first: dict[str, Any] | None = None) -> AsyncIterator[bytes]:
    if first is not None:
        yield _line(first)
    try:
        async for item in items:
            yield _line(item)
    except ClientGone:
        raise
    except Exception as error:
        if not isinstance(error, EngineError | HttpError | OSError):
            log.exception("an answer broke off")
        text = str(error) or type(error).__name__
        yield _line({"errorDetail": {"message": text}, "error": text})
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _line(item: dict[str, Any]) -> bytes:
    return json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\r\n"
