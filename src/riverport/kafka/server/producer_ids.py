"""Producer ids for this broker, from blocks that the controller hands out (KIP-730)."""

from collections.abc import Callable

REFILL_AT = 100
"""Ask for the next block when this many ids are left, so that no producer waits for it."""
MAX_WAITING = 1_000
"""Producers that may wait for the first block; more are told to ask again."""


class ProducerIds:
    """The block in use, and the next one once it is there."""

    def __init__(self, request_block: Callable[[], None]) -> None:
        """`request_block()` asks the controller; its answer comes back through `block_arrived` or `block_refused`."""
        self._request_block = request_block
        self._next = 0
        self._end = 0
        self._following: tuple[int, int] | None = None
        self._requested = False
        self._waiting: list[Callable[[], None]] = []

    def next(self) -> int | None:
        """The next id, or None while there is no block."""
        if self._next == self._end and self._following is not None:
            self._next, self._end = self._following
            self._following = None
        if self._end - self._next <= REFILL_AT and self._following is None and not self._requested:
            self._requested = True
            self._request_block()
        if self._next == self._end:
            return None
        self._next += 1
        return self._next - 1

    def when_asked(self, again: Callable[[], None]) -> bool:
        """Call `again` when the controller has answered; False where too many wait for that already."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(again)
        return True

    def block_arrived(self, start: int, count: int) -> None:
        self._following = (start, start + count)
        self._answered()

    def block_refused(self) -> None:
        self._answered()

    def _answered(self) -> None:
        self._requested = False
        waiting, self._waiting = self._waiting, []
        for again in waiting:
            again()
