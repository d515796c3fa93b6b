"""What a new network's document says: a create request checked, completed, and told as `inspect` does. Pure.

A configuration-only network (`docker network create --config-only`) is a pattern for others: it has no driver, takes no
subnet, and no container joins it. One made from it (`--config-from`) has what it says, and nothing of its own beside
its name, its driver, and whether it is internal or attachable.
"""

import ipaddress
from dataclasses import replace
from typing import Any, Final

from riverport.engine.errors import Forbidden, InvalidParameter, NotFound, SystemFailure
from riverport.engine.networks import ipam, options
from riverport.engine.networks.catalogue import Catalogue
from riverport.engine.networks.settings import NetworkSettings

Json = dict[str, Any]
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_PATTERN_FIELDS: Final = ("EnableIPv4", "EnableIPv6", "IPAM", "Options", "Labels")
"""What a network gets from the configuration-only one that it is made from."""


def make_document(
    request: Json,
    network_id: str,
    created: str,
    catalogue: Catalogue,
    routed: list[IpNetwork],
    settings: NetworkSettings,
) -> Json:
    """What a create request comes to: checked, and with a subnet of the pools where it names none."""
    driver = str(request.get("Driver") or "bridge")
    name = str(request.get("Name") or "")
    options.check_name(name, (network.name for network in catalogue))
    pattern = _pattern_name(request)
    if request.get("ConfigOnly"):
        return _pattern_document(request, name, network_id, created)
    options.check_kind(request)
    options.check_driver(driver)
    if pattern:
        request = _fill_in(request, pattern, catalogue)
    given = _texts(request.get("Options"))
    read = options.read_options(driver, network_id, given)
    if driver == "macvlan":
        _check_macvlan(read, catalogue)
    if driver == "bridge":
        _check_bridge(read, name, internal=bool(request.get("Internal")), catalogue=catalogue)
    enabled = options.enabled(request, given)
    asked = [entry for entry in options.read_ipam(_ipam(request).get("Config")) if enabled[entry.version == 6]]
    pools = _choose_pools(asked, enabled, name, network_id, catalogue, routed, settings)
    subnets = options.subnets_of(pools, read.isolated)
    return {
        **_bare(name, network_id, created, driver, given),
        "EnableIPv4": enabled[0],
        "EnableIPv6": enabled[1],
        "IPAM": {**_ipam(request), "Config": options.ipam_config(subnets)},
        "Internal": bool(request.get("Internal")),
        "Attachable": bool(request.get("Attachable")),
        "ConfigFrom": {"Network": pattern},
        "Labels": _texts(request.get("Labels")),
    }


def predefined_document(name: str, network_id: str, created: str, subnets: list[ipam.Subnet], given: Json) -> Json:
    """The networks that are always there: "bridge", "host" and "none"."""
    return {
        **_bare(name, network_id, created, {"none": "null"}.get(name, name), given),
        "EnableIPv6": any(subnet.version == 6 for subnet in subnets),
        "IPAM": {"Driver": "default", "Options": None, "Config": options.ipam_config(subnets) or None},
    }


def _bare(name: str, network_id: str, created: str, driver: str, given: Json) -> Json:
    """A document of a network without subnets, and without anything else special."""
    return {
        "Name": name,
        "Id": network_id,
        "Created": created,
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": None},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": given,
        "Labels": {},
    }


def _pattern_name(request: Json) -> str:
    """Of the configuration-only network that a request is made from, or "". Raises Forbidden for what has no place."""
    pattern = str((request.get("ConfigFrom") or {}).get("Network") or "")
    if request.get("ConfigOnly"):
        if any(request.get(field) for field in ("Ingress", "Internal", "Attachable", "Scope")):
            raise Forbidden(
                "configuration network can only contain network specific fields. Network operator fields like "
                "[ ingress | internal | attachable | scope ] are not supported."
            )
        if pattern:
            raise Forbidden("a configuration network cannot depend on another configuration network")
    elif pattern:
        v4, v6 = options.enabled(request, _texts(request.get("Options")))
        if (
            not v4
            or v6
            or request.get("Labels")
            or any(value for key, value in _ipam(request).items() if key != "Driver")
        ):
            raise Forbidden(
                "user specified configurations are not supported if the network depends on a configuration network"
            )
        if request.get("Options"):
            raise Forbidden(
                "network driver options are not supported if the network depends on a configuration network"
            )
    return pattern


def _pattern_document(request: Json, name: str, network_id: str, created: str) -> Json:
    """Its subnets are written down as they were given; they are taken by the networks that are made from it."""
    given = _texts(request.get("Options"))
    v4, v6 = options.enabled(request, given)
    options.read_options("null", network_id, given)
    options.read_ipam(_ipam(request)["Config"])
    return {
        **_bare(name, network_id, created, "null", given),
        "EnableIPv4": v4,
        "EnableIPv6": v6,
        "IPAM": _ipam(request),
        "ConfigOnly": True,
        "Labels": _texts(request.get("Labels")),
    }


def _fill_in(request: Json, pattern: str, catalogue: Catalogue) -> Json:
    """A request with what the configuration-only network of that name says. Raises NotFound."""
    network = catalogue.named(pattern)
    if network is None or not network.config_only:
        raise NotFound(f'configuration network "{pattern}" does not exist')
    return {
        **request,
        **{key: network.document[key] for key in ("EnableIPv4", "EnableIPv6", "IPAM", "Options", "Labels")},
    }


def _ipam(request: Json) -> Json:
    """Of a request, every field there. Raises NotFound for another driver than the default one."""
    asked = request.get("IPAM") or {}
    driver = str(asked.get("Driver") or "default")
    if driver != "default":
        raise NotFound(f'plugin "{driver}" not found')
    return {"Driver": driver, "Options": asked.get("Options"), "Config": asked.get("Config")}


def _texts(given: Json | None) -> dict[str, str]:
    return {str(key): str(value) for key, value in (given or {}).items()}


def _choose_pools(
    asked: list[options.Asked],
    enabled: tuple[bool, bool],
    name: str,
    network_id: str,
    catalogue: Catalogue,
    routed: list[IpNetwork],
    settings: NetworkSettings,
) -> list[options.Asked]:
    """The entries in their order, with subnets; a version that is enabled and has none gets one, IPv4 first."""
    used = catalogue.subnets()
    chosen: list[options.Asked] = []
    if enabled[0] and not any(entry.version == 4 for entry in asked):
        asked = [options.Asked(None, 4, None, None, {}), *asked]
    if enabled[1] and not any(entry.version == 6 for entry in asked):
        asked = [*asked, options.Asked(None, 6, None, None, {})]
    for entry in asked:
        subnet = entry.subnet
        if subnet is None and entry.version == 6:
            subnet = ipam.unique_local(network_id)
        elif subnet is None:
            subnet = ipam.free_pool(settings.pools, used, routed)
        ipam.check_overlap(subnet, used)
        used = {**used, name: [*used.get(name, []), subnet]}
        chosen.append(replace(entry, subnet=subnet))
    return chosen


def _check_bridge(read: options.Options, name: str, *, internal: bool, catalogue: Catalogue) -> None:
    if read.isolated and not internal:
        raise SystemFailure("gateway mode 'isolated' can only be used for an internal network")
    bridge = read.bridge
    for network in catalogue:
        if network.driver == "bridge" and network.options.bridge == bridge:
            raise Forbidden(
                f"cannot create network {name} ({bridge}): conflicts with network {network.id} ({bridge}): "
                "networks have same bridge name"
            )


def _check_macvlan(read: options.Options, catalogue: Catalogue) -> None:
    """A link that is passed through is one network's alone."""
    if not read.parent:
        raise InvalidParameter("macvlan: the option parent is missing")
    if read.parent == "lo":
        raise SystemFailure("loopback interface is not a valid macvlan parent link")
    for network in catalogue:
        if network.driver != "macvlan" or network.options.parent != read.parent:
            continue
        if read.macvlan_mode == "passthru":
            raise SystemFailure(
                f"cannot use mode passthru, macvlan network {network.id} is already using parent interface "
                f"{read.parent}"
            )
        if network.options.macvlan_mode == "passthru":
            raise SystemFailure(
                f"macvlan network {network.id} is already using parent interface {read.parent} in mode passthru"
            )
