"""/build: an image from a Dockerfile, and what builds keep for later. Routes are in late.py."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.routing import Answer, Request, Response, json_response, progress
from riverport.engine.build.options import parse_options
from riverport.engine.build.running import StepFailed
from riverport.engine.containers.times import parse_time
from riverport.engine.errors import InvalidParameter

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

Json = dict[str, Any]

PRUNE_FILTERS: Final = frozenset(
    ("id", "parent", "type", "description", "inuse", "shared", "private", "until", "all", "mutable", "immutable")
)


async def build(engine: "Engine", request: Request) -> Answer:
    options = parse_options(request.query, request.flag)
    builder = await engine.get_builder()
    items = builder.build(options, request.stream(), _logins(request))
    return await progress(_with_codes(items))


async def _with_codes(items: Any) -> AsyncIterator[Json]:
    """A failed command's exit code becomes the client's, so it stands in the error's detail."""
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except StepFailed as error:
            yield {"errorDetail": {"code": error.code, "message": str(error)}, "error": str(error)}


def _logins(request: Request) -> Json:
    """`X-Registry-Config`; what cannot be read is nobody in particular, as in Docker."""
    text = request.headers.get("X-Registry-Config")
    try:
        document = json.loads(
            base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)) or "{}"
        )
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


async def prune(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), PRUNE_FILTERS)
    until = _until(filters)
    ids = frozenset(filters.get("id"))
    builder = await engine.get_builder()
    removed, size = await builder.prune(until, ids)
    return json_response({"CachesDeleted": removed or None, "SpaceReclaimed": size})


def _until(filters: Filters) -> float | None:
    """Before which a cache must have been used last: `until=24h` is a day ago."""
    values = filters.get("until")
    return parse_time(values[0], time.time_ns()) / 10**9 if values else None


async def cancel(engine: "Engine", request: Request) -> Answer:
    """Of BuildKit's builds, which have an id; ours end with their connection."""
    if not request.one("id"):
        raise InvalidParameter("build ID not provided")
    return Response(200)
