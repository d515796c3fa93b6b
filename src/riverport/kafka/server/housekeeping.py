"""What a broker does by the clock: retention, checkpoints, flushes by age, compaction, idle connections, expiry.

Each duty has its own interval from the settings. Decisions are made on the loop by the cores; what blocks comes back as
a job and runs on a thread, one at a time per duty, so that a slow disk delays the next round instead of piling rounds
up.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

from riverport.base.logging import get_logger

log = get_logger(__name__)


class Housekeeping:
    """Periodic duties on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
        self._loop = loop
        self._executor = executor
        self._tasks: list[asyncio.Task[None]] = []

    def every(
        self,
        name: str,
        interval_ms: Callable[[], int],
        duty: Callable[[], Iterable[Any] | None],
        *,
        first_ms: int | None = None,
    ) -> None:
        """Call `duty` each interval, the first time after `first_ms` if that is sooner.

        Jobs that it returns are run on a thread, one after the other.
        """
        self._tasks.append(self._loop.create_task(self._repeat(name, interval_ms, duty, first_ms)))

    async def _repeat(
        self,
        name: str,
        interval_ms: Callable[[], int],
        duty: Callable[[], Iterable[Any] | None],
        first_ms: int | None,
    ) -> None:
        rest_ms = interval_ms() if first_ms is None else min(first_ms, interval_ms())
        while True:
            await asyncio.sleep(rest_ms / 1000)
            try:
                for job in duty() or ():
                    await self.run(job)
            except Exception:
                log.exception("a periodic duty failed", duty=name)
            rest_ms = interval_ms()

    async def run(self, job: Any) -> None:
        """Run one job off the loop, then let it take its result on the loop."""
        await run_job(self._loop, self._executor, job)

    async def stop(self) -> None:
        """End every duty; a job that is running on a thread is waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


async def run_job(loop: asyncio.AbstractEventLoop, executor: Executor, job: Any) -> None:
    """Run a job on a thread, then let it take its result on the loop. Being cancelled waits for the thread."""
    running = loop.run_in_executor(executor, job.run)
    cancelled = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if (failure := running.exception()) is not None:
        job.fail(failure)
    else:
        job.finish()
    if cancelled is not None:
        raise cancelled
