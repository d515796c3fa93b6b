"""/images: list, inspect, history, tag, remove, prune; what moves them about is in `transfers.py`."""

from typing import TYPE_CHECKING, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.platforms import decode, platform_of
from riverport.engine.api.routing import Answer, Request, Route, empty, json_response
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.reference import Reference, parse
from riverport.engine.images.selection import LIST_FILTERS, PRUNE_FILTERS

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


async def list_all(engine: "Engine", request: Request) -> Answer:
    """`manifests` (1.47) changes nothing: only a store of whole indexes has several of an image."""
    filters = Filters.parse(request.one("filters"), LIST_FILTERS)
    # Before 1.41 the reference had a parameter of its own.
    if request.version < (1, 41) and (name := request.one("filter")):
        filters = Filters({**{key: filters.get(key) for key in LIST_FILTERS}, "reference": [name]})
    rows = engine.images.rows(filters, request.flag("all"), request.flag("shared-size"), request.version)
    return json_response(rows)


async def inspect(engine: "Engine", request: Request) -> Answer:
    platform = platform_of(request, (1, 49))
    if platform is not None and request.flag("manifests"):
        raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
    return json_response(engine.images.detail(request.params["name"], request.version, platform))


async def history(engine: "Engine", request: Request) -> Answer:
    return json_response(engine.images.history(request.params["name"], platform_of(request, (1, 48))))


async def tag(engine: "Engine", request: Request) -> Answer:
    engine.images.tag(request.params["name"], named(request.one("repo"), request.one("tag")))
    return empty(201)


async def remove(engine: "Engine", request: Request) -> Answer:
    name = request.params["name"]
    if not name.strip():
        raise InvalidParameter("image name cannot be blank")
    platforms = [decode(text) for text in request.many("platforms")] if request.version >= (1, 50) else []
    if len(platforms) > 1:
        raise InvalidParameter("multiple platforms are not supported")
    engine.images.resolve(name, *platforms)
    return json_response(await engine.images.remove(name, request.flag("force"), not request.flag("noprune")))


async def prune(engine: "Engine", request: Request) -> Answer:
    records, reclaimed = await engine.images.prune(Filters.parse(request.one("filters"), PRUNE_FILTERS))
    return json_response({"ImagesDeleted": records or None, "SpaceReclaimed": reclaimed})


async def search(engine: "Engine", request: Request) -> Answer:
    """No public index is asked."""
    if not request.one("term"):
        raise InvalidParameter("term is required")
    return json_response([])


def named(repository: str, tag: str) -> Reference:
    """`repo` and `tag` of a query: the tag may be a digest, or stand in `repo` already."""
    reference = parse(repository)
    if tag and ":" in tag:
        reference = reference.with_digest(tag)
    elif tag:
        reference = reference.with_tag(tag)
    if reference.digest is not None:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    return reference


ROUTES: Final = [
    Route("GET", "/images/json", list_all),
    Route("GET", "/images/search", search),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name:path}/json", inspect),
    Route("GET", "/images/{name:path}/history", history),
    Route("POST", "/images/{name:path}/tag", tag),
    Route("DELETE", "/images/{name:path}", remove),
]
