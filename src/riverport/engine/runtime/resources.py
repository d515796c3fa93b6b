"""Limits: from Docker's HostConfig to an OCI spec at the start, and to control group files for an update.

Both are pure; `apply` writes. Version 2 files and the conversions are those of cgroup-v2.rst and of the OCI runtime
spec's "config-linux.md"; memory and swap are one sum in Docker and version 1, two numbers in version 2.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from riverport.engine.errors import InvalidParameter, SystemFailure
from riverport.engine.linux.cgroups import Layout

CPU_PERIOD_US = 100_000
_THROTTLES = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}
UPDATABLE = frozenset({
    "Memory", "MemorySwap", "MemoryReservation", "CpuShares", "CpuPeriod", "CpuQuota", "NanoCpus", "CpusetCpus",
    "CpusetMems", "CpuRealtimePeriod", "CpuRealtimeRuntime", "PidsLimit", "BlkioWeight",
})  # fmt: skip


def device_number(path: str) -> tuple[int, int]:
    """(major, minor) of a device node on the host. Raises InvalidParameter."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidParameter(f"error gathering device information: {path}: {error.strerror}") from error
    if not (stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        raise InvalidParameter(f"{path} is not a device node")
    return os.major(found.st_rdev), os.minor(found.st_rdev)


def oci_resources(
    host_config: dict[str, Any], number_of: Callable[[str], tuple[int, int]] = device_number
) -> dict[str, Any]:
    """`linux.resources` without `devices`. 0 and None mean "no limit" in a HostConfig, -1 "explicitly none"."""
    made: dict[str, Any] = {}
    if memory := _memory(host_config):
        made["memory"] = memory
    if cpu := _cpu(host_config):
        made["cpu"] = cpu
    if pids := host_config.get("PidsLimit"):
        made["pids"] = {"limit": pids if pids > 0 else -1}
    if block := _block_io(host_config, number_of):
        made["blockIO"] = block
    return made


def memory_and_swap(host_config: dict[str, Any]) -> int:
    """The sum's limit in bytes: -1 for none, 0 where Docker sets nothing. Twice the memory unless given."""
    memory, both = host_config.get("Memory") or 0, host_config.get("MemorySwap") or 0
    return both if both or memory <= 0 else 2 * memory


def cpu_quota_and_period(host_config: dict[str, Any]) -> tuple[int, int]:
    """In microseconds, 0 for "not given"; `--cpus` is a quota per 100 ms."""
    if nano := host_config.get("NanoCpus"):
        return nano * CPU_PERIOD_US // 1_000_000_000, CPU_PERIOD_US
    return host_config.get("CpuQuota") or 0, host_config.get("CpuPeriod") or 0


def weight_of_shares(shares: int) -> int:
    """cpu.weight for CPU shares: 2…262144 → 1…10000 (KEP-2254's formula, as runc and crun have it)."""
    return 1 + (max(2, min(shares, 262144)) - 2) * 9999 // 262142


@dataclass(frozen=True, slots=True)
class Write:
    controller: str
    file: str
    value: str
    instead: "Write | None" = None
    """Of the same meaning, where the group has no such file."""


def plan_update(version: int, changes: dict[str, Any]) -> list[Write]:
    """The writes for the HostConfig keys present in `changes`; keys that are no limits are ignored."""
    given = {key: value for key, value in changes.items() if key in UPDATABLE and value not in (None, 0, "")}
    if changes.get("PidsLimit") == 0:  # takes a limit away, where a zero of the others leaves it
        given["PidsLimit"] = -1
    return _plan_version_1(given) if version == 1 else _plan_version_2(given)


def io_weight_of(weight: int) -> int:
    """io.weight for a BFQ weight: 10…1000 → 1…10000, as runc has it."""
    return 1 + (max(10, min(weight, 1000)) - 10) * 9999 // 990


def split_weights(layout: Layout, limits: dict[str, Any]) -> tuple[dict[str, Any], list[Write]]:
    """(limits for the OCI runtime, what is to be written by us before the start).

    Since Linux 5.0 the weights of version 1 belong to the BFQ scheduler and its files are named after it, which crun
    1.8 and runc 1.1 do not know. A kernel without that scheduler has neither, and Docker then drops the weight.
    """
    block = limits.get("blockIO") or {}
    if layout.version != 1 or not ({"weight", "weightDevice"} & set(block)):
        return limits, []
    writes = []
    if "weight" in block:
        writes.append(Write("blkio", "blkio.bfq.weight", str(block["weight"])))
    for device in block.get("weightDevice", []):
        value = f"{device['major']}:{device['minor']} {device['weight']}"
        writes.append(Write("blkio", "blkio.bfq.weight_device", value))
    rest = {key: value for key, value in block.items() if key not in ("weight", "weightDevice")}
    return {**limits, "blockIO": rest}, writes


def apply_weights(layout: Layout, path: str, writes: list[Write]) -> None:
    """What `split_weights` gave, into a group that is made for it: the files are in no hierarchy's top."""
    for write in writes:
        directory = layout.directory(write.controller, path)
        if directory is None:
            continue
        os.makedirs(directory, exist_ok=True)
        if os.path.exists(f"{directory}/{write.file}"):
            apply(layout, path, [write])


def apply(layout: Layout, path: str, writes: list[Write]) -> None:
    """Write, in whatever order the kernel takes: a memory limit may not pass the sum's, up or down.

    Raises SystemFailure naming the file that would not take its value.
    """
    waiting = list(writes)
    while waiting:
        refused: list[tuple[Write, OSError]] = []
        for write in waiting:
            directory = layout.directory(write.controller, path)
            try:
                if directory is None:
                    raise OSError(0, f"the {write.controller} controller is not there")
                if write.instead is not None and not os.path.exists(f"{directory}/{write.file}"):
                    write = write.instead
                _write_existing(f"{directory}/{write.file}", write.value)
            except OSError as error:
                refused.append((write, error))
        if len(refused) == len(waiting):
            first, cause = refused[0]
            raise SystemFailure(f"failed to write {first.value!r} to {first.file!r}: {cause.strerror}")
        waiting = [write for write, _ in refused]


def _write_existing(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _plan_version_1(given: dict[str, Any]) -> list[Write]:
    writes = [
        Write(controller, file, str(given[key]))
        for key, controller, file in (
            ("Memory", "memory", "memory.limit_in_bytes"),
            ("MemoryReservation", "memory", "memory.soft_limit_in_bytes"),
            ("CpuShares", "cpu", "cpu.shares"),
            ("CpuRealtimePeriod", "cpu", "cpu.rt_period_us"),
            ("CpuRealtimeRuntime", "cpu", "cpu.rt_runtime_us"),
            ("CpusetCpus", "cpuset", "cpuset.cpus"),
            ("CpusetMems", "cpuset", "cpuset.mems"),
            ("BlkioWeight", "blkio", "blkio.bfq.weight"),
        )
        if key in given
    ]
    if both := memory_and_swap(given):
        writes.append(Write("memory", "memory.memsw.limit_in_bytes", str(both)))
    quota, period = cpu_quota_and_period(given)
    if period:
        writes.append(Write("cpu", "cpu.cfs_period_us", str(period)))
    if quota:
        writes.append(Write("cpu", "cpu.cfs_quota_us", str(quota)))
    if "PidsLimit" in given:
        writes.append(Write("pids", "pids.max", _or_max(given["PidsLimit"])))
    return writes


def _plan_version_2(given: dict[str, Any]) -> list[Write]:
    writes = [
        Write(controller, file, value)
        for key, controller, file, value in (
            ("Memory", "memory", "memory.max", _or_max(given.get("Memory", 0))),
            ("MemoryReservation", "memory", "memory.low", str(given.get("MemoryReservation"))),
            ("CpuShares", "cpu", "cpu.weight", str(weight_of_shares(given.get("CpuShares", 0)))),
            ("CpusetCpus", "cpuset", "cpuset.cpus", str(given.get("CpusetCpus"))),
            ("CpusetMems", "cpuset", "cpuset.mems", str(given.get("CpusetMems"))),
            ("PidsLimit", "pids", "pids.max", _or_max(given.get("PidsLimit", 0))),
        )
        if key in given
    ]
    if weight := given.get("BlkioWeight"):
        # BFQ's own file if that scheduler is there, else that of the controller "iocost".
        writes.append(Write("io", "io.bfq.weight", str(weight), Write("io", "io.weight", str(io_weight_of(weight)))))
    both, memory = memory_and_swap(given), given.get("Memory", 0)
    if both:
        swap = -1 if both < 0 or memory <= 0 else both - memory
        writes.append(Write("memory", "memory.swap.max", _or_max(swap)))
    quota, period = cpu_quota_and_period(given)
    if quota or period:
        writes.append(Write("cpu", "cpu.max", f"{quota if quota > 0 else 'max'} {period or CPU_PERIOD_US}"))
    return writes


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(host_config: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if memory := host_config.get("Memory"):
        made["limit"] = memory
    if both := memory_and_swap(host_config):
        made["swap"] = both
    if reservation := host_config.get("MemoryReservation"):
        made["reservation"] = reservation
    swappiness = host_config.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0:
        made["swappiness"] = swappiness
    if host_config.get("OomKillDisable"):
        made["disableOOMKiller"] = True
    return made


def _cpu(host_config: dict[str, Any]) -> dict[str, Any]:
    quota, period = cpu_quota_and_period(host_config)
    values = {
        "shares": host_config.get("CpuShares"),
        "quota": quota,
        "period": period,
        "realtimeRuntime": host_config.get("CpuRealtimeRuntime"),
        "realtimePeriod": host_config.get("CpuRealtimePeriod"),
        "cpus": host_config.get("CpusetCpus"),
        "mems": host_config.get("CpusetMems"),
    }
    return {key: value for key, value in values.items() if value}


def _block_io(host_config: dict[str, Any], number_of: Callable[[str], tuple[int, int]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if weight := host_config.get("BlkioWeight"):
        made["weight"] = weight
    if devices := host_config.get("BlkioWeightDevice"):
        made["weightDevice"] = [{**_numbered(entry, number_of), "weight": entry["Weight"]} for entry in devices]
    for key, name in _THROTTLES.items():
        if devices := host_config.get(key):
            made[name] = [{**_numbered(entry, number_of), "rate": entry["Rate"]} for entry in devices]
    return made


def _numbered(entry: dict[str, Any], number_of: Callable[[str], tuple[int, int]]) -> dict[str, int]:
    major, minor = number_of(entry["Path"])
    return {"major": major, "minor": minor}
