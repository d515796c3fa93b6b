"""The machine as `docker info` and `docker version` describe it."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}


@dataclass(slots=True, frozen=True)
class Host:
    """What does not change while the daemon runs. `machine` is uname's word, `architecture` Go's for it."""

    name: str
    kernel: str
    operating_system: str
    os_version: str
    machine: str
    architecture: str
    cpus: int
    memory_bytes: int


@cache
def host() -> Host:
    system = os.uname()
    release = _os_release()
    return Host(
        name=system.nodename,
        kernel=system.release,
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        machine=system.machine,
        architecture=_ARCHITECTURES.get(system.machine, system.machine),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_on(setting: str) -> bool:
    """A kernel setting by its path below /proc/sys; one that this kernel has not is off."""
    try:
        return Path("/proc/sys", setting).read_text().strip() == "1"
    except OSError:
        return False


def backing_filesystem(path: Path) -> str:
    """The file system below a path, by Docker's name for it ("extfs" is any of ext2, 3 and 4)."""
    best, kind = "", "unknown"
    target = str(path.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, found, *_ = line.split(" ")
        inside = target == mountpoint or target.startswith(mountpoint.rstrip("/") + "/")
        if inside and len(mountpoint) >= len(best):
            best, kind = mountpoint, found
    return "extfs" if kind.startswith("ext") else kind
