"""The registry as an HTTP handler: route, permission, deed, answer."""

import asyncio
from collections.abc import Sequence

from riverport.base.http.messages import HttpError, Request, Response
from riverport.base.http.router import Router
from riverport.base.logging import get_logger
from riverport.engine.registry.access import CATALOG, Caller, Scope
from riverport.engine.registry.api import blobs, listings, manifests, service, uploads
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.errors import NotFound, NotSupported, RegistryError
from riverport.engine.registry.names import RepositoryName, parse_name
from riverport.engine.registry.proxy import Proxy
from riverport.engine.registry.settings import HTTP_LIMITS

log = get_logger(__name__)

API_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
ROUTES: Sequence[Route] = (*service.ROUTES, *listings.ROUTES, *manifests.ROUTES, *blobs.ROUTES, *uploads.ROUTES)
_EXPIRE_EVERY_S = 60.0


class Application:
    """Serve `handle`; `start` and `stop` frame the time in which it is called."""

    def __init__(self, registry: Registry, proxy: Proxy | None = None) -> None:
        self._registry = registry
        self._proxy = proxy
        self._router = Router((route.method, route.path, route) for route in ROUTES)
        self._chores: list[asyncio.Task[None]] = []
        self._answers = registry.metrics.counter(
            "registry_answers_total", "Requests answered.", "method", "resource", "status"
        )
        registry.metrics.gauge("registry_uploads", "Uploads under way.").of().read = lambda: len(registry.store.uploads)

    async def start(self) -> None:
        self._chores.append(asyncio.create_task(self._expire()))
        if self._registry.settings.collect_every_s > 0:
            self._chores.append(asyncio.create_task(self._collect(self._registry.settings.collect_every_s)))

    async def stop(self) -> None:
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._proxy is not None:
            await self._proxy.close()
        self._registry.store.close()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY_S)
            self._registry.store.uploads.expire()

    async def _collect(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                found = await self._registry.store.collect()
                log.info("garbage collected", blobs=found.blobs, bytes=found.bytes)
            except RegistryError as error:
                log.error("garbage was not collected", error=error)

    async def handle(self, request: Request) -> Response:
        try:
            response = await self._answer(request)
        except RegistryError as error:
            headers = {"Content-Type": "application/json", **error.headers}
            response = Response(error.status, headers, error.body())
        except HttpError as error:
            failed = RegistryError(message=str(error))
            response = Response(error.status, {"Content-Type": "application/json"}, failed.body())
        response.headers.update(API_VERSION)
        if response.status >= 400 and _is_long(request):
            # What is left of the body is not read: a client must not send its next request behind it.
            response.headers["Connection"] = "close"
        self._answers.of(request.method, _resource(request.path), str(response.status)).add()
        return response

    async def _answer(self, request: Request) -> Response:
        found = self._router.match(request.method, request.path)
        if found is None:
            if methods := self._router.methods(request.path):
                raise NotSupported({"method": request.method}, headers={"Allow": ", ".join(methods)})
            raise NotFound({"path": request.path[:1000]})
        route = found.target
        if route.action == "push" and self._proxy is not None:
            raise NotSupported(message="this registry is a cache of another one: push to that")
        request.params = found.params
        repository = parse_name(found.params["name"]) if "name" in found.params else RepositoryName("")
        if route.action == "anybody":
            caller = Caller(allows=lambda scope: False)
        else:
            caller = await self._registry.access.identify(request, _wanted(route, repository))
        return await route.deed(self._registry, Call(request, caller, repository))


def _wanted(route: Route, repository: RepositoryName) -> Scope | None:
    match route.action:
        case "none" | "anybody":
            return None
        case "catalog":
            return CATALOG
        case action:
            return Scope("repository", repository, action)


def _is_long(request: Request) -> bool:
    """Whether a body may be longer than what the server reads of one that nobody wants."""
    length = request.headers.get("Content-Length", "0")
    return "Transfer-Encoding" in request.headers or int(length) > HTTP_LIMITS.drain_bytes


def _resource(path: str) -> str:
    """What a path is about, as one of a few words."""
    parts = path.split("/")
    return next(
        (word for word in ("uploads", "blobs", "manifests", "tags", "referrers") if word in parts[-3:]), "other"
    )
