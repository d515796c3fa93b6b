"""Clocks: the wall for timestamps, the monotonic one for deadlines. Cores are given times, never clocks."""

import time
from typing import Protocol


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Milliseconds since the epoch; may step backwards."""
        ...

    def mono_ms(self) -> float:
        """Milliseconds on a clock that never steps; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_ms(self) -> float:
        return time.monotonic() * 1000.0


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._mono_ms = 0.0

    def wall_ms(self) -> int:
        return self._wall_ms

    def mono_ms(self) -> float:
        return self._mono_ms

    def advance(self, ms: int) -> None:
        self._wall_ms += ms
        self._mono_ms += ms
