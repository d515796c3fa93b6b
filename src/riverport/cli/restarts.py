"""Whether a node that ended is started again, and when: time and what happened go in, a decision comes out.

answered, then ended      started again, at once the first time; who keeps dying waits longer each time
ended before it answered  the same, and after so many in a row it is given up
refused its first start   given up at once: it has said why, and would say it again
"""

from dataclasses import dataclass

STEADY_S = 10.0
"""Who has run for so long after it answered begins with a clean slate."""
FIRST_WAIT_S = 0.25
MOST_WAIT_S = 5.0
MOST_EARLY = 4
"""Deaths in a row before the node answered."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


class Restarts:
    """The history of one node's processes. Times are seconds on a clock that never steps."""

    def __init__(self) -> None:
        self.count = 0
        self._answered_at: float | None = None
        self._ever_answered = False
        self._early = 0  # deaths in a row before an answer
        self._quick = 0  # deaths in a row that came soon, before an answer or after

    def started(self) -> None:
        self._answered_at = None

    def answered(self, now: float) -> None:
        self._answered_at = now
        self._ever_answered = True
        self._early = 0

    def ended(self, now: float, status: int) -> StartAgain | GiveUp:
        """`status` as a process has it: an exit code, or the number of a signal below zero."""
        if self._answered_at is None:
            self._early += 1
            if status > 0 and not self._ever_answered:
                return GiveUp("it could not start")
            if self._early >= MOST_EARLY:
                return GiveUp(f"it ended {self._early} times in a row before it answered")
        elif now - self._answered_at >= STEADY_S:
            self._quick = 0
        wait = 0.0 if self._quick == 0 else min(MOST_WAIT_S, FIRST_WAIT_S * 2 ** (self._quick - 1))
        self._quick += 1
        self.count += 1
        return StartAgain(wait)
