"""/containers/{id}/archive, export and changes, and /commit: a container's files, and images made of them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from riverport.engine.api.routing import Answer, Request, Response, Route, json_response
from riverport.engine.containers.archive import STAT_HEADER
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.reference import InvalidReference, Reference, parse
from riverport.engine.storage.compression import GzipWriter

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

_TAR: Final = {"Content-Type": "application/x-tar"}


def _path(request: Request) -> str:
    path = request.one("path")
    if not path:
        raise InvalidParameter("bad parameter: 'path' cannot be empty")
    return path


async def head_archive(engine: "Engine", request: Request) -> Answer:
    found = await engine.containers.files.stat(request.params["id"], _path(request))
    return Response(200, {STAT_HEADER: found.header()})


async def get_archive(engine: "Engine", request: Request) -> Answer:
    found, pieces = await engine.containers.files.read(request.params["id"], _path(request))
    headers = {**_TAR, STAT_HEADER: found.header()}
    if request.headers.has_token("Accept-Encoding", "gzip"):
        return Response(200, {**headers, "Content-Encoding": "gzip"}, _packed(pieces))
    return Response(200, headers, pieces)


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    writer = GzipWriter()
    async for piece in pieces:
        yield writer.write(piece)
    yield writer.finish()


async def put_archive(engine: "Engine", request: Request) -> Answer:
    await engine.containers.files.write(
        request.params["id"],
        _path(request),
        request.stream(),
        keep_kinds=request.flag("noOverwriteDirNonDir"),
        as_user=request.flag("copyUIDGID"),
    )
    return Response(200)


async def export(engine: "Engine", request: Request) -> Answer:
    return Response(
        200, {"Content-Type": "application/octet-stream"}, await engine.containers.files.export(request.params["id"])
    )


async def changes(engine: "Engine", request: Request) -> Answer:
    return json_response(await engine.containers.files.changes(request.params["id"]) or None)


async def commit(engine: "Engine", request: Request) -> Answer:
    container = engine.containers.get(request.one("container"))
    image = await engine.containers.committer.commit(
        container,
        reference=_reference(request.one("repo"), request.one("tag")),
        config=await request.document() or None,
        changes=request.many("changes"),
        comment=request.one("comment"),
        author=request.one("author"),
        pause=request.flag("pause", default=True),
    )
    return json_response({"Id": image.id}, 201)


def _reference(repository: str, tag: str) -> Reference | None:
    """Raises InvalidParameter."""
    if not repository:
        return None
    try:
        return parse(f"{repository}:{tag}" if tag else repository)
    except InvalidReference as error:
        raise InvalidParameter(str(error)) from error


ROUTES: Final = [
    Route("HEAD", "/containers/{id}/archive", head_archive),
    Route("GET", "/containers/{id}/archive", get_archive),
    Route("PUT", "/containers/{id}/archive", put_archive),
    Route("GET", "/containers/{id}/export", export),
    Route("GET", "/containers/{id}/changes", changes),
    Route("POST", "/commit", commit),
]
