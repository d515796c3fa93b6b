"""The machine that measured: described for the report, and made ready for a run."""

import mmap
import os
import platform
from pathlib import Path
from typing import Any

TOUCHED_SHARE = 0.6
TOUCHED_MOST = 8 << 30


def describe(data: Path) -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(_memory("MemTotal") / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(data),
        "load_before": round(os.getloadavg()[0], 2),
    }


def in_words(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['kernel']}, "
        f"{machine['file_system']}, Python {machine['python']}, load {machine['load_before']} before the run"
    )


def touch_memory() -> int:
    """Write to memory that is free and give it back; returns the bytes.

    A virtual machine gets its memory from its host page by page, when a page is first touched. That was measured to
    cost 4.5 ms for each MB written to a fresh file instead of 0.6, whoever of the two brokers happens to write it.
    """
    size = min(int(_memory("MemAvailable") * TOUCHED_SHARE), TOUCHED_MOST)
    page = mmap.PAGESIZE
    chunk = 64 << 20
    touched = []
    for _ in range(size // chunk):
        area = mmap.mmap(-1, chunk)
        area[::page] = b"\1" * (chunk // page)
        touched.append(area)
    for area in touched:
        area.close()
    return len(touched) * chunk


def _memory(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """The kind of file system that holds `path`: that of the longest mount point above it."""
    best, kind = "", "unknown"
    resolved = str(path.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, found, *_ = line.split()
        above = point == "/" or resolved == point or resolved.startswith(point + "/")
        if above and len(point) >= len(best):
            best, kind = point, found
    return kind
