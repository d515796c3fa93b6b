"""/images: import, pull, push, save, load; /distribution. Routes are in late.py."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from riverport.engine.api.images import named
from riverport.engine.api.platforms import only_platform_of, platform_of, written_platform
from riverport.engine.api.routing import Answer, Request, Response, json_response, lines, progress
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.credentials import from_header
from riverport.engine.images.importing import import_image
from riverport.engine.images.loading import load
from riverport.engine.images.login import describe
from riverport.engine.images.platform import Platform
from riverport.engine.images.progress import told
from riverport.engine.images.pull import pull, pull_all
from riverport.engine.images.push import push
from riverport.engine.images.reference import Reference, parse
from riverport.engine.images.saving import save

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


async def create(engine: "Engine", request: Request) -> Answer:
    """Import with `fromSrc`, pull with `fromImage`."""
    if request.one("fromSrc"):
        return await progress(_import(engine, request))
    reference = _pulled(request)
    credentials = from_header(request.headers.get("X-Registry-Auth"))
    platform = written_platform(request, (1, 32))
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
        platform=written_platform(request, (1, 32)),
    )
    yield {"status": image.id}


async def push_image(engine: "Engine", request: Request) -> Answer:
    """Without `tag` every tag of the repository goes."""
    reference = parse(request.params["name"])
    if tag := request.one("tag"):
        reference = reference.with_tag(tag)
    credentials = from_header(request.headers.get("X-Registry-Auth"))
    platform = platform_of(request, (1, 46))
    return await progress(told(lambda says: push(engine.images, reference, credentials, says, platform)))


async def save_one(engine: "Engine", request: Request) -> Answer:
    return await _save(engine, [request.params["name"]], only_platform_of(request, (1, 48)))


async def save_many(engine: "Engine", request: Request) -> Answer:
    names = [name for value in request.many("names") for name in value.split(",")]
    if not names:
        raise InvalidParameter("names is needed: which images are to be saved?")
    return await _save(engine, names, only_platform_of(request, (1, 48)))


async def _save(engine: "Engine", names: list[str], platform: Platform | None) -> Answer:
    pieces = save(engine.images, names, platform)
    first = await anext(pieces)  # what cannot be saved is an answer of its own

    async def all_pieces() -> AsyncIterator[bytes]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    return Response(200, {"Content-Type": "application/x-tar"}, all_pieces())


async def load_images(engine: "Engine", request: Request) -> Answer:
    """`quiet` leaves out how far the layers are. docker-py expects that an archive which is none is told in a 200."""
    quiet, platform = request.flag("quiet", True), only_platform_of(request, (1, 48))

    async def said() -> AsyncIterator[dict[str, Any]]:
        async with aclosing(told(lambda says: load(engine.images, request.stream(), says, platform))) as items:
            async for item in items:
                if not quiet or "stream" in item:
                    yield item

    return lines(said())


async def describe_remote(engine: "Engine", request: Request) -> Answer:
    reference = parse(request.params["name"]).or_latest()
    credentials = from_header(request.headers.get("X-Registry-Auth"))
    return json_response(await describe(engine.settings, reference, credentials))
