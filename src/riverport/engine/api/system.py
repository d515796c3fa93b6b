"""/_ping, /version, /info, /events, /auth, /system/df."""

import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.info import Counts, info_document, version_document
from riverport.engine.api.routing import Answer, Request, Response, Route, json_response
from riverport.engine.containers.times import parse_time
from riverport.engine.errors import InvalidParameter
from riverport.engine.events import FILTERS

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

_NEVER_CACHED: Final = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Content-Type": "text/plain; charset=utf-8",
}

_WITHOUT_BUILDER_SIZE: Final = (1, 42)
_WITHOUT_VIRTUAL_SIZE: Final = (1, 44)

DISK_USAGE_TYPES: Final = ("container", "image", "volume", "build-cache")


async def ping(engine: "Engine", request: Request) -> Answer:
    return Response(200, dict(_NEVER_CACHED), b"" if request.method == "HEAD" else b"OK")


async def version(engine: "Engine", request: Request) -> Answer:
    return json_response(version_document())


async def info(engine: "Engine", request: Request) -> Answer:
    counts = Counts(**engine.containers.counts(), images=engine.images.count())
    return json_response(info_document(engine, counts, engine.events.listeners, request.version))


async def events(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), FILTERS)
    since, until = _moment(request, "since"), _moment(request, "until")
    if since is not None and until is not None and until < since:
        raise InvalidParameter(
            f"`since` time ({request.one('since')}) cannot be after `until` time ({request.one('until')})"
        )

    async def lines() -> AsyncIterator[bytes]:
        async for event in engine.events.subscribe(since, until, filters):
            yield json.dumps(event.document(), separators=(",", ":")).encode() + b"\n"

    return Response(200, {"Content-Type": "application/json"}, lines())


def _moment(request: Request, name: str) -> int | None:
    text = request.one(name)
    return parse_time(text, time.time_ns()) if text else None


async def auth(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    token = await engine.images.login(wanted)
    return json_response({"IdentityToken": token, "Status": "Login Succeeded"})


async def disk_usage(engine: "Engine", request: Request) -> Answer:
    """Only what `type` asks for is measured: adding up volumes means walking through all their files."""
    wanted = request.many("type") or list(DISK_USAGE_TYPES)
    if unknown := [kind for kind in wanted if kind not in DISK_USAGE_TYPES]:
        raise InvalidParameter(f"unknown object type: {unknown[0]}")
    found: dict[str, Any] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
    if "image" in wanted:
        found["LayersSize"], rows = await engine.images.usage()
        old = request.version < _WITHOUT_VIRTUAL_SIZE
        found["Images"] = [{**row, "VirtualSize": row["Size"]} for row in rows] if old else rows
    if "container" in wanted:
        found["Containers"] = await engine.containers.usage()
    if "volume" in wanted:
        found["Volumes"] = [
            {**engine.volumes.document(usage.volume), "UsageData": {"Size": usage.size, "RefCount": usage.references}}
            for usage in await engine.volumes.usage()
        ]
    if "build-cache" in wanted:
        found["BuildCache"] = await (await engine.get_builder()).usage()
        if request.version < _WITHOUT_BUILDER_SIZE:
            found["BuilderSize"] = sum(entry["Size"] for entry in found["BuildCache"])
    return json_response(found)


ROUTES: Final = [
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
    Route("POST", "/auth", auth),
    Route("GET", "/system/df", disk_usage),
]
