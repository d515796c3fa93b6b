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

    __slots__ = ("_look", "_partitions", "_timer", "_waking", "future", "missing_bytes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        partitions: list[Partition],
        missing_bytes: int,
        max_wait_ms: int,
        look: Callable[[bool], Any],
    ) -> None:
        """`look` reads again: it gives the answer, or the bytes that are missing; with True the answer in any case."""
        self.future: asyncio.Future[Any] = loop.create_future()
        self.future.add_done_callback(self._over)  # also where its connection is lost, which cancels it
        self.missing_bytes = missing_bytes
        self._look = look
        self._partitions = partitions
        self._waking = False
        self._timer = loop.call_later(max_wait_ms / 1000, self._finish, True)
        for partition in partitions:
            partition.waiters[self] = None

    def arrived(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        """`size` bytes were appended to one of the partitions (0: its state changed, look again)."""
        self.missing_bytes -= size
        if (self.missing_bytes <= 0 or size == 0) and not self._waking:
            self._waking = True
            loop.call_soon(self._finish, False)

    def _finish(self, at_last: bool) -> None:
        if self.future.done():
            return
        self._waking = False
        try:
            found = self._look(at_last)
        except Exception as error:
            self.future.set_exception(error)
            return
        if isinstance(found, int):
            # What came may not be read yet, as records of an open transaction, or is more than one answer may hold.
            self.missing_bytes = found
        else:
            self.future.set_result(found)

    def _over(self, _: "asyncio.Future[Any]") -> None:
        self._timer.cancel()
        for partition in self._partitions:
            partition.waiters.pop(self, None)


def wake(partition: Partition, size: int, loop: asyncio.AbstractEventLoop) -> None:
    """Tell a partition's waiters about `size` new bytes, or with 0 that its leader, log or existence changed."""
    for waiter in list(partition.waiters):
        waiter.arrived(size, loop)
