"""/networks: create, inspect, list, connect, disconnect, remove, prune."""

import time
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.api.filters import Filters
from riverport.engine.api.routing import Answer, Request, Response, Route, Version, empty, json_response
from riverport.engine.containers.times import parse_time
from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.networks.network import Network

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

Json = dict[str, Any]

_LIST_FILTERS: Final = ("dangling", "driver", "id", "label", "label!", "name", "scope", "type")
_PRUNE_FILTERS: Final = ("label", "label!", "until")
_TYPES: Final = {"builtin": True, "custom": False}
_KNOWS_IPV4: Final[Version] = (1, 48)
_LISTS_WITHOUT_CONTAINERS: Final[Version] = (1, 28)

_TEXT_MAPS: Final = ("Options", "Labels")
_FLAGS: Final = ("CheckDuplicate", "Internal", "Attachable", "Ingress", "ConfigOnly", "EnableIPv4", "EnableIPv6")


async def create(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    _check_types(wanted)
    if request.version < _KNOWS_IPV4:
        wanted.pop("EnableIPv4", None)
    network_id = await engine.networks.create(wanted)
    return json_response({"Id": network_id, "Warning": ""}, 201)


async def inspect(engine: "Engine", request: Request) -> Answer:
    network = engine.networks.find(request.params["id"])
    scope = request.one("scope")
    if scope and scope != network.document["Scope"]:
        raise NotFound(f"network {request.params['id']} not found")
    told = _fit(engine.networks.inspect(network), request.version)
    if request.flag("verbose"):
        told["Services"] = {}
    return json_response(told)


async def list_all(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), _LIST_FILTERS)
    for kind in filters.get("type"):
        if kind not in _TYPES:
            raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
    filters.flag("dangling", False)
    found = [network for network in engine.networks.all() if matches(network, filters)]
    if request.version < _LISTS_WITHOUT_CONTAINERS:
        told = [engine.networks.inspect(network) for network in found]
    else:
        told = [{**network.document, "Containers": {}} for network in found]
    return json_response([_fit(document, request.version) for document in told])


async def remove(engine: "Engine", request: Request) -> Answer:
    await engine.networks.remove(request.params["id"])
    return empty()


async def prune(engine: "Engine", request: Request) -> Answer:
    filters = Filters.parse(request.one("filters"), _PRUNE_FILTERS)
    times = filters.get("until")
    if len(times) > 1:
        raise InvalidParameter("more than one until filter specified")
    now_ns = time.time_ns()
    until_ns = parse_time(times[0], now_ns) if times else None

    def wanted(network: Network) -> bool:
        created_ns = parse_time(str(network.document["Created"]), now_ns)
        return filters.labels(network.labels) and (until_ns is None or created_ns <= until_ns)

    removed = await engine.networks.prune(wanted)
    if removed:
        engine.events.publish("network", "prune", "", {"reclaimed": "0"})
    return json_response({"NetworksDeleted": removed or None})


async def connect(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    settings = wanted.get("EndpointConfig") or {}
    if not isinstance(settings, dict):
        raise InvalidParameter("EndpointConfig must be an object")
    await engine.containers.connect(_container(wanted), request.params["id"], settings)
    return Response(200)


async def disconnect(engine: "Engine", request: Request) -> Answer:
    wanted = await request.document()
    await engine.containers.disconnect(_container(wanted), request.params["id"], bool(wanted.get("Force")))
    return Response(200)


def matches(network: Network, filters: Filters) -> bool:
    """Whether a list with these filters shows the network."""
    if not (
        filters.exact("driver", network.driver)
        and filters.search("name", network.name)
        and filters.prefix("id", network.id)
        and filters.labels(network.labels)
        and filters.exact("scope", str(network.document["Scope"]))
    ):
        return False
    kinds = filters.get("type")
    if kinds and not any(_TYPES[kind] == network.predefined for kind in kinds):
        return False
    if "dangling" in filters:
        return filters.flag("dangling", False) == (not network.predefined and not network.endpoints)
    return True


def _fit(document: Json, version: Version) -> Json:
    if version < _KNOWS_IPV4:
        document.pop("EnableIPv4", None)
    return document


def _container(wanted: Json) -> str:
    reference = wanted.get("Container")
    if not isinstance(reference, str) or not reference:
        raise InvalidParameter("a container's name or id is needed")
    return reference


def _check_types(wanted: Json) -> None:
    """Raises InvalidParameter for what is of another type than the API says, rather than failing on it later."""
    for name in ("Name", "Driver", "Scope"):
        if not isinstance(wanted.get(name) or "", str):
            raise InvalidParameter(f"{name} must be a string")
    for name in _FLAGS:
        if not isinstance(wanted.get(name), bool | None):
            raise InvalidParameter(f"{name} must be a boolean")
    for name in _TEXT_MAPS:
        _texts(wanted.get(name), name)
    ipam = wanted.get("IPAM")
    if not isinstance(ipam, dict | None):
        raise InvalidParameter("IPAM must be an object")
    _texts((ipam or {}).get("Options"), "IPAM.Options")
    pattern = wanted.get("ConfigFrom")
    if not isinstance(pattern, dict | None) or not isinstance((pattern or {}).get("Network") or "", str):
        raise InvalidParameter("ConfigFrom must be an object with the name of a network")
    config = (ipam or {}).get("Config") or []
    if not isinstance(config, list) or not all(isinstance(entry, dict) for entry in config):
        raise InvalidParameter("IPAM.Config must be a list of objects")
    for entry in config:
        for name in ("Subnet", "IPRange", "Gateway"):
            if not isinstance(entry.get(name) or "", str):
                raise InvalidParameter(f"IPAM.Config: {name} must be a string")
        _texts(entry.get("AuxiliaryAddresses"), "AuxiliaryAddresses")


def _texts(value: object, name: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise InvalidParameter(f"{name} must map strings to strings")


ROUTES: Final = [
    Route("GET", "/networks", list_all),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
]
