"""Producer ids for this broker, from blocks that the controller hands out (KIP-730)."""

from collections.abc import Callable

REFILL_AT = 100
"""Ask for the next block when this many ids are left, so that no producer waits for it."""


class ProducerIds:
    """The block in use, and the next one once it is there."""

    def __init__(self, request_block: Callable[[], None]) -> None:
        """`request_block()` asks the controller; its answer comes back through `block_arrived` or `block_refused`."""
        self._request_block = request_block
        self._next = 0
        self._end = 0
        self._following: tuple[int, int] | None = None
        self._requested = False

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

    def block_arrived(self, start: int, count: int) -> None:
        self._requested = False
        self._following = (start, start + count)

    def block_refused(self) -> None:
        self._requested = False
