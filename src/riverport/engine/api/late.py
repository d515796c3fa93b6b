"""Routes whose modules are imported by their first request: building, pulling, pushing, saving, loading.

They bring a third of all that the engine imports, most of all the builder and the client of registries, and a daemon is
to be there in a moment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from riverport.engine.api.routing import Answer, Handler, Request, Route

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine


def _late(module: str, name: str) -> Handler:
    async def handler(engine: "Engine", request: Request) -> Answer:
        found: Handler = getattr(import_module(f"riverport.engine.api.{module}"), name)
        return await found(engine, request)

    return handler


ROUTES: Final = [
    Route("POST", "/build", _late("build", "build")),
    Route("POST", "/build/prune", _late("build", "prune"), (1, 31)),
    Route("POST", "/build/cancel", _late("build", "cancel"), (1, 39)),
    Route("GET", "/distribution/{name:path}/json", _late("transfers", "describe_remote")),
    Route("GET", "/images/get", _late("transfers", "save_many")),
    Route("GET", "/images/{name:path}/get", _late("transfers", "save_one")),
    Route("POST", "/images/load", _late("transfers", "load_images")),
    Route("POST", "/images/create", _late("transfers", "create")),
    Route("POST", "/images/{name:path}/push", _late("transfers", "push_image")),
]
