"""What a run is doing: a bar with the time left on a terminal, a line per step where there is none."""

import sys
import time
from typing import TextIO

WIDTH = 24


class Progress:
    """Steps of differing length; `step` announces the next one, each of a weight in expected seconds."""

    def __init__(self, total: float, out: TextIO = sys.stderr) -> None:
        self._total = max(total, 1e-9)
        self._out = out
        self._done = self._next = 0.0
        self._count = 0
        self._started = time.monotonic()
        self._live = out.isatty()

    def step(self, text: str, weight: float) -> None:
        self._done += self._next
        self._next = weight
        self._count += 1
        share = min(self._done / self._total, 1.0)
        if not self._live:
            print(f"{share:4.0%}  {text}", file=self._out, flush=True)
            return
        filled = round(share * WIDTH)
        bar = "█" * filled + "·" * (WIDTH - filled)
        self._out.write(f"\r\x1b[2K{bar} {share:4.0%} {self._left(share):>12}  {text}")
        self._out.flush()

    def end(self) -> None:
        if self._live:
            self._out.write("\r\x1b[2K")
            self._out.flush()

    def _left(self, share: float) -> str:
        if self._count < 4 or share <= 0:
            return ""
        left = (time.monotonic() - self._started) * (1 - share) / share
        return f"{left // 60:.0f}:{left % 60:02.0f} left"
