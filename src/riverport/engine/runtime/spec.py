"""From what Docker says of a container to an OCI runtime spec ("config.json"). Pure.

Who calls has made the merged Config and HostConfig (Docker's JSON), looked up the user, prepared mounts and names, and
says in `Place` what only a running engine knows: paths, process ids of other containers, what the host allows.
"""

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.runtime import capabilities, devices, resources, seccomp
from riverport.engine.runtime.users import User

Json = dict[str, Any]

MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
INIT_INSIDE = "/sbin/docker-init"
DEFAULT_SHM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """What the client does not say. `ipc` and `pid` are paths of namespaces to join; None stands for one's own or,
    where the HostConfig says `host`, for the host's."""

    container_id: str
    root: str  # the mounted root file system, as the shim sees it
    cgroup_path: str  # /docker/<id>
    cgroup_version: int
    hostname: str
    network: str | None  # path of a network namespace; None: the host's
    ipc: str | None = None
    pid: str | None = None
    mounts: Sequence[Json] = ()  # volumes, memory file systems, /etc/hosts …, in OCI form
    shm: str | None = None  # a shared /dev/shm of another container; None: one's own
    host_has_mqueue: bool = True
    init_path: str = ""  # of tini or catatonit on the host, for --init
    allowed_capabilities: int = (1 << 41) - 1
    allowed_limits: Mapping[str, int] = field(default_factory=dict)  # hard limits of ours, if we may not raise them
    oom_score_floor: int | None = None  # lower scores need CAP_SYS_RESOURCE; None: any score may be set


def build_spec(config: Json, host_config: Json, user: User, place: Place, arguments: Sequence[str]) -> Json:
    """`arguments`: entrypoint and command, one list. Everything but `linux.seccomp`: see `add_seccomp`.

    Raises InvalidParameter for what cannot be: unknown capabilities, devices that are not there.
    """
    privileged = bool(host_config.get("Privileged"))
    held = capabilities.effective(host_config, place.allowed_capabilities)
    nodes, device_rules = devices.plan(host_config)
    limits = resources.oci_resources(host_config)
    limits["devices"] = device_rules
    linux: Json = {
        "namespaces": namespaces(host_config, place),
        "resources": limits,
        "cgroupsPath": place.cgroup_path,
        "devices": nodes,
    }
    masked, read_only = host_config.get("MaskedPaths"), host_config.get("ReadonlyPaths")
    if not privileged or masked is not None:
        linux["maskedPaths"] = list(MASKED if masked is None else masked)
    if not privileged or read_only is not None:
        linux["readonlyPaths"] = list(READ_ONLY if read_only is None else read_only)
    if sysctls := sysctls_of(host_config, place):
        linux["sysctl"] = sysctls
    spec: Json = {
        "ociVersion": "1.0.2",
        "hostname": place.hostname,
        "root": {"path": place.root, "readonly": bool(host_config.get("ReadonlyRootfs"))},
        "process": process_of(config, host_config, user, place, arguments, held),
        "mounts": all_mounts(host_config, place),
        "linux": linux,
        "annotations": dict(host_config.get("Annotations") or {}),
    }
    if host_config.get("UTSMode") == "host":
        del spec["hostname"]
    elif config.get("Domainname"):
        spec["domainname"] = config["Domainname"]
    return spec


def process_of(
    config: Json, host_config: Json, user: User, place: Place, arguments: Sequence[str], held: frozenset[str]
) -> Json:
    """`process` of the container itself."""
    made: Json = {
        "terminal": bool(config.get("Tty")),
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids), "umask": 0o022},
        "args": [INIT_INSIDE, "--", *arguments] if place.init_path else list(arguments),
        "env": environment(config, user, place.hostname),
        "cwd": config.get("WorkingDir") or "/",
        "capabilities": capabilities.spec_of(held, user.is_root),
        "noNewPrivileges": no_new_privileges(host_config),
        "rlimits": rlimits(host_config, place.allowed_limits),
    }
    height, width = host_config.get("ConsoleSize") or (0, 0)
    if made["terminal"] and height and width:
        made["consoleSize"] = {"height": height, "width": width}
    if (score := host_config.get("OomScoreAdj")) is not None and score != 0:
        made["oomScoreAdj"] = score if place.oom_score_floor is None else max(score, place.oom_score_floor)
    return made


def exec_process(container: Json, given: Json, user: User | None, host_config: Json, allowed: int) -> Json:
    """`process` of an exec, from the container's spec and Docker's ExecConfig.

    `user` is None where the exec names none: then it is the container's.
    """
    base = container["process"]
    made = {key: value for key, value in base.items() if key not in ("consoleSize", "oomScoreAdj")}
    made["terminal"] = bool(given.get("Tty"))
    made["args"] = list(given.get("Cmd") or [])
    env = dict(entry.partition("=")[::2] for entry in base["env"])
    if not made["terminal"]:
        env.pop("TERM", None)
    else:
        env.setdefault("TERM", "xterm")
    if user is not None:
        made["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids), "umask": 0o022}
        env["HOME"] = user.home
    env.update(entry.partition("=")[::2] for entry in given.get("Env") or [])
    made["env"] = [f"{key}={value}" for key, value in env.items()]
    if given.get("WorkingDir"):
        made["cwd"] = given["WorkingDir"]
    held = capabilities.effective({"Privileged": True} if given.get("Privileged") else host_config, allowed)
    made["capabilities"] = capabilities.spec_of(held, made["user"]["uid"] == 0)
    height, width = given.get("ConsoleSize") or (0, 0)
    if made["terminal"] and height and width:
        made["consoleSize"] = {"height": height, "width": width}
    return made


def environment(config: Json, user: User, hostname: str) -> list[str]:
    """The daemon's variables first, so that the container's own win; each once."""
    made = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": hostname}
    if config.get("Tty"):
        made["TERM"] = "xterm"
    for entry in config.get("Env") or []:
        key, separator, value = entry.partition("=")
        if separator:
            made[key] = value
        else:
            made.pop(key, None)  # `-e NAME` alone, of a variable that the client does not have
    made.setdefault("HOME", user.home)
    return [f"{key}={value}" for key, value in made.items()]


def no_new_privileges(host_config: Json) -> bool:
    for option in host_config.get("SecurityOpt") or []:
        if option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"):
            return True
    return False


def seccomp_option(host_config: Json) -> str | None:
    """The client's profile as text, "" for the default one, None for `unconfined` and for privileged containers."""
    for option in host_config.get("SecurityOpt") or []:
        for separator in ("=", ":"):
            if option.startswith(f"seccomp{separator}"):
                chosen = str(option[len("seccomp") + 1 :])
                return None if chosen == "unconfined" else "" if chosen == "builtin" else chosen
    return None if host_config.get("Privileged") else ""


def add_seccomp(spec: Json, host_config: Json, filters: "seccomp.Filters", allowed: int, compiled: bool) -> None:
    """The filter, in the quickest form that the runtime takes: `compiled` for crun."""
    option = seccomp_option(host_config)
    if option is None:
        return
    oci = filters.resolved(option, capabilities.effective(host_config, allowed))
    program = filters.compiled(oci) if compiled else None
    if program is None:
        spec["linux"]["seccomp"] = oci
    else:
        spec["annotations"][seccomp.ANNOTATION] = program


def rlimits(host_config: Json, allowed: Mapping[str, int]) -> list[Json]:
    """--ulimit, no higher than what we may give: a runtime that asks for more fails."""
    made = []
    for limit in host_config.get("Ulimits") or []:
        name = limit["Name"].lower()
        soft, hard = limit.get("Soft", 0), limit.get("Hard", 0)
        ceiling = allowed.get(name)
        if ceiling is not None:
            hard = ceiling if hard < 0 else min(hard, ceiling)
            soft = hard if soft < 0 else min(soft, hard)
        infinity = (1 << 64) - 1
        made.append(
            {
                "type": f"RLIMIT_{name.upper()}",
                "soft": infinity if soft < 0 else soft,
                "hard": infinity if hard < 0 else hard,
            }
        )
    return made


def host_limits(held: int) -> dict[str, int]:
    """Our hard limits by --ulimit's names; empty if `held` has CAP_SYS_RESOURCE, which may raise any limit."""
    if held >> capabilities.NAMES.index("SYS_RESOURCE") & 1:
        return {}
    found = {}
    for constant in dir(resource):
        if constant.startswith("RLIMIT_"):
            hard = resource.getrlimit(getattr(resource, constant))[1]
            if hard != resource.RLIM_INFINITY:
                found[constant.removeprefix("RLIMIT_").lower()] = hard
    return found


def oom_score_floor(held: int) -> int | None:
    """The lowest score we may give: our own, unless `held` has CAP_SYS_RESOURCE (proc(5), oom_score_adj)."""
    if held >> capabilities.NAMES.index("SYS_RESOURCE") & 1:
        return None
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())


def namespaces(host_config: Json, place: Place) -> list[Json]:
    """`linux.namespaces`. A namespace that is not in the list is the host's (or the shim's, which are the same)."""
    made: list[Json] = [{"type": "mount"}]
    if place.network is not None:
        made.append({"type": "network", "path": place.network})
    if host_config.get("UTSMode") != "host":
        made.append({"type": "uts"})
    if host_config.get("IpcMode") != "host":
        made.append({"type": "ipc", "path": place.ipc} if place.ipc else {"type": "ipc"})
    if host_config.get("PidMode") != "host":
        made.append({"type": "pid", "path": place.pid} if place.pid else {"type": "pid"})
    if has_private_cgroup_namespace(host_config, place.cgroup_version):
        made.append({"type": "cgroup"})
    return made


def has_private_cgroup_namespace(host_config: Json, cgroup_version: int) -> bool:
    """Docker's default: private with version 2, the host's with version 1 and for privileged containers."""
    mode = host_config.get("CgroupnsMode") or ""
    if not mode:
        return cgroup_version == 2 and not host_config.get("Privileged")
    return bool(mode == "private")


def sysctls_of(host_config: Json, place: Place) -> dict[str, str]:
    made: dict[str, str] = {}
    own_network = place.network is not None and not str(host_config.get("NetworkMode", "")).startswith("container:")
    if own_network:
        made["net.ipv4.ip_unprivileged_port_start"] = "0"
        made["net.ipv4.ping_group_range"] = "0 2147483647"
    made.update(host_config.get("Sysctls") or {})
    return made


def all_mounts(host_config: Json, place: Place) -> list[Json]:
    """The kernel's file systems, then what the caller gives, by depth: a later one may lie in an earlier one."""
    privileged = bool(host_config.get("Privileged"))
    given = [dict(mount) for mount in place.mounts]
    if place.init_path:
        given.append(
            {
                "destination": INIT_INSIDE,
                "type": "bind",
                "source": place.init_path,
                "options": ["bind", "ro", "rprivate"],
            }
        )
    covered = {mount["destination"].rstrip("/") or "/" for mount in given}
    standard = _standard_mounts(host_config, place, privileged)
    given.sort(key=lambda mount: mount["destination"].rstrip("/").count("/"))
    return [mount for mount in standard if mount["destination"] not in covered] + given


def _standard_mounts(host_config: Json, place: Place, privileged: bool) -> list[Json]:
    sys_mode = "rw" if privileged else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    made: list[Json] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, sys_mode]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*quiet, sys_mode, "relatime"],
        },
    ]
    if host_config.get("IpcMode") == "host" and place.host_has_mqueue:
        made.append(_bind("/dev/mqueue", "/dev/mqueue"))
    else:
        made.append({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet})
    if (shm := _shm(host_config, place)) is not None:
        made.append(shm)
    return made


def _shm(host_config: Json, place: Place) -> Json | None:
    mode = host_config.get("IpcMode") or ""
    if mode == "none":
        return None
    if place.shm is not None:
        return _bind("/dev/shm", place.shm)
    if mode == "host":
        return _bind("/dev/shm", "/dev/shm")
    size = host_config.get("ShmSize") or DEFAULT_SHM_BYTES
    return {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"],
    }


def _bind(destination: str, source: str, *more: str) -> Json:
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", *more]}
