"""The registry as an HTTP handler: route, permission, deed, answer."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from riverport.base.http.messages import HttpError, Request, Response
from riverport.base.http.router import Router
from riverport.base.logging import get_logger
from riverport.engine.registry.access import CATALOG, Scope
from riverport.engine.registry.api import blobs, listings, manifests, uploads
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.errors import NotFound, NotSupported, RegistryError
from riverport.engine.registry.names import RepositoryName, parse_name

log = get_logger(__name__)

API_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
ROUTES: Sequence[Route] = (*listings.ROUTES, *manifests.ROUTES, *blobs.ROUTES, *uploads.ROUTES)
_EXPIRE_EVERY_S = 60.0


class Application:
    """Serve `handle`; `start` and `stop` frame the time in which it is called."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._router = Router((route.method, route.path, route) for route in ROUTES)
        self._expiring: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._expiring = asyncio.create_task(self._expire())

    async def stop(self) -> None:
        if self._expiring is not None:
            self._expiring.cancel()
            with suppress(asyncio.CancelledError):
                await self._expiring
        self._registry.store.close()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY_S)
            self._registry.store.uploads.expire()

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
        return response

    async def _answer(self, request: Request) -> Response:
        found = self._router.match(request.method, request.path)
        if found is None:
            if methods := self._router.methods(request.path):
                raise NotSupported({"method": request.method}, headers={"Allow": ", ".join(methods)})
            # docker asks for /v2/ first, and is told whether to log in also where a path is none.
            raise NotFound({"path": request.path[:1000]})
        route = found.target
        request.params = found.params
        repository = parse_name(found.params["name"]) if "name" in found.params else RepositoryName("")
        caller = await self._registry.access.identify(request, _wanted(route, repository))
        return await route.deed(self._registry, Call(request, caller, repository))


def _wanted(route: Route, repository: RepositoryName) -> Scope | None:
    match route.action:
        case "none":
            return None
        case "catalog":
            return CATALOG
        case action:
            return Scope("repository", repository, action)
