"""Threads of one transfer: its own, so that a registry that hangs keeps no other transfer waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

from riverport.engine.storage.threads import to_its_end

P = ParamSpec("P")
R = TypeVar("R")


class Workers:
    """`abort` is called when a transfer is given up, and makes the threads stop soon."""

    def __init__(self, name: str, at_once: int) -> None:
        """`at_once` layers are moved at the same time."""
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._aborts: list[Callable[[], None]] = []
        self._given_up = 0  # calls of `run` that were cancelled and wait for their thread

    async def __aenter__(self) -> "Workers":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def on_abort(self, abort: Callable[[], None]) -> None:
        """From any thread, before there is anything to wait for."""
        self._aborts.append(abort)
        if self._given_up:
            abort()

    def abort(self) -> None:
        for abort in list(self._aborts):
            abort()

    async def run(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """The function's result. Cancelled, it returns only once the thread has: its files are then nobody's."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*arguments, **named))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._given_up += 1
            self.abort()
            try:
                with suppress(Exception):
                    await to_its_end(future)
            finally:
                self._given_up -= 1
            raise


async def all_or_none(tasks: "list[asyncio.Task[R]]") -> list[R]:
    """All results; where one fails the others are cancelled and waited for, and the first failure is raised."""
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((task for task in tasks if task.done() and not task.cancelled() and task.exception()), None)
        if failed is not None:
            failed.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
