"""What a container must not ask for, in Docker's words (pure).

The texts are those of the original: clients match on them.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.containers.signals import parse_signal
from riverport.engine.errors import InvalidParameter

MIN_MEMORY_BYTES = 6 << 20
MILLISECOND_NS = 1_000_000
MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")
LOG_OPTIONS = {
    "json-file": {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"},
    "local": {"max-size", "max-file", "compress"},
    "none": None,  # takes whatever it is given
}
COMMON_LOG_OPTIONS = {"mode", "max-buffer-size", "cache-disabled", "cache-max-file", "cache-max-size", "cache-compress"}
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Machine:
    """What decides whether a wish can be granted here, and what stands for a wish that nobody had."""

    hostname: str
    cpus: int
    cpuset_cpus: frozenset[int]
    cpuset_mems: frozenset[int]
    unified: bool  # control groups of version 2 only
    runtimes: tuple[str, ...]
    runtime: str = "runc"
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    shm_bytes: int = 64 << 20
    cgroupns_mode: str = ""
    ulimits: tuple[Mapping[str, Any], ...] = ()
    realtime: bool = False  # the kernel schedules real-time processes by control group
    block_weight: bool = True  # it shares out block I/O by weights


def port_name(port: str) -> str:
    """`80` is `80/tcp`; raises InvalidParameter."""
    found = _PORT.fullmatch(port)
    if not found or not 0 < int(found[1]) < 65536 or not int(found[1]) <= int(found[2] or found[1]) < 65536:
        raise InvalidParameter(f'invalid port specification: "{port}"')
    return f"{port.partition('/')[0]}/{(found[3] or 'tcp').lower()}"


def parse_size(text: str) -> int:
    """Bytes of `10m`, `1.5g`; -1 is no limit. Raises InvalidParameter."""
    if text == "-1":
        return -1
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " "))


def check_modes(config: Mapping[str, Any], host_config: Mapping[str, Any]) -> None:
    """Namespaces that are shared leave nothing to set for those who share them."""
    mode = host_config["NetworkMode"]
    if mode == "container" or mode.startswith("container:"):
        _check_shared_network(config, host_config, mode)
    if host_config["UTSMode"] == "host" and config["Hostname"]:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if mode == "host" and host_config["Links"]:
        raise InvalidParameter(
            "conflicting options: host type networking can't be used with links. This would result in "
            "undefined behavior"
        )
    if host_config["Isolation"] not in ("", "default"):
        raise InvalidParameter(f"invalid isolation ({host_config['Isolation']}): linux only supports 'default'")
    if host_config["IOMaximumBandwidth"]:
        raise InvalidParameter("invalid option: QoS maximum bandwidth configuration is not supported on linux")
    if host_config["IOMaximumIOps"]:
        raise InvalidParameter("invalid option: QoS maximum IOPs configuration is not supported on linux")
    if host_config["CpuShares"] < 0:
        raise InvalidParameter(f"invalid CPU shares ({host_config['CpuShares']}): value must be a positive integer")


def _check_shared_network(config: Mapping[str, Any], host_config: Mapping[str, Any], mode: str) -> None:
    if not mode.removeprefix("container").removeprefix(":"):
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    conflicts = (
        (config["Hostname"], "hostname and the network mode"),
        (
            host_config["Links"],
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (host_config["Dns"], "dns and the network mode"),
        (host_config["ExtraHosts"], "custom host-to-IP mapping and the network mode"),
        (
            host_config["PortBindings"] or host_config["PublishAllPorts"],
            "port publishing and the container type network mode",
        ),
        (config["ExposedPorts"], "port exposing and the container type network mode"),
    )
    for given, text in conflicts:
        if given:
            raise InvalidParameter(f"conflicting options: {text}")


def check_config(config: Mapping[str, Any]) -> None:
    directory = config["WorkingDir"]
    if directory and not directory.startswith("/"):
        raise InvalidParameter(f"the working directory '{directory}' is invalid, it needs to be an absolute path")
    if len(config["Hostname"]) > 64:
        raise InvalidParameter(f"invalid hostname: {config['Hostname']}: longer than 64 bytes")
    if config["StopSignal"]:
        parse_signal(config["StopSignal"])
    for entry in config["Env"] or ():
        if not entry.partition("=")[0]:
            raise InvalidParameter(f"invalid environment variable: {entry}")
    health = config["Healthcheck"] or {}
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if health.get(name, 0) and health[name] < MILLISECOND_NS:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.get("Retries", 0) < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")


def check_host_config(host_config: dict[str, Any], machine: Machine) -> list[str]:
    """Returns warnings; raises InvalidParameter."""
    policy = host_config["RestartPolicy"]
    if host_config["AutoRemove"] and policy["Name"] != "no":
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    for entry in host_config["ExtraHosts"] or ():
        check_extra_host(entry)
    for bindings in host_config["PortBindings"].values():
        for binding in bindings:
            _check_host_port(binding["HostPort"])
    check_restart_policy(policy)
    if "" in (host_config["Annotations"] or {}):
        raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")
    warnings = check_resources(host_config, machine)
    _check_namespaces(host_config)
    if host_config["ShmSize"] < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host_config["OomScoreAdj"] <= 1000:
        raise InvalidParameter(f"Invalid value {host_config['OomScoreAdj']}, range for oom score adj is [-1000, 1000]")
    if host_config["NetworkMode"] == "host" and host_config["PortBindings"]:
        warnings.append("Published ports are discarded when using host network mode")
    if host_config["Runtime"] and host_config["Runtime"] not in machine.runtimes:
        raise InvalidParameter(f"unknown or invalid runtime name: {host_config['Runtime']}")
    for request in host_config["DeviceRequests"] or ():
        raise InvalidParameter(
            f'could not select device driver "{request.get("Driver") or ""}" with capabilities: '
            + _go_lists(request.get("Capabilities") or [])
        )
    _check_log_config(host_config["LogConfig"])
    return warnings


def _go_lists(lists: Sequence[Sequence[str]]) -> str:
    return f"[{' '.join('[' + ' '.join(inner) + ']' for inner in lists)}]"


def check_extra_host(entry: str) -> None:
    name, separator, address = entry.partition(":")
    if not name or not separator:
        name, separator, address = entry.partition("=")
    if not name or not separator or not address:
        raise InvalidParameter(f'bad format for add-host: "{entry}"')
    if address != "host-gateway":
        try:
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from None


def _check_host_port(port: str) -> None:
    if port:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", port)
        if not found or int(found[1]) > int(found[2] or found[1]) or int(found[2] or found[1]) > 65535:
            raise InvalidParameter(f'invalid port specification: "{port}"')


def check_restart_policy(policy: Mapping[str, Any]) -> None:
    name, count = policy["Name"], policy["MaximumRetryCount"]
    if name not in _POLICIES:
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', "
            "or 'unless-stopped'"
        )
    if name == "on-failure":
        if count < 0:
            raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    elif count:
        raise InvalidParameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            + (" and cannot be negative" if count < 0 else "")
        )


def _check_namespaces(host_config: Mapping[str, Any]) -> None:
    def valid(mode: str, *words: str) -> bool:
        return mode in words or (mode.startswith("container:") and len(mode) > len("container:"))

    if not valid(host_config["IpcMode"], "", "none", "private", "shareable", "host"):
        raise InvalidParameter(f"invalid IPC mode: {host_config['IpcMode']}")
    if not valid(host_config["PidMode"], "", "host"):
        raise InvalidParameter(f"invalid PID mode: {host_config['PidMode']}")
    for name, title, words in (
        ("UTSMode", "UTS mode", ("", "host")),
        ("UsernsMode", "user namespace mode", ("", "host")),
        ("CgroupnsMode", "cgroup namespace mode", ("", "private", "host")),
    ):
        if host_config[name] not in words:
            raise InvalidParameter(f"invalid {title}: {host_config[name]}")


def _check_log_config(log: Mapping[str, Any]) -> None:
    driver = log["Type"] or "json-file"
    if driver not in LOG_OPTIONS:
        raise InvalidParameter(f"logger: no log driver named '{driver}' is registered")
    known, options = LOG_OPTIONS[driver], log["Config"]
    if known is None:
        return
    for name in options:
        if name not in known | COMMON_LOG_OPTIONS:
            raise InvalidParameter(
                f"unknown log opt '{name}' for {driver} log driver"
                if driver == "json-file"
                else f"unknown log opt '{name}' for log driver {driver}"
            )
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {options['mode']}")
    if "max-buffer-size" in options and options.get("mode") != "non-blocking":
        raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")


def check_resources(host_config: dict[str, Any], machine: Machine, *, update: bool = False) -> list[str]:
    """Limits; `update` speaks of a container that has limits already."""
    warnings: list[str] = []
    _check_memory(host_config, update)
    if host_config["OomKillDisable"] and machine.unified:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host_config["OomKillDisable"] = None
    elif host_config["OomKillDisable"] and not host_config["Memory"]:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the "
            "system running out of resources."
        )
    _check_processors(host_config, machine)
    warnings += _discard_weights(host_config, machine)
    if host_config["BlkioWeight"] and not 10 <= host_config["BlkioWeight"] <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if host_config["CpuPercent"]:
        warnings.append("linux does not support CPU percent. Percent discarded.")
        host_config["CpuPercent"] = 0
    return warnings


def _discard_weights(host_config: dict[str, Any], machine: Machine) -> list[str]:
    warnings: list[str] = []
    for name, title, nothing in (("BlkioWeight", "weight", 0), ("BlkioWeightDevice", "weight_device", [])):
        if host_config[name] and not machine.block_weight:
            discarded = title.capitalize().replace("_", "-")
            warnings.append(
                f"Your kernel does not support Block I/O {title} or the cgroup is not mounted. {discarded} discarded."
            )
            host_config[name] = nothing
    return warnings


def _check_memory(limits: dict[str, Any], update: bool) -> None:
    memory, swap, reservation = limits["Memory"], limits["MemorySwap"], limits["MemoryReservation"]
    if limits["MemorySwappiness"] == -1:
        limits["MemorySwappiness"] = None
    if memory and memory < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if 0 < swap < memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if swap > 0 and not memory and not update:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    swappiness = limits["MemorySwappiness"]
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if 0 < reservation < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if memory and memory < reservation:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_processors(limits: Mapping[str, Any], machine: Machine) -> None:
    nano, period, quota = limits["NanoCpus"], limits["CpuPeriod"], limits["CpuQuota"]
    if nano > 0 and period > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano > 0 and quota > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 0 <= nano <= machine.cpus * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {machine.cpus}.00, as there are only {machine.cpus} CPUs available"
        )
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    realtime_period, realtime_runtime = limits["CpuRealtimePeriod"], limits["CpuRealtimeRuntime"]
    if (realtime_period or realtime_runtime) and not machine.realtime:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if 0 < realtime_period < realtime_runtime:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    _check_set(limits["CpusetCpus"], machine.cpuset_cpus, "cpuset cpus", "CPUs")
    _check_set(limits["CpusetMems"], machine.cpuset_mems, "cpuset mems", "memory nodes")


def parse_set(text: str) -> set[int]:
    """`0-2,4` as numbers; raises ValueError."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _check_set(text: str, available: frozenset[int], title: str, noun: str) -> None:
    try:
        wanted = parse_set(text)
    except ValueError:
        raise InvalidParameter(f"Invalid value {text} for {title}") from None
    if not wanted <= available:
        raise InvalidParameter(
            f"Requested {noun} are not available - requested {text}, available: "
            + ",".join(str(number) for number in sorted(available))
        )


def check_endpoints(endpoints: Mapping[str, Mapping[str, Any]], mode: str) -> None:
    for name, settings in endpoints.items():
        ipam = settings["IPAMConfig"] or {}
        for key, title, family in (("IPv4Address", "IPv4", 4), ("IPv6Address", "IPv6", 6)):
            address = ipam.get(key)
            if address and not _is_address(address, family):
                raise InvalidParameter(
                    f"invalid config for network {name}: invalid endpoint settings:\ninvalid {title} address: {address}"
                )
            if address and name in ("bridge", "host", "none", "default"):
                raise InvalidParameter(
                    f"invalid config for network {name}: invalid endpoint settings:\n"
                    "user specified IP address is supported on user defined networks only"
                )
        if settings["MacAddress"] and not MAC.fullmatch(settings["MacAddress"]):
            raise InvalidParameter(f"invalid MAC address: {settings['MacAddress']}")
        if settings["Aliases"] and name in ("bridge", "host", "none") and name == mode:
            raise InvalidParameter(
                f"invalid config for network {name}: invalid endpoint settings:\n"
                "network-scoped aliases are only supported for user-defined networks"
            )


def _is_address(text: str, family: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == family
    except ValueError:
        return False


def check_mounts_of_version(mounts: Sequence[dict[str, Any]], version: tuple[int, int]) -> None:
    """Options of mounts that an API version does not know, or refuses."""
    for mount in mounts:
        kind = mount.get("Type") or ""
        for name, owner in (("VolumeOptions", "volume"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs")):
            if mount.get(name) is not None and kind != owner:
                if version >= (1, 42):
                    raise InvalidParameter(f'{name} must not be specified on mount type "{kind}"')
                mount[name] = None
        bind, volume = mount.get("BindOptions") or {}, mount.get("VolumeOptions") or {}
        if version < (1, 40):
            bind.pop("NonRecursive", None)
        if version < (1, 42):
            bind.pop("CreateMountpoint", None)
        if version < (1, 44) and bind.get("ReadOnlyForceRecursive"):
            raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        if version < (1, 45) and volume.get("Subpath"):
            raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
        if version < (1, 48) and kind == "image":
            raise InvalidParameter('Mount type "Image" needs API v1.48 or newer')
