"""Group commit: what `flush.messages`, `flush.ms` and metadata ask to be on the disk, synced off the event loop.

One round syncs the logs of everyone who asked while the round before was running, so that many producers share one
fdatasync per file, and many partitions one trip to a thread. A failed sync fails everyone who waited for that log: what
was not written must not be acknowledged, and a page that failed to sync once may look clean the next time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from riverport.base.logging import get_logger

log = get_logger(__name__)


class Flusher:
    """Syncs logs in rounds. `flush` may be called from the loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor, failed: Callable[[Any, Exception], None]):
        """`failed(log, error)` is told on the loop about a log that could not be synced."""
        self._loop = loop
        self._executor = executor
        self._failed = failed
        self._waiting: dict[Any, list[asyncio.Future[None]]] = {}
        self._running = False
        self._round: asyncio.Future[Any] | None = None  # on its way to the disk
        self._closed = False

    def flush(self, log_: Any) -> "asyncio.Future[None]":
        """A future that is done once everything now in the log is on the disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(log_, []).append(future)
        if not self._running:
            self._running = True
            self._loop.call_soon(self._start_round)
        return future

    async def close(self) -> None:
        """Begin no further round, and wait for the one that runs: logs sync what is left when they are closed.

        Who waits for the rest is not told anything: the node stops, and has not promised it.
        """
        self._closed = True
        if self._round is not None:
            await asyncio.wait([self._round])

    def _start_round(self) -> None:
        if self._closed:
            return
        waiting, self._waiting = self._waiting, {}
        jobs = [(log_, log_.flush_job()) for log_ in waiting]
        done = self._round = self._loop.run_in_executor(self._executor, _run, [job for _, job in jobs])
        done.add_done_callback(lambda errors: self._finish_round(waiting, jobs, errors.result()))

    def _finish_round(
        self,
        waiting: dict[Any, list["asyncio.Future[None]"]],
        jobs: list[tuple[Any, Any]],
        errors: list[Exception | None],
    ) -> None:
        for (log_, job), error in zip(jobs, errors, strict=True):
            if error is None:
                job.finish()
            else:
                self._failed(log_, error)
            for future in waiting[log_]:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        if self._waiting:
            self._start_round()
        else:
            self._running = False


def _run(jobs: list[Any]) -> list[Exception | None]:
    errors: list[Exception | None] = []
    for job in jobs:
        try:
            job.run()
            errors.append(None)
        except Exception as error:
            errors.append(error)
    return errors
