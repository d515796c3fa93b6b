"""Tasks that nobody awaits: begun, left to themselves, and ended with what has begun them."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")


class Tasks:
    """The ones that are not done, in the order in which they began.

    asyncio itself refers to them weakly. A set would have the order of their addresses: what ends together would end in
    another order each time, and no simulated run could be repeated.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(list(self._tasks))

    def start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = (self._loop or asyncio.get_running_loop()).create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    async def cancel(self) -> None:
        """End them; returns once the last is done."""
        tasks = list(self)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
