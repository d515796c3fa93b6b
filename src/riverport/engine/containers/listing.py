"""What `ps` shows: which containers, in which rows (pure).

Filters as docs.docker.com, "docker container ls" has them; `before` and `since` cut the list, newest first, at a
container that is given by id or name.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.api.filters import Filters
from riverport.engine.containers.container import Container, Status
from riverport.engine.containers.inspect import show_mounts
from riverport.engine.errors import InvalidParameter

Json = dict[str, Any]

FILTERS = ("ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task", "label", "name", "network",
           "publish", "since", "status", "volume")  # fmt: skip
_HEALTH = ("none", "starting", "healthy", "unhealthy")
_PORTS = re.compile(r"(\d+)(?:-(\d+))?(?:/(\w+))?")


@dataclass(slots=True)
class Listing:
    """One request to list. `images` are the ids of the ancestors, and of what was built on them."""

    filters: Filters
    everything: bool = False
    limit: int = 0
    before: str | None = None  # full ids
    since: str | None = None
    images: Collection[str] | None = None
    _exited: set[int] = field(default_factory=set)
    _ports: dict[str, set[tuple[int, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InvalidParameter for values that mean nothing."""
        for value in self.filters.get("exited"):
            if not re.fullmatch(r"-?\d+", value):
                raise InvalidParameter(
                    f"invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
                )
            self._exited.add(int(value))
        for value in self.filters.get("status"):
            if value not in list(Status):
                raise InvalidParameter(
                    f"invalid filter 'status={value}': invalid value for state ({value}): must be one of "
                    "created, running, paused, restarting, removing, exited, dead"
                )
            self.everything = True
        for value in self.filters.get("health"):
            if value not in _HEALTH:
                raise InvalidParameter(
                    f"invalid filter 'health={value}': invalid value for health ({value}): must be one of "
                    "none, starting, healthy, unhealthy"
                )
        for key in ("publish", "expose"):
            self._ports[key] = {port for value in self.filters.get(key) for port in _port_range(key, value)}

    def choose(self, containers: Iterable[Container], ports: Callable[[Container], list[Json]]) -> list[Container]:
        """Newest first."""
        chosen: list[Container] = []
        skipping = self.before is not None
        for container in sorted(containers, key=lambda container: container.created_at_ns, reverse=True):
            if skipping:
                skipping = container.id != self.before
            elif container.id == self.since:
                break
            elif self._takes(container, ports):
                if self.limit > 0 and len(chosen) == self.limit:
                    break
                chosen.append(container)
        return chosen

    def _takes(self, container: Container, ports: Callable[[Container], list[Json]]) -> bool:
        state, filters = container.state, self.filters
        if not state.running and not self.everything and self.limit <= 0:
            return False
        if self._exited and (state.running or not state.started_at_ns or state.exit_code not in self._exited):
            return False
        health = state.health["Status"] if state.health else "none"
        return (
            filters.search("name", container.name, "/" + container.name)
            and filters.prefix("id", container.id)
            and filters.labels(container.config["Labels"])
            and filters.exact("status", state.status)
            and filters.exact("health", health)
            and not filters.flag("is-task", False)
            and (self.images is None or container.image_id in self.images)
            and self._in_network(container)
            and self._has_volume(container)
            and self._has_port(container, ports)
        )

    def _in_network(self, container: Container) -> bool:
        if "network" not in self.filters:
            return True
        networks: Mapping[str, Json] = container.network.get("Networks") or container.endpoints
        return any(
            wanted in networks
            or any((endpoint.get("NetworkID") or "").startswith(wanted) for endpoint in networks.values() if endpoint)
            for wanted in self.filters.get("network")
        )

    def _has_volume(self, container: Container) -> bool:
        known = {text for point in container.mounts for text in (point.name, point.source, point.destination)}
        return "volume" not in self.filters or any(wanted in known for wanted in self.filters.get("volume"))

    def _has_port(self, container: Container, ports: Callable[[Container], list[Json]]) -> bool:
        published, exposed = self._ports["publish"], self._ports["expose"]
        if not published and not exposed:
            return True
        return any(
            (port.get("PublicPort", 0), port["Type"]) in published or (port["PrivatePort"], port["Type"]) in exposed
            for port in ports(container)
        )


def _port_range(key: str, value: str) -> list[tuple[int, str]]:
    found = _PORTS.fullmatch(value)
    if ":" in value:
        raise InvalidParameter(f"filter for '{key}' should not contain ':': {value}")
    if not found or int(found[1]) > int(found[2] or found[1]) or int(found[2] or found[1]) > 65535:
        raise InvalidParameter(f"error while looking up for {key} {value}: invalid port range")
    return [(port, found[3] or "tcp") for port in range(int(found[1]), int(found[2] or found[1]) + 1)]


def list_ports(network: Mapping[str, Any]) -> list[Json]:
    """NetworkSettings.Ports as a flat list."""
    rows: list[Json] = []
    for name, bindings in (network.get("Ports") or {}).items():
        port, _, protocol = name.partition("/")
        private = {"PrivatePort": int(port), "Type": protocol}
        if not bindings:
            rows.append(private)
        for binding in bindings or ():
            # None of the host leads to a port of a routed network: HostPort is empty.
            public = {"PublicPort": int(binding["HostPort"])} if binding["HostPort"] else {}
            rows.append({"IP": binding["HostIp"], **private, **public})
    return sorted(rows, key=lambda row: (row["PrivatePort"], row.get("PublicPort", 0), row["Type"], row.get("IP", "")))


def row(container: Container, image: str, network: Mapping[str, Any], now_ns: int, version: tuple[int, int]) -> Json:
    """`image` is the name as it was given, or the id where that name means something else by now."""
    host_config: Json = {"NetworkMode": container.host_config["NetworkMode"]}
    if version >= (1, 46) and container.host_config["Annotations"]:
        host_config["Annotations"] = container.host_config["Annotations"]
    return {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": image,
        "ImageID": container.image_id,
        "Command": _command_text(container),
        "Created": container.created_at_ns // 1_000_000_000,
        "Ports": list_ports(network) if container.state.running else [],
        "Labels": container.config["Labels"] or {},
        "State": container.state.status.value,
        "Status": container.state.text(now_ns),
        "HostConfig": host_config,
        "NetworkSettings": {"Networks": network.get("Networks") or {}},
        "Mounts": show_mounts(container),
    }


def _command_text(container: Container) -> str:
    """Arguments with spaces are quoted, so that the command reads as one would type it."""
    words = [f"'{word}'" if " " in word else word for word in container.args]
    return " ".join([container.path, *words])
