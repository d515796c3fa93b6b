"""Requests that wait for something to happen to a partition, and what wakes them.

A consumer's fetch waits for `fetch.min.bytes` or `fetch.max.wait.ms`, whichever comes first. It hangs on every
partition that it reads. Whatever becomes readable tells the partition's waiters how many bytes came; who has enough is
answered on the loop's next turn, so that one burst of appends answers a consumer once.

    appended    a leader's log has grown: followers may fetch it, and consumers where it is committed at once
    committed   the high watermark has moved: consumers may fetch, producers are acknowledged, coordinators go on
    wake        with 0 bytes: leadership, log or existence have changed, everybody is to look again
"""

import asyncio
from collections.abc import Callable
from typing import Any

from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.acknowledgements import acknowledge, give_up
from riverport.kafka.wire.errors import ApiError


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
        """`size` bytes have become readable in one of the partitions (0: its state changed, look again)."""
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


def appended(partition: Partition, size: int, loop: asyncio.AbstractEventLoop) -> None:
    """`size` bytes were appended to a partition that this broker leads."""
    for item, session in partition.watchers.items():
        session.grew(item, size)
    leadership = partition.leadership
    if leadership is not None:
        if not leadership.is_alone:
            return  # committed only when others have it
        size += leadership.take_committed(partition.high_watermark)
    if partition.produces:
        acknowledge(partition, partition.high_watermark)
    _tell(partition, size, loop)
    if partition.commit_listener is not None:
        partition.commit_listener()


def committed(partition: Partition, loop: asyncio.AbstractEventLoop) -> None:
    """The high watermark of a partition has moved."""
    log = partition.log
    if log is None:
        return
    for item, session in partition.watchers.items():
        session.news[item] = None  # worth a place in the next answer, not an answer of its own
    if partition.produces:
        acknowledge(partition, log.high_watermark)
    leadership = partition.leadership
    _tell(partition, 0 if leadership is None else leadership.take_committed(log.high_watermark), loop)
    if partition.commit_listener is not None:
        partition.commit_listener()


def wake(partition: Partition, size: int, loop: asyncio.AbstractEventLoop) -> None:
    """Tell whoever waits about `size` new bytes, or with 0 that leadership, log or existence have changed."""
    if size:
        appended(partition, size, loop)
        return
    for item, session in partition.watchers.items():
        session.changed(item)
    if partition.produces or partition.deletions:
        try:
            partition.leader_log()
        except ApiError as error:
            give_up(partition, error)
    _tell(partition, 0, loop)


def _tell(partition: Partition, size: int, loop: asyncio.AbstractEventLoop) -> None:
    for waiter in list(partition.waiters):
        waiter.arrived(size, loop)
