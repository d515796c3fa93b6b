"""The documents of /version and /info."""

import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import riverport
from riverport.engine.api.routing import NEWEST, OLDEST, Version
from riverport.engine.host import Host, backing_filesystem, host, is_on, open_descriptors
from riverport.engine.linux import cgroups
from riverport.engine.networks.ipam import DEFAULT_POOLS
from riverport.engine.release import DOCKER_RELEASE, PLATFORM, version_text

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

INDEX_SERVER: Final = "https://index.docker.io/v1/"
LOG_DRIVERS: Final = ("json-file", "local", "none")
NETWORK_DRIVERS: Final = ("bridge", "host", "macvlan", "null")

_WITHOUT_NONDISTRIBUTABLE: Final = (1, 49)
_WITHOUT_BRIDGE_FILTERS: Final = (1, 50)


def version_document() -> dict[str, Any]:
    machine = host()
    details = {
        "ApiVersion": version_text(NEWEST),
        "Arch": machine.architecture,
        "BuildTime": _build_time(),
        "Experimental": "false",
        "GitCommit": riverport.__version__,
        "GoVersion": _language(),
        "KernelVersion": machine.kernel,
        "MinAPIVersion": version_text(OLDEST),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": PLATFORM},
        "Components": [{"Name": "Engine", "Version": DOCKER_RELEASE, "Details": details}],
        "Version": DOCKER_RELEASE,
        **{key: value for key, value in details.items() if key != "Experimental"},
    }


def _language() -> str:
    return "python" + ".".join(str(part) for part in sys.version_info[:3])


def _build_time() -> str:
    """When this package was installed, to the second."""
    changed = os.stat(riverport.__file__).st_mtime
    return datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000+00:00")


@dataclass(slots=True, frozen=True)
class Counts:
    """How many containers there are in which state, and how many images."""

    running: int
    paused: int
    stopped: int
    images: int

    def document(self) -> dict[str, int]:
        return {
            "Containers": self.running + self.paused + self.stopped,
            "ContainersRunning": self.running,
            "ContainersPaused": self.paused,
            "ContainersStopped": self.stopped,
            "Images": self.images,
        }


def info_document(engine: "Engine", counts: Counts, listeners: int, version: Version) -> dict[str, Any]:
    machine = host()
    layout = cgroups.detect()
    return {
        "ID": engine.id,
        **counts.document(),
        **_storage(engine),
        "Plugins": {
            "Volume": ["local"],
            "Network": list(NETWORK_DRIVERS),
            "Authorization": None,
            "Log": list(LOG_DRIVERS),
        },
        **_abilities(layout),
        **(_bridge_filters() if version < _WITHOUT_BRIDGE_FILTERS else {}),
        "Debug": engine.settings.log_level == "debug",
        "NFd": open_descriptors(),
        "NGoroutines": 1,
        "SystemTime": datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z"),
        "LoggingDriver": engine.settings.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": str(layout.version),
        "NEventsListener": listeners,
        **_machine(machine),
        "IndexServerAddress": INDEX_SERVER,
        "RegistryConfig": _registries(engine, version),
        "GenericResources": None,
        "DockerRootDir": str(engine.settings.data_root),
        **{name: os.environ.get(variable, "") for name, variable in _PROXIES},
        "Labels": list(engine.settings.labels),
        "ExperimentalBuild": False,
        "ServerVersion": DOCKER_RELEASE,
        **_runtimes(engine),
        "Swarm": _NO_SWARM,
        "LiveRestoreEnabled": engine.settings.live_restore,
        "Isolation": "",
        "InitBinary": engine.settings.init_path or "docker-init",
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=cgroupns"] if layout.version == 2 else [])],
        "FirewallBackend": {"Driver": "nftables"},
        **_pools(engine),
        "CDISpecDirs": [],
        "Warnings": _warnings(engine),
    }


_PROXIES: Final = (("HttpProxy", "HTTP_PROXY"), ("HttpsProxy", "HTTPS_PROXY"), ("NoProxy", "NO_PROXY"))
_NO_SWARM: Final = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _pools(engine: "Engine") -> dict[str, Any]:
    """Only what the administrator has chosen."""
    pools = engine.settings.networks.pools
    if pools == DEFAULT_POOLS:
        return {}
    return {"DefaultAddressPools": [{"Base": base, "Size": size} for base, size in pools]}


def _storage(engine: "Engine") -> dict[str, Any]:
    return {
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", backing_filesystem(engine.settings.data_root)],
            ["Supports d_type", "true"],
            ["Using metacopy", "false"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
    }


def _abilities(layout: cgroups.Layout) -> dict[str, bool]:
    has = layout.controllers
    v1 = layout.version == 1
    return {
        "MemoryLimit": "memory" in has,
        "SwapLimit": "memory" in has,
        **({"KernelMemoryTCP": True} if v1 else {}),
        "CpuCfsPeriod": "cpu" in has,
        "CpuCfsQuota": "cpu" in has,
        "CPUShares": "cpu" in has,
        "CPUSet": "cpuset" in has,
        "PidsLimit": "pids" in has,
        "IPv4Forwarding": is_on("net/ipv4/ip_forward"),
        "OomKillDisable": v1 and "memory" in has,
    }


def _machine(machine: Host) -> dict[str, Any]:
    return {
        "KernelVersion": machine.kernel,
        "OperatingSystem": machine.operating_system,
        "OSVersion": machine.os_version,
        "OSType": "linux",
        "Architecture": machine.machine,
        "NCPU": machine.cpus,
        "MemTotal": machine.memory_bytes,
        "Name": machine.name,
    }


def _bridge_filters() -> dict[str, bool]:
    return {
        "BridgeNfIptables": is_on("net/bridge/bridge-nf-call-iptables"),
        "BridgeNfIp6tables": is_on("net/bridge/bridge-nf-call-ip6tables"),
    }


def _registries(engine: "Engine", version: Version) -> dict[str, Any]:
    insecure = engine.settings.insecure_registries
    networks = [entry for entry in insecure if "/" in entry]
    hosts = [entry for entry in insecure if "/" not in entry]
    mirrors = list(engine.settings.registry_mirrors)
    docker_io = {"Name": "docker.io", "Mirrors": mirrors, "Secure": "docker.io" not in hosts, "Official": True}
    others = {name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False} for name in hosts}
    names = ("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames")
    return {
        **(dict.fromkeys(names, ()) if version < _WITHOUT_NONDISTRIBUTABLE else {}),
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", *networks],
        "IndexConfigs": {"docker.io": docker_io, **others},
        "Mirrors": mirrors,
    }


def _runtimes(engine: "Engine") -> dict[str, Any]:
    names = dict.fromkeys([engine.settings.runtime, "crun", "runc"])
    return {"Runtimes": {name: {"path": name} for name in names}, "DefaultRuntime": engine.settings.runtime}


def _warnings(engine: "Engine") -> list[str] | None:
    found = [] if is_on("net/ipv4/ip_forward") else ["WARNING: IPv4 forwarding is disabled"]
    if not engine.settings.tls:
        found += [
            f"[DEPRECATION NOTICE]: API is accessible on {host} without encryption: who can reach it is root here"
            for host in engine.settings.hosts
            if host.startswith("tcp://") and not host.startswith(("tcp://127.", "tcp://localhost:"))
        ]
    return found or None
