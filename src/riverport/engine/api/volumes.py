"""/volumes: create, inspect, list, remove, prune."""

from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.routing import Answer, Request, Route, empty, json_response
from riverport.engine.errors import InvalidParameter

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

_LIST_FILTERS: Final = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS: Final = ("all", "label", "label!")
_PRUNES_ANONYMOUS: Final = (1, 42)


async def create(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    for name in ("Name", "Driver"):
        if not isinstance(wanted.get(name) or "", str):
            raise InvalidParameter(f"{name} must be a string")
    volume = engine.volumes.create(
        wanted.get("Name") or "", wanted.get("Driver") or "", _texts(wanted, "DriverOpts"), _texts(wanted, "Labels")
    )
    return json_response(engine.volumes.document(volume), 201)


def _texts(wanted: dict[str, Any], name: str) -> dict[str, str] | None:
    found = wanted.get(name)
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidParameter(f"{name} must map strings to strings")
    return found


async def inspect(engine: "Engine", request: Request) -> Answer:
    return json_response(engine.volumes.document(engine.volumes.get(request.params["name"])))


async def list_all(engine: "Engine", request: Request) -> Answer:
    found = engine.volumes.find(Filters.parse(request.one("filters"), _LIST_FILTERS))
    return json_response({"Volumes": [engine.volumes.document(volume) for volume in found], "Warnings": None})


async def remove(engine: "Engine", request: Request) -> Answer:
    await engine.volumes.remove(request.params["name"], request.flag("force"))
    return empty()


async def prune(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), _PRUNE_FILTERS)
    only_anonymous = request.version >= _PRUNES_ANONYMOUS
    names, reclaimed = await engine.volumes.prune(filters, only_anonymous=only_anonymous)
    return json_response({"VolumesDeleted": names, "SpaceReclaimed": reclaimed})


ROUTES: Final = [
    Route("POST", "/volumes/create", create),
    Route("GET", "/volumes", list_all),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
]
