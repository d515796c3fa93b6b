"""Fetches that wait for `fetch.min.bytes` or `fetch.max.wait.ms`, whichever comes first.

A waiting fetch hangs on every partition that it reads. An append tells the partition's waiters how many bytes came; who
has enough is answered on the loop's next turn, so that one burst of appends answers a consumer once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from riverport.kafka.replica.partition import Partition


class WaitingFetch:
    """One fetch request that has too little to answer with yet."""

    __slots__ = ("_answer", "_partitions", "_timer", "_waking", "future", "missing_bytes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        partitions: list[Partition],
        missing_bytes: int,
        max_wait_ms: int,
        answer: Callable[[], Any],
    ) -> None:
        """`answer` reads again and builds the response; it runs once, at the end of the wait."""
        self.future: asyncio.Future[Any] = loop.create_future()
        self.missing_bytes = missing_bytes
        self._answer = answer
        self._partitions = partitions
        self._waking = False
        self._timer = loop.call_later(max_wait_ms / 1000, self._finish)
        for partition in partitions:
            partition.waiters[self] = None

    def arrived(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        """`size` bytes were appended to one of the partitions (0: its state changed, look again)."""
        self.missing_bytes -= size
        if (self.missing_bytes <= 0 or size == 0) and not self._waking:
            self._waking = True
            loop.call_soon(self._finish)

    def _finish(self) -> None:
        if self.future.done():
            return
        self._timer.cancel()
        for partition in self._partitions:
            partition.waiters.pop(self, None)
        try:
            self.future.set_result(self._answer())
        except Exception as error:
            self.future.set_exception(error)


def wake(partition: Partition, size: int, loop: asyncio.AbstractEventLoop) -> None:
    """Tell a partition's waiters about `size` new bytes, or with 0 that its leader, log or existence changed."""
    for waiter in list(partition.waiters):
        waiter.arrived(size, loop)
