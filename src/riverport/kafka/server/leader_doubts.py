"""Leaders that may just have died: for a moment clients are not sent to them.

Whoever replicates from a leader sees its connection end when its process does, as the leader's clients do. They turn to
another broker within milliseconds, before the next leader is elected. Were they told the dead one again, they would be
content: librdkafka asks anew after a second, Java clients after their back-off. They are answered once there is
another (see `awaited_leaders`), and told LEADER_NOT_AVAILABLE if that takes too long.

A doubt is over when the leader answers again, when the metadata has another, or after DOUBT_SECONDS: it may be that
only we cannot reach it.
"""

import asyncio
from collections.abc import Callable, Iterator

DOUBT_SECONDS = 1.0
"""As long as an election may take; longer than that a leader is not hidden from clients that may well reach it."""


class LeaderDoubts:
    """`changed` is called whenever another set of leaders is in doubt."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._ends: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ends)

    def __contains__(self, leader_id: object) -> bool:
        return leader_id in self._ends

    def connection_lost(self, leader_id: int) -> None:
        """A connection to it that was in use has ended, and not by us."""
        if leader_id not in self._ends:
            self._ends[leader_id] = self._loop.call_later(DOUBT_SECONDS, self.settled, leader_id)
            self._changed()

    def settled(self, leader_id: int) -> None:
        """It answers, or has had its time."""
        timer = self._ends.pop(leader_id, None)
        if timer is not None:
            timer.cancel()
            self._changed()

    def close(self) -> None:
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()
