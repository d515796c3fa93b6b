"""From a create request and an image to what the container is: pure functions over Docker's JSON objects.

Sources: the OpenAPI description (v1.50) and its changelog for what older API versions lack; the merge with the image's
configuration as docker.com describes for CMD and ENTRYPOINT.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.containers import checks
from riverport.engine.containers.fields import CONFIG, ENDPOINT, HEALTHCHECK, HOST_CONFIG
from riverport.engine.errors import InvalidParameter

Version = tuple[int, int]

MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MAC_DEPRECATED = (
    "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
)


@dataclass(slots=True)
class Creation:
    """A create request, checked and complete but for what the image and the daemon add."""

    config: dict[str, Any]
    host_config: dict[str, Any]
    endpoints: dict[str, dict[str, Any]]  # network name -> EndpointSettings
    warnings: list[str] = field(default_factory=list)


def read_creation(body: Any, version: Version, machine: checks.Machine) -> Creation:
    """Raises InvalidParameter with Docker's text."""
    if not isinstance(body, dict) or not any(key in CONFIG.fields for key in body):
        raise InvalidParameter("config cannot be empty in order to create a container")
    config = CONFIG.read(body)
    config["Volumes"] = config["Volumes"] or {}
    if config["Healthcheck"] is not None:
        config["Healthcheck"] = HEALTHCHECK.show(HEALTHCHECK.read(config["Healthcheck"]))
    host_config = HOST_CONFIG.read(body.get("HostConfig") or {})
    # docker-py writes the runtime one level too high, where dockerd does not look for it.
    host_config["Runtime"] = host_config["Runtime"] or str(body.get("Runtime") or "")
    endpoints = _endpoints(body.get("NetworkingConfig"))
    _normalise(config, host_config, endpoints)
    checks.check_modes(config, host_config)
    warnings = _fit_to_version(config, host_config, endpoints, version)
    checks.check_config(config)
    warnings += checks.check_host_config(host_config, machine)
    checks.check_endpoints(endpoints, host_config["NetworkMode"])
    return Creation(config, host_config, endpoints, warnings)


def _endpoints(networking: Any) -> dict[str, dict[str, Any]]:
    given = (networking or {}).get("EndpointsConfig") or {} if isinstance(networking or {}, dict) else None
    if not isinstance(given, dict):
        raise InvalidParameter(
            "invalid JSON: json: cannot unmarshal value into Go struct field "
            "NetworkingConfig.EndpointsConfig of type map[string]*network.EndpointSettings"
        )
    return {name: ENDPOINT.read(settings or {}) for name, settings in given.items()}


def _normalise(config: dict[str, Any], host_config: dict[str, Any], endpoints: dict[str, dict[str, Any]]) -> None:
    """One spelling for what may be written in several ways."""
    if host_config["NetworkMode"] in ("", "default"):
        host_config["NetworkMode"] = "bridge"
        if "default" in endpoints:
            endpoints["bridge"] = endpoints.pop("default")
    policy = host_config["RestartPolicy"]
    host_config["RestartPolicy"] = {
        "Name": policy.get("Name") or "no",
        "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
    }
    log = host_config["LogConfig"]
    host_config["LogConfig"] = {"Type": log.get("Type") or "", "Config": log.get("Config") or {}}
    if config["ExposedPorts"] is not None:
        config["ExposedPorts"] = {checks.port_name(port): {} for port in config["ExposedPorts"]}
    host_config["PortBindings"] = {
        checks.port_name(port): _bindings(bindings) for port, bindings in host_config["PortBindings"].items()
    }
    if (host_config["PidsLimit"] or 0) <= 0:
        host_config["PidsLimit"] = None


def _bindings(bindings: list[dict[str, Any]] | None) -> list[dict[str, str]]:
    return [
        {"HostIp": str(binding.get("HostIp") or ""), "HostPort": str(binding.get("HostPort") or "")}
        for binding in bindings or []
    ]


def _fit_to_version(
    config: dict[str, Any], host_config: dict[str, Any], endpoints: dict[str, dict[str, Any]], version: Version
) -> list[str]:
    """Take away what the client's API version does not have, and add what it takes for granted."""
    if version < (1, 40):
        host_config["IpcMode"] = host_config["IpcMode"] or "shareable"
    if version < (1, 42):
        host_config["ConsoleSize"] = [0, 0]
    if version < (1, 43):
        host_config["Annotations"] = None
    if version < (1, 44):
        if config["Healthcheck"] is not None:
            config["Healthcheck"].pop("StartInterval", None)
        if len(endpoints) > 1:
            raise InvalidParameter(
                f"Container cannot be created with multiple network endpoints: {', '.join(endpoints)}"
            )
    if version < (1, 48):
        for settings in endpoints.values():
            settings["GwPriority"] = 0
    checks.check_mounts_of_version(host_config["Mounts"] or [], version)
    return _move_mac_address(config, host_config["NetworkMode"], endpoints, version)


def _move_mac_address(
    config: dict[str, Any], mode: str, endpoints: dict[str, dict[str, Any]], version: Version
) -> list[str]:
    """Since 1.44 a MAC address belongs to an endpoint; older clients give the container one."""
    address = config["MacAddress"]
    if not address:
        return []
    if not checks.MAC.fullmatch(address):
        raise InvalidParameter(f"invalid MAC address: {address}")
    config["MacAddress"] = ""
    if mode in ("host", "none") or mode.startswith("container:"):
        raise InvalidParameter("conflicting options: mac-address and the network mode")
    settings = endpoints.setdefault(mode, ENDPOINT.read({}))
    if settings["MacAddress"] not in ("", address):
        raise InvalidParameter(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main "
            "network, or be left empty"
        )
    settings["MacAddress"] = address
    return [MAC_DEPRECATED] if version >= (1, 44) else []


def merge_image(config: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """The container's configuration: what the request leaves open comes from the image's (`config` of its document)."""
    merged = dict(config)
    for name in ("User", "WorkingDir", "StopSignal"):
        merged[name] = config[name] or image.get(name) or ""
    merged["ExposedPorts"] = {
        **(config["ExposedPorts"] or {}),
        **{checks.port_name(port): {} for port in image.get("ExposedPorts") or ()},
    } or None
    merged["Volumes"] = {**(config["Volumes"] or {}), **{path: {} for path in image.get("Volumes") or ()}} or None
    merged["Env"] = _merge_environment(config["Env"] or [], image.get("Env") or [])
    merged["Labels"] = {**(image.get("Labels") or {}), **(config["Labels"] or {})}
    if not config["Entrypoint"]:
        if not config["Cmd"]:
            merged["Cmd"] = image.get("Cmd")
        if config["Entrypoint"] is None:
            merged["Entrypoint"] = image.get("Entrypoint")
    elif config["Entrypoint"] == [""]:
        merged["Entrypoint"] = None  # it has kept the image's from being used, and is not seen
    merged["Healthcheck"] = _merge_healthcheck(config["Healthcheck"], image.get("Healthcheck"))
    merged["Shell"] = config["Shell"] or image.get("Shell")
    merged["OnBuild"] = None
    return merged


def _merge_environment(own: list[str], inherited: list[str]) -> list[str]:
    names = {entry.partition("=")[0] for entry in own}
    return own + [entry for entry in inherited if entry.partition("=")[0] not in names]


def _merge_healthcheck(own: dict[str, Any] | None, inherited: dict[str, Any] | None) -> dict[str, Any] | None:
    if own is None or inherited is None:
        return own if inherited is None else inherited
    return {name: value for name in HEALTHCHECK.fields if (value := own.get(name) or inherited.get(name))}


def command(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Path and arguments of the first process; raises InvalidParameter if there is none."""
    words = (config["Entrypoint"] or []) + (config["Cmd"] or [])
    if not words or (not words[0] and len(words) == 1):
        raise InvalidParameter("no command specified")
    return words[0], words[1:]


def complete(config: dict[str, Any], host_config: dict[str, Any], container_id: str, machine: checks.Machine) -> None:
    """Fill in what Docker's `inspect` shows although nobody asked for it."""
    if not config["Hostname"] and not host_config["NetworkMode"].startswith("container:"):
        config["Hostname"] = machine.hostname if host_config["NetworkMode"] == "host" else container_id[:12]
    if config["WorkingDir"]:
        config["WorkingDir"] = posixpath.normpath(config["WorkingDir"])
    if host_config["Memory"] > 0 and host_config["MemorySwap"] == 0:
        host_config["MemorySwap"] = 2 * host_config["Memory"]
    host_config["ShmSize"] = host_config["ShmSize"] or machine.shm_bytes
    host_config["IpcMode"] = host_config["IpcMode"] or "private"
    if not host_config["CgroupnsMode"]:
        privileged_v1 = host_config["Privileged"] and not machine.unified
        mode = "" if privileged_v1 else machine.cgroupns_mode
        host_config["CgroupnsMode"] = mode or ("private" if machine.unified else "host")
    if host_config["OomKillDisable"] is None and not machine.unified:
        host_config["OomKillDisable"] = False
    log = host_config["LogConfig"]
    if not log["Type"]:
        log["Type"], log["Config"] = machine.log_driver, {**machine.log_options, **log["Config"]}
    host_config["Runtime"] = host_config["Runtime"] or machine.runtime
    if not host_config["Privileged"]:
        unconfined = "systempaths=unconfined" in (host_config["SecurityOpt"] or [])
        host_config["MaskedPaths"] = _paths(host_config["MaskedPaths"], [] if unconfined else MASKED_PATHS)
        host_config["ReadonlyPaths"] = _paths(host_config["ReadonlyPaths"], [] if unconfined else READONLY_PATHS)


def with_default_ulimits(host_config: Mapping[str, Any], machine: checks.Machine) -> dict[str, Any]:
    """The daemon's limits beside the container's own: they are never the container's, and change with the daemon's."""
    own = host_config["Ulimits"] or []
    named = {limit["Name"] for limit in own}
    more = [dict(limit) for limit in machine.ulimits if limit["Name"] not in named]
    return {**host_config, "Ulimits": [*own, *more]} if more else dict(host_config)


def _paths(given: list[str] | None, default: list[str]) -> list[str]:
    return list(default) if given is None else given


def environment(config: Mapping[str, Any], hostname: str, tty: bool) -> list[str]:
    """A process's variables: the daemon's first, and the container's own win (HOME is the runtime's, from passwd)."""
    variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": hostname}
    if tty:
        variables["TERM"] = "xterm"
    return override([f"{name}={value}" for name, value in variables.items()], config["Env"] or [])


def override(defaults: list[str], own: list[str]) -> list[str]:
    """`own` over `defaults`, in place where the name is there; a name without "=" takes the variable away."""
    variables = {entry.partition("=")[0]: entry for entry in defaults}
    for entry in own:
        name, given, _ = entry.partition("=")
        if given:
            variables[name] = entry
        else:
            variables.pop(name, None)
    return list(variables.values())
