"""Manifests by tag and by digest (OCI distribution 1.1, "Pulling manifests", "Pushing Manifests", "Deleting")."""

from collections.abc import Sequence
from typing import cast

from riverport.base.http.messages import HttpError, Request, Response
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.digests import Digest, algorithm_of, digest_of
from riverport.engine.registry.errors import DigestInvalid, ManifestTooLarge, NotSupported
from riverport.engine.registry.index import Condition, Push
from riverport.engine.registry.manifests import parse_manifest
from riverport.engine.registry.names import Reference, Tag, is_digest, parse_reference, parse_tag

TAGS_MAX = 100
"""Tags that one push by digest may set."""


async def get(registry: Registry, call: Call) -> Response:
    """As it was pushed, whatever the client accepts: a manifest that is made over has another digest."""
    found = await registry.source.manifest(call.repository, parse_reference(call.reference))
    headers = {"Docker-Content-Digest": found.digest, "ETag": etag(found.digest)}
    if is_unchanged(call.request, found.digest):
        return Response(304, headers)
    return Response(200, {"Content-Type": found.media_type, **headers}, found.content)


async def put(registry: Registry, call: Call) -> Response:
    request, settings = call.request, registry.settings
    reference = parse_reference(call.reference)
    tags = _tags(request, reference)
    try:
        content = await request.body(settings.manifest_bytes)
    except HttpError as error:
        if error.status != 413:
            raise
        raise ManifestTooLarge({"limit": settings.manifest_bytes}) from error
    digest = _digest(reference, content)
    manifest = parse_manifest(content, request.headers.get("Content-Type") or None)
    condition = Condition(_etags(request, "If-Match"), _etags(request, "If-None-Match"))
    push = Push(digest, content, manifest, tags, condition, is_checked=not settings.sparse)
    await registry.store.put_manifest(call.repository, push)
    headers = {"Location": f"/v2/{call.repository}/manifests/{reference}", "Docker-Content-Digest": digest}
    if manifest.subject:
        headers["OCI-Subject"] = manifest.subject
    if is_digest(reference) and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(201, headers)


async def delete(registry: Registry, call: Call) -> Response:
    """By digest: the manifest and its tags. By tag: the tag alone, as the specification has it since 1.1."""
    if not registry.settings.delete:
        raise NotSupported(message="this registry does not delete")
    reference = parse_reference(call.reference)
    if is_digest(reference):
        await registry.store.delete_manifest(call.repository, cast(Digest, reference))
    else:
        await registry.store.delete_tag(call.repository, cast(Tag, reference))
    return Response(202)


def etag(digest: str) -> str:
    return f'"{digest}"'


def is_unchanged(request: Request, digest: str) -> bool:
    """Whether the client has this content already (RFC 9110, If-None-Match)."""
    known = _etags(request, "If-None-Match")
    return known is not None and bool(known & {digest, "*"})


def _etags(request: Request, name: str) -> frozenset[str] | None:
    """The digests in a header of entity tags; some clients leave the quotes out."""
    values = [part for value in request.headers.all(name) for part in value.split(",")]
    return frozenset(part.strip().removeprefix("W/").strip('"') for part in values) if values else None


def _tags(request: Request, reference: Reference) -> Sequence[Tag]:
    """Those to be set: the path's own, or a digest's `?tag=`. Raises TagInvalid."""
    if not is_digest(reference):
        return [cast(Tag, reference)]
    wanted = list(dict.fromkeys(request.many("tag")))
    if len(wanted) > TAGS_MAX:
        raise HttpError(414, f"at most {TAGS_MAX} tags are set by one request")
    return [parse_tag(tag) for tag in wanted]


def _digest(reference: Reference, content: bytes) -> Digest:
    """Of what was sent. Raises DigestInvalid where the path has another one."""
    if not is_digest(reference):
        return digest_of(content)
    wanted = cast(Digest, reference)
    found = digest_of(content, algorithm_of(wanted))
    if found != wanted:
        raise DigestInvalid({"digest": wanted, "uploaded": found})
    return found


ROUTES = [
    Route("GET", "/v2/{name:path}/manifests/{reference}", get, "pull"),
    Route("HEAD", "/v2/{name:path}/manifests/{reference}", get, "pull"),
    Route("PUT", "/v2/{name:path}/manifests/{reference}", put, "push"),
    Route("DELETE", "/v2/{name:path}/manifests/{reference}", delete, "delete"),
]
