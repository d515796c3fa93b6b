"""A container's capabilities: Docker's fourteen, --cap-add, --cap-drop, --privileged, cut to what the host has.

The intersection with the daemon's own bounding set is what lets `--privileged` work where the machine itself lacks a
capability: a runtime that asks for more than there is fails. Numbers: linux/capability.h.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from riverport.engine.errors import InvalidParameter

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By number."""

DEFAULT = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
})  # fmt: skip

_ALL = "ALL"


def effective(host_config: Mapping[str, object], allowed: int) -> frozenset[str]:
    """Names without CAP_; `allowed` is a mask of what the host has. Raises InvalidParameter for unknown names."""
    added = _normalised(host_config.get("CapAdd"), "CapAdd")
    dropped = _normalised(host_config.get("CapDrop"), "CapDrop")
    every = frozenset(NAMES)
    if host_config.get("Privileged"):
        wanted = every
    else:
        # ALL on either side is the base that the other side's single names change.
        base = every if _ALL in added else frozenset() if _ALL in dropped else DEFAULT
        wanted = (base | (added - {_ALL})) - (dropped - {_ALL})
    return frozenset(name for name in wanted if allowed >> NAMES.index(name) & 1)


def spec_of(names: frozenset[str], is_root: bool) -> dict[str, list[str]]:
    """`process.capabilities`. A user other than root has them in the bounding set only: execve gives it none."""
    listed = [f"CAP_{name}" for name in NAMES if name in names]
    return {"bounding": listed, "effective": listed if is_root else [], "permitted": listed if is_root else []}


@cache
def host_mask() -> int:
    """The daemon's bounding set."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    return 0


def _normalised(given: object, field: str) -> frozenset[str]:
    names: Sequence[str] = given if isinstance(given, list) else []
    made = {name.upper().removeprefix("CAP_") for name in names}
    for name in made - {_ALL}:
        if name not in NAMES:
            raise InvalidParameter(f'invalid {field}: unknown capability: "CAP_{name}"')
    return frozenset(made)
