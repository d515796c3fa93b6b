"""One timer of the event loop for a deadline that moves all the time."""

import asyncio
from collections.abc import Callable
from math import inf

from riverport.base.clock import Clock


class DeadlineTimer:
    """`ring()` is called once the deadline that was set last has come.

    A deadline that moves on costs a comparison: the loop's timer may wake too early, and is set anew then.
    """

    __slots__ = ("_clock", "_deadline_ms", "_handle", "_loop", "_ring", "_wakes_ms")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._ring = ring
        self._deadline_ms = inf
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_ms = inf  # when the handle does

    def set(self, deadline_ms: float) -> None:
        """On the monotonic clock; infinite for never."""
        self._deadline_ms = deadline_ms
        if deadline_ms == inf:
            return
        if self._handle is not None:
            if self._wakes_ms <= deadline_ms:
                return
            self._handle.cancel()
        self._wakes_ms = deadline_ms
        # A hundredth later than asked, so that the clock has got there in spite of rounding.
        delay_ms = max(deadline_ms - self._clock.mono_ms(), 0) + 0.01
        self._handle = self._loop.call_later(delay_ms / 1000, self._wake)

    def stop(self) -> None:
        self._deadline_ms = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake(self) -> None:
        self._handle = None
        if self._clock.mono_ms() >= self._deadline_ms:
            self._ring()
        else:
            self.set(self._deadline_ms)
