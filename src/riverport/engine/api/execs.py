"""/containers/{id}/exec and /exec: create, start, resize, inspect."""

from typing import TYPE_CHECKING, Final

from riverport.engine.api.container_streams import hijacked
from riverport.engine.api.containers import size_of
from riverport.engine.api.routing import Answer, Duplex, Request, Response, Route, json_response

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


async def create(engine: "Engine", request: Request) -> Answer:
    made = await engine.containers.execs.create(request.params["id"], await request.document(), request.version)
    return json_response({"Id": made.id}, 201)


async def start(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    execs = engine.containers.execs
    chosen = execs.begin(request.params["id"])
    console_size = wanted.get("ConsoleSize") if request.version >= (1, 42) and chosen.config["Tty"] else None
    if wanted.get("Detach"):
        await execs.run_detached(chosen, console_size)
        return Response(200)

    framed = not wanted.get("Tty")

    async def run(duplex: Duplex) -> None:
        await execs.run_attached(chosen, duplex, console_size, framed=framed)

    return hijacked(request, run, raw=not framed)


async def resize(engine: "Engine", request: Request) -> Answer:
    height, width = size_of(request)
    await engine.containers.execs.resize(request.params["id"], height, width)
    return Response(200)


async def inspect(engine: "Engine", request: Request) -> Answer:
    return json_response(engine.containers.execs.get(request.params["id"]).document())


ROUTES: Final = [
    Route("POST", "/containers/{id}/exec", create),
    Route("POST", "/exec/{id}/start", start),
    Route("POST", "/exec/{id}/resize", resize),
    Route("GET", "/exec/{id}/json", inspect),
]
