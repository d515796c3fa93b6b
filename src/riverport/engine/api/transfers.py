"""/images: import, pull, push, save, load; /distribution."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.images import named, platform_of
from riverport.engine.api.routing import Answer, Request, Route, progress
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.credentials import from_header
from riverport.engine.images.importing import import_image
from riverport.engine.images.progress import told
from riverport.engine.images.pull import pull, pull_all
from riverport.engine.images.push import push
from riverport.engine.images.reference import Reference, parse

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


async def create(engine: "Engine", request: Request) -> Answer:
    """Import with `fromSrc`, pull with `fromImage`."""
    if request.one("fromSrc"):
        return await progress(_import(engine, request))
    reference = _pulled(request)
    credentials = from_header(request.headers.get("X-Registry-Auth"))
    platform = platform_of(request)
    images = engine.images
    if reference.is_bare:
        return await progress(told(lambda says: pull_all(images, reference, credentials, says)))
    return await progress(told(lambda says: pull(images, reference, credentials, says, platform)))


def _pulled(request: Request) -> Reference:
    """`fromImage` with the tag or digest in itself or in `tag`; bare means every tag."""
    name, tag = request.one("fromImage"), request.one("tag")
    if not name:
        raise InvalidParameter("fromImage or fromSrc is needed")
    reference = parse(name)
    if not tag:
        return reference
    return reference.with_digest(tag) if ":" in tag else reference.with_tag(tag)


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


async def push_image(engine: "Engine", request: Request) -> Answer:
    """Without `tag` every tag of the repository goes."""
    reference = parse(request.params["name"])
    if tag := request.one("tag"):
        reference = reference.with_tag(tag)
    credentials = from_header(request.headers.get("X-Registry-Auth"))
    platform = platform_of(request)
    return await progress(told(lambda says: push(engine.images, reference, credentials, says, platform)))


ROUTES: Final = [
    Route("POST", "/images/create", create),
    Route("POST", "/images/{name:path}/push", push_image),
]
