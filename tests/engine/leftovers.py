"""What containers have left behind in the kernel, in words: processes, mounts, network namespaces, control groups.

Whoever kills a daemon, a zygote or a shim asks here afterwards. Everything is found by the two names that a test
chooses for its engine, a directory and a control group parent, so that engines of other tests do not count.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from riverport.engine.linux import cgroups


def leftovers(directory: Path, cgroup_parent: str, seconds: float = 10) -> list[str]:
    """What is there, or still there after `seconds`: the kernel takes namespaces back a moment after the last process.

    `directory`: whatever has it in its command line, or has mounts below it, counts.
    """
    return settled(lambda: now(directory, cgroup_parent), seconds)


def settled(look: Callable[[], list[str]], seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def now(directory: Path, cgroup_parent: str) -> list[str]:
    own = os.readlink("/proc/self/ns/net")
    found = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        command, mounts, network = (_command(pid), _text(pid, "mountinfo"), _link(pid, "ns/net"))
        if pid == os.getpid():
            continue
        below = [line.split()[4] for line in mounts.splitlines() if f" {directory}/" in line]
        if str(directory) in command:
            found.append(f"process {pid} ({command})" + (f" in {network}" if network not in ("", own) else ""))
        elif below:
            found.append(f"mounts of process {pid} ({command}): {', '.join(below)}")
    for group in groups(cgroup_parent):
        found.append(f"control group {group} with {cgroups.processes(str(group))}")
    return found


def groups(cgroup_parent: str) -> list[Path]:
    """Groups of containers below `cgroup_parent`, in every hierarchy."""
    parents = [Path(directory) for directory in cgroups.detect().directories(f"/{cgroup_parent.strip('/')}")]
    return [path for parent in parents if parent.is_dir() for path in parent.iterdir() if path.is_dir()]


def _command(pid: int) -> str:
    return _text(pid, "cmdline").replace("\0", " ").strip()


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended since
        return ""


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""
