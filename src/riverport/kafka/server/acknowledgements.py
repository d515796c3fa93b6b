"""Produce requests with acks=all that wait for the high watermark to pass what they appended.

An entry for each partition hangs on the partition, in the order of its offsets, so that a high watermark that moves
looks at those that it lets go, and one more. The last one lets go the request's answer.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from typing import Any

from riverport.kafka.replica.partition import Partition
from riverport.kafka.wire.errors import ApiError, ErrorCode

Appended = tuple[Partition, int, Any]
"""A partition, the high watermark that acknowledges what was appended to it, and its part of the answer."""


class WaitingProduce:
    """One request. The parts of its answer are there already: they say success until something else is known."""

    __slots__ = ("_appended", "_left", "_respond", "_timer", "future")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, appended: list[Appended], timeout_ms: int, respond: Callable[[], Any]
    ) -> None:
        """`respond` makes the whole answer once every partition has its own."""
        self.future: asyncio.Future[Any] = loop.create_future()
        self._appended = appended
        self._left = len(appended)
        self._respond = respond
        self._timer = loop.call_later(max(timeout_ms, 0) / 1000, self._time_out)
        for partition, high_watermark, answer in appended:
            produces = partition.produces
            entry = (high_watermark, self, answer)
            if produces and produces[-1][0] > high_watermark:
                insort(produces, entry, key=_offset)  # a batch that was sent again
            else:
                produces.append(entry)

    def settle(self, answer: Any, code: int) -> None:
        """One partition's part is over: acknowledged, or an error."""
        if code:
            answer.error_code = code
        self._left -= 1
        if self._left == 0:
            self._timer.cancel()
            if not self.future.done():
                self.future.set_result(self._respond())

    def _time_out(self) -> None:
        for partition, _, answer in self._appended:
            left = [entry for entry in partition.produces if entry[1] is not self or entry[2] is not answer]
            if len(left) < len(partition.produces):
                partition.produces = left
                self.settle(answer, ErrorCode.REQUEST_TIMED_OUT)


def _offset(entry: tuple[int, Any, Any]) -> int:
    return entry[0]


def acknowledge(partition: Partition, high_watermark: int) -> None:
    """The high watermark has moved: let go who waited for that."""
    produces = partition.produces
    count = 0
    for offset, _, _ in produces:
        if offset > high_watermark:
            break
        count += 1
    if count:
        reached = produces[:count]
        del produces[:count]
        # The in-sync replicas may have become fewer since the append.
        code = 0 if partition.has_enough_in_sync() else ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        for _, waiting, answer in reached:
            waiting.settle(answer, code)


def give_up(partition: Partition, error: ApiError) -> None:
    """This broker does not lead any more: nobody here can say what becomes of what was appended."""
    produces, partition.produces = partition.produces, []
    for _, waiting, answer in produces:
        waiting.settle(answer, error.code)
