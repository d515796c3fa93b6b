"""/images: import, pull, push, save, load; /distribution."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.images import named, platform_of
from riverport.engine.api.routing import Answer, Request, Route, progress
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.importing import import_image

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


async def create(engine: "Engine", request: Request) -> Answer:
    """Import with `fromSrc`, pull with `fromImage`."""
    if request.one("fromSrc"):
        return await progress(_import(engine, request))
    raise InvalidParameter("fromImage or fromSrc is needed")


async def _import(engine: "Engine", request: Request) -> AsyncIterator[dict[str, Any]]:
    repository = request.one("repo")
    image = await import_image(
        engine.images,
        request.stream(),
        reference=named(repository, request.one("tag")) if repository else None,
        changes=request.many("changes"),
        message=request.one("message"),
        platform=platform_of(request),
    )
    yield {"status": image.id}


ROUTES: Final = [
    Route("POST", "/images/create", create),
]
