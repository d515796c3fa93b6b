"""How blobs come: at once, in chunks, from another repository (OCI distribution 1.1, "Pushing blobs")."""

from riverport.base.http.messages import Request, Response
from riverport.engine.registry.access import Scope
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.digests import CANONICAL, Digest, digest_of, parse_algorithm, parse_digest
from riverport.engine.registry.errors import BlobUploadUnknown, DigestInvalid, OutOfOrder
from riverport.engine.registry.names import RepositoryName, parse_name
from riverport.engine.registry.ranges import parse_chunk, upload_range
from riverport.engine.registry.uploads import Upload


async def begin(registry: Registry, call: Call) -> Response:
    """Mount a blob that is here already, take one that comes with the request, or open a session for one."""
    request, store = call.request, registry.store
    if request.one("mount"):
        digest = parse_digest(request.one("mount"))
        source = parse_name(request.one("from")) if request.one("from") else None
        if _may_mount(call, source) and await store.mount(call.repository, digest, source):
            return _created(call.repository, digest)
    elif request.one("digest"):
        digest = parse_digest(request.one("digest"))
        # Without a body, and with a digest that is not that of nothing, a client means to send it later.
        if _length(request) != 0 or digest == digest_of(b"", digest.partition(":")[0]):
            await store.add_blob(call.repository, digest, request.stream(), _length(request))
            return _created(call.repository, digest)
    algorithm = parse_algorithm(request.one("digest-algorithm", CANONICAL))
    return _accepted(registry.store.uploads.begin(call.repository, algorithm))


def _may_mount(call: Call, source: RepositoryName | None) -> bool:
    """The source must be the caller's to read; a blob of which only the digest is known is so if everything is."""
    return call.caller.allows(Scope("repository", source or "*", "pull"))


async def append(registry: Registry, call: Call) -> Response:
    upload = _upload(registry, call)
    async with upload.lock:
        await _take(registry, call.request, upload)
        return _accepted(upload)


async def finish(registry: Registry, call: Call) -> Response:
    """With or without a last chunk."""
    wanted = call.request.one("digest")
    if not wanted:
        raise DigestInvalid(message="the request that ends an upload names the digest")
    digest = parse_digest(wanted)
    upload = _upload(registry, call)
    async with upload.lock:
        await _take(registry, call.request, upload)
        await registry.store.commit(upload, digest)
    return _created(call.repository, digest)


async def status(registry: Registry, call: Call) -> Response:
    upload = _upload(registry, call)
    return Response(204, _headers(upload))


async def cancel(registry: Registry, call: Call) -> Response:
    upload = _upload(registry, call)
    async with upload.lock:
        if upload.is_over:
            raise BlobUploadUnknown({"upload": upload.id})
        registry.store.uploads.end(upload)
    return Response(204)


async def _take(registry: Registry, request: Request, upload: Upload) -> None:
    """Append a request's body. Raises OutOfOrder where it says that it belongs elsewhere."""
    length = _length(request)
    span = parse_chunk(request.headers.get("Content-Range") or None, length)
    if span is not None and span.start != upload.offset:
        raise OutOfOrder({"start": span.start, "expected": upload.offset}, headers=_headers(upload))
    await registry.store.append(upload, request.stream(), span.length if span else length)


def _upload(registry: Registry, call: Call) -> Upload:
    return registry.store.uploads.get(call.repository, call.reference)


def _length(request: Request) -> int | None:
    """What the body is said to have; None for one in chunks. Neither header is an empty body."""
    if "Transfer-Encoding" in request.headers:
        return None
    return int(request.headers.get("Content-Length", "0"))


def _headers(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": upload_range(upload.offset),
        "Docker-Upload-UUID": upload.id,
    }


def _accepted(upload: Upload) -> Response:
    return Response(202, _headers(upload))


def _created(repository: RepositoryName, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(201, headers)


ROUTES = [
    Route("POST", "/v2/{name:path}/blobs/uploads/", begin, "push"),
    Route("POST", "/v2/{name:path}/blobs/uploads", begin, "push"),
    Route("PATCH", "/v2/{name:path}/blobs/uploads/{reference}", append, "push"),
    Route("PUT", "/v2/{name:path}/blobs/uploads/{reference}", finish, "push"),
    Route("GET", "/v2/{name:path}/blobs/uploads/{reference}", status, "push"),
    Route("HEAD", "/v2/{name:path}/blobs/uploads/{reference}", status, "push"),
    Route("DELETE", "/v2/{name:path}/blobs/uploads/{reference}", cancel, "push"),
]
