"""What a container uses, from control group files of version 1 or 2 and /proc, in the shape of Docker's /stats.

A file that is missing (a controller that is not there, a container that has just ended) reads as zero: the client polls
and does not expect an error.
"""

import os
import time
from typing import Any

from riverport.engine.linux.cgroups import Layout
from riverport.engine.linux.cgroups import read as _read
from riverport.engine.runtime.logs import rfc3339_nano

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED_V1 = 1 << 62  # "no limit" is the largest multiple of the page size
_CONTROLLERS = ("cpuacct", "cpu", "memory", "blkio", "pids")
_NETWORK_FIELDS = ("bytes", "packets", "errors", "dropped")
_BLKIO_V1 = {
    "io_service_bytes_recursive": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"),
    "io_serviced_recursive": ("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"),
}
_BLKIO_EMPTY = ("io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
                "io_time_recursive", "sectors_recursive")  # fmt: skip


def read(layout: Layout, path: str, network_process: int | None, proc: str = "/proc") -> dict[str, Any]:
    """`network_process`: a process in the container's network namespace, None where the network is the host's."""
    made: dict[str, Any] = {"read": rfc3339_nano(time.time_ns()), "num_procs": 0}
    if layout.version == 1:
        made |= _version_1({name: layout.directory(name, path) or "" for name in _CONTROLLERS})
    else:
        made |= _version_2(layout.directory("", path) or "")
    made["cpu_stats"] |= {"system_cpu_usage": _system_cpu(proc), "online_cpus": os.cpu_count() or 1}
    total = _memory_total(proc)
    made["memory_stats"]["limit"] = min(made["memory_stats"].get("limit") or total, total)
    if network_process is not None:
        made["networks"] = _networks(_read(f"{proc}/{network_process}/net/dev") or "")
    return made


def _version_1(at: dict[str, str]) -> dict[str, Any]:
    throttled = _table(f"{at['cpu']}/cpu.stat")
    modes = _table(f"{at['cpuacct']}/cpuacct.stat")
    limit = _number(f"{at['memory']}/memory.limit_in_bytes")
    return {
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": _number(f"{at['cpuacct']}/cpuacct.usage"),
                "percpu_usage": [int(word) for word in (_read(f"{at['cpuacct']}/cpuacct.usage_percpu") or "").split()],
                "usage_in_kernelmode": modes.get("system", 0) * _NS_PER_TICK,
                "usage_in_usermode": modes.get("user", 0) * _NS_PER_TICK,
            },
            "throttling_data": {
                "periods": throttled.get("nr_periods", 0),
                "throttled_periods": throttled.get("nr_throttled", 0),
                "throttled_time": throttled.get("throttled_time", 0),
            },
        },
        "memory_stats": {
            "usage": _number(f"{at['memory']}/memory.usage_in_bytes"),
            "max_usage": _number(f"{at['memory']}/memory.max_usage_in_bytes"),
            "failcnt": _number(f"{at['memory']}/memory.failcnt"),
            "stats": _table(f"{at['memory']}/memory.stat"),
            "limit": 0 if limit >= _UNLIMITED_V1 else limit,
        },
        "blkio_stats": _blkio_version_1(at["blkio"]),
        "pids_stats": _pids(at["pids"]),
    }


def _version_2(directory: str) -> dict[str, Any]:
    cpu = _table(f"{directory}/cpu.stat")
    return {
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": cpu.get("usage_usec", 0) * 1000,
                "usage_in_kernelmode": cpu.get("system_usec", 0) * 1000,
                "usage_in_usermode": cpu.get("user_usec", 0) * 1000,
            },
            "throttling_data": {
                "periods": cpu.get("nr_periods", 0),
                "throttled_periods": cpu.get("nr_throttled", 0),
                "throttled_time": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "memory_stats": {
            "usage": _number(f"{directory}/memory.current"),
            "stats": _table(f"{directory}/memory.stat"),
            "limit": _number(f"{directory}/memory.max"),
        },
        "blkio_stats": _blkio_version_2(directory),
        "pids_stats": _pids(directory),
    }


def _pids(directory: str) -> dict[str, int]:
    made = {"current": _number(f"{directory}/pids.current")}
    if limit := _number(f"{directory}/pids.max"):  # "max" reads as 0, and Docker leaves it out
        made["limit"] = limit
    return made


def _blkio_version_1(directory: str) -> dict[str, Any]:
    made: dict[str, Any] = dict.fromkeys(_BLKIO_EMPTY)
    for name, files in _BLKIO_V1.items():
        text = next((found for file in files if (found := _read(f"{directory}/{file}")) is not None), None)
        entries = []
        for words in (line.split() for line in (text or "").splitlines()):
            if len(words) == 3:  # "8:0 Read 4096"; the last line is a total without a device
                major, minor = words[0].split(":")
                entries.append({"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])})
        made[name] = None if text is None else entries
    return made


def _blkio_version_2(directory: str) -> dict[str, Any]:
    made: dict[str, Any] = {**dict.fromkeys(_BLKIO_EMPTY), **dict.fromkeys(_BLKIO_V1)}
    text = _read(f"{directory}/io.stat")
    if text is None:
        return made
    bytes_: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for device, *pairs in (line.split() for line in text.splitlines() if line.strip()):
        major, _, minor = device.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs)
        for target, keys in ((bytes_, ("rbytes", "wbytes")), (operations, ("rios", "wios"))):
            for op, key in zip(("read", "write"), keys, strict=True):
                if key in values:
                    target.append({"major": int(major), "minor": int(minor), "op": op, "value": int(values[key])})
    made["io_service_bytes_recursive"], made["io_serviced_recursive"] = bytes_, operations
    return made


def _networks(text: str) -> dict[str, dict[str, int]]:
    """/proc/net/dev: two lines of titles, then 8 columns received and 8 sent."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        words = counters.split()
        if name.strip() == "lo" or len(words) < 16:
            continue
        received = dict(zip((f"rx_{field}" for field in _NETWORK_FIELDS), map(int, words[:4]), strict=True))
        sent = dict(zip((f"tx_{field}" for field in _NETWORK_FIELDS), map(int, words[8:12]), strict=True))
        found[name.strip()] = received | sent
    return found


def _system_cpu(proc: str) -> int:
    """Nanoseconds of all CPUs since boot, idle included: the first line's user … steal."""
    first = (_read(f"{proc}/stat") or "cpu 0").splitlines()[0].split()
    return sum(map(int, first[1:9])) * _NS_PER_TICK


def _memory_total(proc: str) -> int:
    for line in (_read(f"{proc}/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _table(path: str) -> dict[str, int]:
    made = {}
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal():
            made[key] = int(value)
    return made


def _number(path: str) -> int:
    text = (_read(path) or "").strip()
    return int(text) if text.isdecimal() else 0
