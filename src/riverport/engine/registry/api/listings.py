"""What there is: the catalog, tags, referrers (OCI distribution 1.1, "Content Discovery")."""

from urllib.parse import urlencode

from riverport.base.http.messages import Request, Response, json_response
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.digests import parse_digest
from riverport.engine.registry.errors import PageInvalid
from riverport.engine.registry.manifests import OCI_INDEX
from riverport.engine.registry.store import Page

PAGE_MAX = 10_000
"""Names in one answer, also where a client asks for more or for all."""
REFERRERS_MAX = 1_000
"""Descriptors in one answer; their annotations make them long."""


async def catalog(registry: Registry, call: Call) -> Response:
    request = call.request
    limit = _limit(request)
    names = registry.store.index.repositories(request.one("last"), limit + 1)
    return _page(request, {"repositories": names[:limit]}, names, limit)


async def tags(registry: Registry, call: Call) -> Response:
    request = call.request
    limit = _limit(request)
    names = await registry.source.tags(call.repository, Page(request.one("last"), limit + 1))
    return _page(request, {"name": call.repository, "tags": names[:limit]}, names, limit)


async def referrers(registry: Registry, call: Call) -> Response:
    """Always an index, also for a subject that is not there; only a malformed digest is an error."""
    request = call.request
    subject = parse_digest(call.reference)
    kind = request.one("artifactType")
    limit = min(_limit(request), REFERRERS_MAX) or REFERRERS_MAX
    found = await registry.source.referrers(call.repository, subject, kind, Page(request.one("last"), limit + 1))
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[:limit]}
    response = _page(request, document, [entry["digest"] for entry in found], limit)
    response.headers["Content-Type"] = OCI_INDEX
    if kind:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def _limit(request: Request) -> int:
    """Raises PageInvalid."""
    text = request.one("n")
    if not text:
        return PAGE_MAX
    if not text.isascii() or not text.isdigit():
        raise PageInvalid({"n": text[:100]})
    return min(int(text[:10]), PAGE_MAX)


def _page(request: Request, document: dict[str, object], names: list[str], limit: int) -> Response:
    """`names` has one more than `limit` if there is another page; a page of nothing has no next one."""
    response = json_response(document)
    if limit and len(names) > limit:
        query = {**{key: values[0] for key, values in request.query.items()}, "n": str(limit), "last": names[limit - 1]}
        response.headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return response


ROUTES = [
    route
    for method in ("GET", "HEAD")
    for route in (
        Route(method, "/v2/_catalog", catalog, "catalog"),
        Route(method, "/v2/{name:path}/tags/list", tags, "pull"),
        Route(method, "/v2/{name:path}/referrers/{reference}", referrers, "pull"),
    )
]
