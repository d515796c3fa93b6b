"""Requests that wait until other replicas have followed: Produce with acks=all, DeleteRecords.

Each partition has a queue of the parts of requests that wait for one of its marks, the high watermark or the lowest log
start, in the order of the offsets that they wait for: a mark that moves looks at those that it lets go, and one more.
The last part lets go the request's answer.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from typing import Any

from riverport.kafka.replica.partition import Partition, Queue
from riverport.kafka.wire.errors import ApiError, ErrorCode

Part = tuple[Queue, int, Any]
"""The queue to wait in, the offset that the mark has to reach, and the partition's part of the answer."""


class WaitingRequest:
    """One request. The parts of its answer are there already: they say success until something else is known."""

    __slots__ = ("_left", "_parts", "_respond", "_timer", "future")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parts: list[Part], timeout_ms: int, respond: Callable[[], Any]
    ) -> None:
        """`respond` makes the whole answer once every part is settled."""
        self.future: asyncio.Future[Any] = loop.create_future()
        self._parts = parts
        self._left = len(parts)
        self._respond = respond
        self._timer = loop.call_later(max(timeout_ms, 0) / 1000, self._time_out)
        for queue, offset, answer in parts:
            wait_in(queue, offset, self, answer)

    def settle(self, answer: Any, code: int) -> None:
        """One partition's part is over: the mark is reached, or there is an error."""
        if code:
            answer.error_code = code
        self._left -= 1
        if self._left == 0:
            self._timer.cancel()
            if not self.future.done():
                self.future.set_result(self._respond())

    def _time_out(self) -> None:
        for queue, _, answer in self._parts:
            if leave(queue, self, answer):
                self.settle(answer, ErrorCode.REQUEST_TIMED_OUT)


def wait_in(queue: Queue, offset: int, waiting: Any, answer: Any) -> None:
    """Have `waiting.settle(answer, code)` called once the queue's mark has reached the offset, or cannot any more."""
    entry = (offset, waiting, answer)
    if queue and queue[-1][0] > offset:
        insort(queue, entry, key=_offset)  # a batch that was sent again
    else:
        queue.append(entry)


def leave(queue: Queue, waiting: Any, answer: Any = None) -> bool:
    """Wait no longer; False where that was over already."""
    left = [entry for entry in queue if entry[1] is not waiting or entry[2] is not answer]
    was_there = len(left) < len(queue)
    queue[:] = left
    return was_there


def _offset(entry: tuple[int, Any, Any]) -> int:
    return entry[0]


def _reached(queue: Queue, mark: int) -> Queue:
    """Take out those that wait for no more than this."""
    count = 0
    for offset, _, _ in queue:
        if offset > mark:
            break
        count += 1
    reached = queue[:count]
    del queue[:count]
    return reached


def acknowledge(partition: Partition, high_watermark: int) -> None:
    """The high watermark has moved: let go the producers that waited for that."""
    reached = _reached(partition.produces, high_watermark)
    if reached:
        # The in-sync replicas may have become fewer since the append.
        code = 0 if partition.has_enough_in_sync() else ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        for _, waiting, answer in reached:
            waiting.settle(answer, code)


def confirm_deletions(partition: Partition) -> None:
    """A follower's log start has moved: let go who waited for all replicas to have deleted their records."""
    low_watermark = partition.low_watermark
    for _, waiting, answer in _reached(partition.deletions, low_watermark):
        answer.low_watermark = low_watermark
        waiting.settle(answer, 0)


def give_up(partition: Partition, error: ApiError) -> None:
    """This broker does not lead any more: nobody here can say what becomes of what was asked."""
    for queue in (partition.produces, partition.deletions):
        entries = queue[:]
        queue.clear()
        for _, waiting, answer in entries:
            waiting.settle(answer, error.code)
