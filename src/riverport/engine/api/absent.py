"""What Docker has and this engine does not: swarm, plugins, BuildKit's sessions.

Each says so in Docker's words, so that clients which only look (`docker info`, Compose, Testcontainers) go on.
"""

from typing import TYPE_CHECKING, Final

from riverport.engine.api.routing import Answer, Request, Response, Route, json_response
from riverport.engine.errors import NotFound, Unavailable, Unsupported

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

NOT_A_MANAGER: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)

_SWARM: Final = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")
_METHODS: Final = ("GET", "POST", "DELETE")
_PLUGIN_VERBS: Final = ("enable", "disable", "upgrade", "push", "set")


async def not_a_manager(engine: "Engine", request: Request) -> Answer:
    raise Unavailable(NOT_A_MANAGER)


async def no_swarm(engine: "Engine", request: Request) -> Answer:
    raise Unsupported("swarm mode is no part of this engine")


async def not_in_a_swarm(engine: "Engine", request: Request) -> Answer:
    raise Unavailable("This node is not part of a swarm")


async def no_plugins(engine: "Engine", request: Request) -> Answer:
    return json_response([])


async def no_such_plugin(engine: "Engine", request: Request) -> Answer:
    raise NotFound(f'plugin "{request.params["name"]}" not found')


async def unsupported_plugins(engine: "Engine", request: Request) -> Answer:
    raise Unsupported("plugins are no part of this engine")


async def no_buildkit(engine: "Engine", request: Request) -> Answer:
    raise NotFound("BuildKit is no part of this engine: build with DOCKER_BUILDKIT=0")


async def options(engine: "Engine", request: Request) -> Answer:
    return Response(200)


ROUTES: Final = [
    *(Route(method, path, not_a_manager) for path in _SWARM for method in _METHODS),
    *(Route(method, path + "/{rest:path}", not_a_manager) for path in _SWARM for method in _METHODS),
    Route("POST", "/swarm/init", no_swarm),
    Route("POST", "/swarm/join", no_swarm),
    Route("POST", "/swarm/leave", not_in_a_swarm),
    Route("GET", "/plugins", no_plugins),
    Route("GET", "/plugins/privileges", unsupported_plugins),
    Route("POST", "/plugins/pull", unsupported_plugins),
    Route("POST", "/plugins/create", unsupported_plugins),
    *(Route(method, "/plugins/{name:path}", no_such_plugin) for method in _METHODS),
    Route("GET", "/plugins/{name:path}/json", no_such_plugin),
    *(Route("POST", "/plugins/{name:path}/" + verb, no_such_plugin) for verb in _PLUGIN_VERBS),
    Route("POST", "/session", no_buildkit),
    Route("POST", "/grpc", no_buildkit),
    Route("OPTIONS", "/{rest:path}", options),
]
