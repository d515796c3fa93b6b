"""What a client asks of a build: the query of POST /build as typed values. Pure.

Source: the OpenAPI description of version 1.50, ImageBuild.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.errors import InvalidParameter

_LIMITS = {
    "memory": "Memory", "memswap": "MemorySwap", "cpushares": "CpuShares", "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota", "shmsize": "ShmSize",
}  # fmt: skip
_ISOLATIONS = ("", "default", "process", "hyperv")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """`host_config` has Docker's names, and only what was asked for. A build argument None is one without a value."""

    dockerfile: str = "Dockerfile"
    remote: str = ""
    tags: tuple[str, ...] = ()
    target: str = ""
    platform: str = ""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    no_cache: bool = False
    pull: bool = False
    quiet: bool = False
    remove: bool = True  # the containers of steps that succeed
    force_remove: bool = False  # also the container of a RUN that failed
    host_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keeps_done(self) -> bool:
        return not (self.remove or self.force_remove)


def parse_options(query: Mapping[str, list[str]], flag: Callable[[str, bool], bool]) -> BuildOptions:
    """`flag(name, default)` reads a Docker boolean of the query. Raises InvalidParameter with Docker's text."""

    def text(name: str) -> str:
        return (query.get(name) or [""])[0]

    if query.get("securityopt"):
        raise InvalidParameter("security options are not supported on linux")
    if flag("squash", False):
        raise InvalidParameter("squash is only supported with experimental mode")
    if text("isolation") not in _ISOLATIONS:
        raise InvalidParameter(f'unsupported isolation: "{text("isolation")}"')
    if text("version") == "2":
        raise InvalidParameter("BuildKit is not available here: set DOCKER_BUILDKIT=0 to use the classic builder")
    if text("version") not in ("", "1"):
        raise InvalidParameter(f'invalid version "{text("version")}"')
    if text("outputs"):
        raise InvalidParameter("outputs are only supported with BuildKit: set DOCKER_BUILDKIT=0 and leave them out")
    return BuildOptions(
        dockerfile=text("dockerfile") or "Dockerfile",
        remote=text("remote"),
        tags=tuple(query.get("t") or ()),
        target=text("target"),
        platform=text("platform"),
        arguments=_map(text("buildargs"), "error reading build args", optional=True),
        labels={key: value or "" for key, value in _map(text("labels"), "error reading labels").items()},
        cache_from=_list(text("cachefrom"), "error reading cache-from"),
        no_cache=flag("nocache", False),
        pull=flag("pull", False),
        quiet=flag("q", False),
        remove=flag("rm", True),
        force_remove=flag("forcerm", False),
        host_config=_host_config(query, text),
    )


def _host_config(query: Mapping[str, list[str]], text: Callable[[str], str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, field_name in _LIMITS.items():
        if text(name):
            config[field_name] = _integer(text(name))
    for name, field_name in (
        ("cpusetcpus", "CpusetCpus"),
        ("cpusetmems", "CpusetMems"),
        ("cgroupparent", "CgroupParent"),
    ):
        if text(name):
            config[field_name] = text(name)
    if text("ulimits"):
        ulimits = _json(text("ulimits"), "error reading ulimit settings")
        if not isinstance(ulimits, list) or not all(isinstance(limit, dict) for limit in ulimits):
            raise InvalidParameter("error reading ulimit settings: a list of objects is needed")
        config["Ulimits"] = ulimits
    if query.get("extrahosts"):
        config["ExtraHosts"] = query["extrahosts"]
    mode = text("networkmode")
    config["NetworkMode"] = "bridge" if mode in ("", "default") else mode
    return config


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"{what}: {error}") from None


def _map(text: str, what: str, optional: bool = False) -> dict[str, str | None]:
    value = _json(text, what) if text else {}
    kinds = (str, type(None)) if optional else (str,)
    if value is not None and not (isinstance(value, dict) and all(isinstance(v, kinds) for v in value.values())):
        raise InvalidParameter(f"{what}: json: a map of strings is needed")
    return value or {}


def _list(text: str, what: str) -> tuple[str, ...]:
    value = _json(text, what) if text else ()
    if value is not None and not (isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value)):
        raise InvalidParameter(f"{what}: json: a list of strings is needed")
    return tuple(value or ())
