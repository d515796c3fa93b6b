"""/containers: create, list, inspect, start, stop, kill, restart, pause, rename, update, remove, prune, top, stats."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.platforms import written_platform
from riverport.engine.api.routing import Answer, Request, Response, Route, empty, json_response
from riverport.engine.containers import listing, stats
from riverport.engine.containers.container import Container, Outcome, WaitCondition
from riverport.engine.containers.removal import PRUNE_FILTERS
from riverport.engine.errors import InvalidParameter

if TYPE_CHECKING:
    import asyncio

    from riverport.engine.daemon import Engine

_JSON: Final = {"Content-Type": "application/json"}


def _container(engine: "Engine", request: Request) -> Container:
    return engine.containers.get(request.params["id"])


async def create(engine: "Engine", request: Request) -> Answer:
    platform = written_platform(request, (1, 41))
    _, answer = await engine.containers.creator.create(
        await request.document(), request.version, request.one("name"), platform
    )
    return json_response(answer, 201)


async def list_all(engine: "Engine", request: Request) -> Answer:
    rows = await engine.containers.rows(
        Filters.parse(request.one("filters"), listing.FILTERS),
        request.version,
        everything=request.flag("all"),
        limit=request.integer("limit") or 0,
        size=request.flag("size"),
        before=request.one("before"),
        since=request.one("since"),
    )
    return json_response(rows)


async def inspect(engine: "Engine", request: Request) -> Answer:
    return json_response(await engine.containers.inspect(request.params["id"], request.version, request.flag("size")))


async def start(engine: "Engine", request: Request) -> Answer:
    if len(await request.body()) > 7:  # shorter bodies, as "{}" or "null", say nothing
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if request.one("checkpoint"):
        raise InvalidParameter("checkpoint is not supported")
    await engine.containers.lifecycle.start(_container(engine, request))
    return empty()


def _signal(request: Request) -> str:
    return request.one("signal") if request.version >= (1, 42) else ""


async def stop(engine: "Engine", request: Request) -> Answer:
    await engine.containers.lifecycle.stop(_container(engine, request), request.integer("t"), _signal(request))
    return empty()


async def restart(engine: "Engine", request: Request) -> Answer:
    await engine.containers.lifecycle.restart(_container(engine, request), request.integer("t"), _signal(request))
    return empty()


async def kill(engine: "Engine", request: Request) -> Answer:
    await engine.containers.lifecycle.kill(_container(engine, request), request.one("signal"))
    return empty()


async def pause(engine: "Engine", request: Request) -> Answer:
    await engine.containers.lifecycle.pause(_container(engine, request))
    return empty()


async def unpause(engine: "Engine", request: Request) -> Answer:
    await engine.containers.lifecycle.unpause(_container(engine, request))
    return empty()


async def rename(engine: "Engine", request: Request) -> Answer:
    engine.containers.creator.rename(_container(engine, request), request.one("name"))
    return empty()


async def update(engine: "Engine", request: Request) -> Answer:
    warnings = await engine.containers.update(request.params["id"], await request.document(), request.version)
    return json_response({"Warnings": warnings or None})


async def remove(engine: "Engine", request: Request) -> Answer:
    reference = request.params["id"]
    if request.flag("link"):
        engine.containers.remove_link(reference)
        return empty()
    await engine.containers.removal.remove(
        engine.containers.get(reference), reference, force=request.flag("force"), volumes=request.flag("v")
    )
    return empty()


async def prune(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), PRUNE_FILTERS)
    removed, reclaimed = await engine.containers.removal.prune(filters)
    return json_response({"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed})


async def wait(engine: "Engine", request: Request) -> Answer:
    """The head leaves at once: `docker run` starts the container only after it."""
    condition = request.one("condition") if request.version >= (1, 30) else ""
    try:
        chosen = WaitCondition(condition or WaitCondition.NOT_RUNNING)
    except ValueError:
        raise InvalidParameter(f'invalid condition: "{condition}"') from None
    return Response(200, dict(_JSON), _outcome(_container(engine, request).wait(chosen)))


async def _outcome(waiting: "asyncio.Future[Outcome]") -> AsyncIterator[bytes]:
    try:
        outcome = await waiting
    finally:
        waiting.cancel()
    # An error of the start is told by its own answer, and not again by this one.
    yield _line({"StatusCode": outcome.exit_code})


async def top(engine: "Engine", request: Request) -> Answer:
    container = _container(engine, request)
    titles, processes = await container.running_shim().top(request.one("ps_args") or "-ef")
    engine.containers.catalogue.publish(container, "top")
    return json_response({"Titles": titles, "Processes": processes})


async def usage(engine: "Engine", request: Request) -> Answer:
    container = _container(engine, request)
    if request.flag("stream", default=True):
        return Response(200, dict(_JSON), _stats(container))
    one_shot = request.version >= (1, 41) and request.flag("one-shot")
    return json_response(await stats.once(container, with_rate=not one_shot))


async def _stats(container: Container) -> AsyncIterator[bytes]:
    async for measured in stats.stream(container):
        yield _line(measured)


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


async def resize(engine: "Engine", request: Request) -> Answer:
    height, width = size_of(request)
    await _container(engine, request).running_shim().resize(height, width)
    return Response(200)


def size_of(request: Request) -> tuple[int, int]:
    """Height and width of a terminal; raises InvalidParameter."""
    sizes = []
    for name, title in (("h", "height"), ("w", "width")):
        text = request.one(name)
        if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
            raise InvalidParameter(f'invalid resize {title} "{text}": invalid syntax')
        sizes.append(int(text))
    return sizes[0], sizes[1]


ROUTES: Final = [
    Route("POST", "/containers/create", create),
    Route("GET", "/containers/json", list_all),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{id}/json", inspect),
    Route("GET", "/containers/{id}/top", top),
    Route("GET", "/containers/{id}/stats", usage),
    Route("POST", "/containers/{id}/start", start),
    Route("POST", "/containers/{id}/stop", stop),
    Route("POST", "/containers/{id}/restart", restart),
    Route("POST", "/containers/{id}/kill", kill),
    Route("POST", "/containers/{id}/pause", pause),
    Route("POST", "/containers/{id}/unpause", unpause),
    Route("POST", "/containers/{id}/rename", rename),
    Route("POST", "/containers/{id}/update", update),
    Route("POST", "/containers/{id}/wait", wait),
    Route("POST", "/containers/{id}/resize", resize),
    Route("DELETE", "/containers/{id:path}", remove),
]
