"""From an HTTP request to a handler's answer: the version in the path, routes, errors, the common headers."""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from riverport.base.http.messages import Answer, ClientGone, HttpError, json_response
from riverport.base.http.messages import Request as HttpRequest
from riverport.base.http.router import Match, Router
from riverport.base.logging import get_logger
from riverport.engine.api.routing import NEWEST, OLDEST, Request, Response, Route, Version
from riverport.engine.errors import EngineError, InvalidParameter, NotFound, NotModified
from riverport.engine.release import SERVER_HEADER

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

log = get_logger(__name__)

MODULES: Final = (
    "system",
    "containers",
    "container_files",
    "container_streams",
    "execs",
    "images",
    "late",
    "networks",
    "volumes",
    "absent",
)
"""The modules of this package that have `ROUTES`."""

COMMON_HEADERS: Final = {
    "Api-Version": f"{NEWEST[0]}.{NEWEST[1]}",
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": SERVER_HEADER,
}

_VERSIONED: Final = re.compile(r"/v([0-9.]+)(/.*)")


class Service:
    """The handler of the HTTP server."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        modules = (import_module(f"riverport.engine.api.{name}") for name in MODULES)
        routes: list[Route] = [route for module in modules for route in module.ROUTES]
        self._router = Router((route.method, route.pattern, route) for route in routes)

    async def __call__(self, incoming: HttpRequest) -> Answer:
        try:
            answer = await self._answer(incoming)
        except NotModified:
            answer = Response(304)
        except EngineError as error:
            answer = _refusal(error.status, str(error))
        except HttpError as error:
            answer = _refusal(error.status, str(error))
        except ClientGone:
            raise
        except Exception as error:
            log.exception("a request failed", method=incoming.method, path=incoming.path)
            answer = _refusal(500, str(error) or type(error).__name__)
        answer.headers = {**COMMON_HEADERS, **answer.headers}
        return answer

    async def _answer(self, incoming: HttpRequest) -> Answer:
        version, path = _split(incoming.path)
        found = self._find(incoming.method, path, version)
        if found is None:
            raise NotFound("page not found")
        return await found.target.handler(self._engine, Request(incoming, version, found.params))

    def _find(self, method: str, path: str, version: Version) -> Match[Route] | None:
        found = self._router.match(method, path)
        # Go's client of old versions escapes a whole image name: "/images/a%2Fb/json" means "/images/a/b/json".
        if found is None and "%2" in path:
            found = self._router.match(method, unquote(path))
        return found if found is not None and version >= found.target.since else None


def _split(path: str) -> tuple[Version, str]:
    """The version and the rest of the path; no version means the newest. Raises InvalidParameter."""
    found = _VERSIONED.fullmatch(path)
    if found is None:
        return NEWEST, path
    text = found[1]
    major, _, minor = text.partition(".")
    try:
        version = (int(major), int(minor))
    except ValueError as error:
        raise InvalidParameter(f"API version {text} is not a version: MAJOR.MINOR, such as 1.50") from error
    if version > NEWEST:
        newest = COMMON_HEADERS["Api-Version"]
        raise InvalidParameter(f"client version {text} is too new. Maximum supported API version is {newest}")
    if version < OLDEST:
        raise InvalidParameter(
            f"client version {text} is too old. Minimum supported API version is {OLDEST[0]}.{OLDEST[1]}, "
            "please upgrade your client to a newer version"
        )
    return version, found[2]


def _refusal(status: int, message: str) -> Response:
    return json_response({"message": message}, status)
