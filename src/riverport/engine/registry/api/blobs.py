"""Blobs, whole and in ranges (OCI distribution 1.1, "Pulling blobs"; RFC 9110, section 14)."""

from riverport.base.http.messages import Response
from riverport.engine.registry.api.manifests import etag, is_unchanged
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.digests import parse_digest
from riverport.engine.registry.errors import NotSupported
from riverport.engine.registry.ranges import Span, parse_range


async def get(registry: Registry, call: Call) -> Response:
    """Sent by the kernel from the file; HEAD says the same of it."""
    digest = parse_digest(call.reference)
    asked = call.request.headers
    is_read = call.request.method == "GET" and not is_unchanged(call.request, digest)
    found = await registry.source.blob(call.repository, digest, is_read=is_read)
    headers = {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": etag(digest),
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
        # What somebody has pushed is never a page of this host.
        "X-Content-Type-Options": "nosniff",
    }
    if not is_read:
        is_head = call.request.method == "HEAD"
        return Response(200, {**headers, "Content-Length": str(found.size)}) if is_head else Response(304, headers)
    is_same = asked.get("If-Range", etag(digest)) == etag(digest)
    span = parse_range(asked.get("Range") or None, found.size) if is_same else None
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.last}/{found.size}"
    wanted = span or Span(0, found.size)
    headers["Content-Length"] = str(wanted.length)
    return Response(206 if span else 200, headers, found.read(wanted))


async def delete(registry: Registry, call: Call) -> Response:
    if not registry.settings.delete:
        raise NotSupported(message="this registry does not delete")
    await registry.store.delete_blob(call.repository, parse_digest(call.reference))
    return Response(202)


ROUTES = [
    Route("GET", "/v2/{name:path}/blobs/{reference}", get, "pull"),
    Route("HEAD", "/v2/{name:path}/blobs/{reference}", get, "pull"),
    Route("DELETE", "/v2/{name:path}/blobs/{reference}", delete, "delete"),
]
