"""Changing the limits of a container that is there: `docker update` (pure but for the runtime's part)."""

from collections.abc import Mapping
from typing import Any

from riverport.engine.containers import checks
from riverport.engine.containers.fields import OBJECT as OBJECT_KIND
from riverport.engine.containers.fields import RESOURCES, Field, Table
from riverport.engine.errors import Conflict

Json = dict[str, Any]

UPDATE = Table("UpdateConfig", *RESOURCES, Field("RestartPolicy", OBJECT_KIND))
_CHANGEABLE = (
    "BlkioWeight", "CpuShares", "NanoCpus", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "Memory", "MemorySwap",
    "MemoryReservation", "KernelMemory", "CpuRealtimePeriod", "CpuRealtimeRuntime", "PidsLimit",
)  # fmt: skip


def plan_update(
    host_config: Mapping[str, Any], body: Mapping[str, Any], machine: checks.Machine, version: tuple[int, int]
) -> tuple[Json, Json | None, list[str]]:
    """(limits that change, the new restart policy if one was given, warnings). A zero leaves a limit as it is."""
    given = UPDATE.read(body)
    policy = given.pop("RestartPolicy")
    if policy is not None:
        policy = {"Name": policy.get("Name") or "", "MaximumRetryCount": policy.get("MaximumRetryCount") or 0}
        if policy["Name"]:
            checks.check_restart_policy(policy)
    if version < (1, 40):
        given["PidsLimit"] = None
    if given["PidsLimit"] is not None and given["PidsLimit"] < 0:
        given["PidsLimit"] = 0
    warnings = checks.check_resources(given, machine, update=True)
    changes = {name: given[name] for name in _CHANGEABLE if given[name] or (name == "PidsLimit" and given[name] == 0)}
    _check_against(host_config, changes, given)
    if policy is None or not policy["Name"]:
        return changes, None, warnings
    if host_config["AutoRemove"] and policy["Name"] != "no":
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    return changes, policy, warnings


def _check_against(host_config: Mapping[str, Any], changes: Json, given: Mapping[str, Any]) -> None:
    """What fits by itself may not fit what is set already."""
    for new, old, text in (
        ("CpuPeriod", "NanoCpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
        ("CpuQuota", "NanoCpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ("NanoCpus", "CpuPeriod", "Nano CPUs cannot be updated as CPU Period has already been set"),
        ("NanoCpus", "CpuQuota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ):
        if changes.get(new) and host_config[old] and not given[old]:
            raise Conflict(f"Conflicting options: {text}")
    memory, swap = changes.get("Memory", 0), host_config["MemorySwap"]
    if memory and "MemorySwap" not in changes and 0 < swap < memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
