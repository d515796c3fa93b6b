"""What `inspect` tells about a container (pure): every field of the original, in its order."""

from collections.abc import Mapping
from typing import Any

from riverport.engine.containers.checks import Machine
from riverport.engine.containers.config import with_default_ulimits
from riverport.engine.containers.container import Container, ContainerState
from riverport.engine.containers.fields import CONFIG, HOST_CONFIG
from riverport.engine.containers.times import rfc3339

Json = dict[str, Any]
_PREDEFINED = ("bridge", "host", "none")


def show_state(state: ContainerState) -> Json:
    shown: Json = {
        "Status": state.status.value,
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_at_ns),
        "FinishedAt": rfc3339(state.finished_at_ns),
    }
    return shown | {"Health": state.health} if state.health else shown


def show(
    container: Container,
    paths: Mapping[str, str],
    graph_driver: Json,
    network: Json,
    version: tuple[int, int],
    machine: Machine,
    links: list[str] | None = None,
) -> Json:
    """`paths` are ResolvConfPath, HostnamePath, HostsPath and LogPath; `network` is NetworkSettings."""
    host_config = HOST_CONFIG.show(with_default_ulimits(container.host_config, machine))
    host_config["Links"] = links
    config = CONFIG.show(container.config)
    if version < (1, 44):
        config["MacAddress"] = _main_mac_address(container)
    return {
        "Id": container.id,
        "Created": rfc3339(container.created_at_ns),
        "Path": container.path,
        "Args": container.args,
        "State": show_state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": paths["ResolvConfPath"],
        "HostnamePath": paths["HostnamePath"],
        "HostsPath": paths["HostsPath"],
        "LogPath": paths["LogPath"],
        "Name": "/" + container.name,
        "RestartCount": container.restart_count,
        "Driver": graph_driver["Name"],
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_config,
        "GraphDriver": graph_driver,
        "Mounts": show_mounts(container),
        "Config": config,
        "NetworkSettings": network,
    }


def _main_mac_address(container: Container) -> str:
    endpoint = container.endpoints.get(container.host_config["NetworkMode"]) or {}
    return str(endpoint.get("MacAddress") or "")


def with_short_id(network: Json, container: Container) -> Json:
    """NetworkSettings as before API 1.45: among the aliases in networks of users were the short id and the hostname."""
    networks = dict(network.get("Networks") or {})
    for name, endpoint in networks.items():
        if name not in _PREDEFINED and endpoint:
            aliases = [*(endpoint.get("Aliases") or ()), container.id[:12], container.config["Hostname"]]
            networks[name] = {**endpoint, "Aliases": list(dict.fromkeys(aliases))}
    return {**network, "Networks": networks}


def show_mounts(container: Container) -> list[Json]:
    return [point.inspected() for point in container.mounts if point.is_listed]
