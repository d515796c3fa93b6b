"""What `stats` answers: the runtime's measurement, and the one before it, as one document (pure but for waiting)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from riverport.engine.containers.container import Container
from riverport.engine.containers.times import ZERO
from riverport.engine.errors import EngineError

Json = dict[str, Any]

INTERVAL_S = 1.0
_NO_CPU: Json = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}
NOTHING: Json = {
    "read": ZERO, "pids_stats": {}, "blkio_stats": {
        "io_service_bytes_recursive": None, "io_serviced_recursive": None, "io_queue_recursive": None,
        "io_service_time_recursive": None, "io_wait_time_recursive": None, "io_merged_recursive": None,
        "io_time_recursive": None, "sectors_recursive": None},
    "num_procs": 0, "storage_stats": {}, "cpu_stats": _NO_CPU, "memory_stats": {},
}  # fmt: skip
"""Of a container that does not run."""


def document(container: Container, now: Json, before: Json | None) -> Json:
    """`before` is the measurement a second ago; without it clients cannot tell a rate."""
    return {
        **now,
        "storage_stats": now.get("storage_stats") or {},
        "preread": before["read"] if before else ZERO,
        "precpu_stats": before["cpu_stats"] if before else _NO_CPU,
        "name": f"/{container.name}",
        "id": container.id,
    }


async def measure(container: Container) -> Json:
    """One measurement; of what does not run, nothing."""
    shim = container.shim
    if shim is None or not container.state.running:
        return NOTHING
    try:
        return await shim.stats()
    except (EngineError, OSError):
        return NOTHING


async def once(container: Container, *, with_rate: bool) -> Json:
    before = await measure(container)
    if not with_rate or before is NOTHING:
        return document(container, before, None)
    await asyncio.sleep(INTERVAL_S)
    return document(container, await measure(container), before)


async def stream(container: Container) -> AsyncIterator[Json]:
    """One a second, the first at once; ends when the container is removed."""
    before: Json | None = None
    while not container.state.dead:
        now = await measure(container)
        yield document(container, now, before)
        before = now if now is not NOTHING else None
        await asyncio.sleep(INTERVAL_S)
