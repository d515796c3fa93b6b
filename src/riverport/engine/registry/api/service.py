"""The registry itself: whether it is one, tokens for it, its figures."""

from riverport.base.http.messages import Response, json_response
from riverport.engine.registry.calls import Call, Registry, Route
from riverport.engine.registry.errors import NotFound


async def base(registry: Registry, call: Call) -> Response:
    """Clients ask it whether this is a registry, and which credentials it wants."""
    return json_response({})


async def token(registry: Registry, call: Call) -> Response:
    return await registry.access.token(call.request)


async def metrics(registry: Registry, call: Call) -> Response:
    if not registry.settings.metrics:
        raise NotFound({"path": call.request.path})
    return Response(200, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}, registry.metrics.text().encode())


ROUTES = [
    Route("GET", "/v2/", base, "none"),
    Route("HEAD", "/v2/", base, "none"),
    Route("GET", "/v2", base, "none"),
    Route("GET", "/token", token, "anybody"),
    Route("POST", "/token", token, "anybody"),
    Route("GET", "/metrics", metrics, "anybody"),
]
