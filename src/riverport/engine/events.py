"""What happened, as it happens: the `/events` stream and the inside's own listeners.

Docker's event, with Type, Action and Actor{ID, Attributes}. The last 256 are kept, so that `since` can replay them. A
subscriber that does not read is bounded: it loses the connection, never the daemon its memory.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from riverport.engine.api.filters import Filters

KEPT: Final = 256
BEHIND: Final = 4096
"""Events a subscriber may be behind before it is dropped."""

FILTERS: Final = (
    "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret",
    "service", "type", "volume",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Event:
    type: str
    action: str
    actor: str
    attributes: Mapping[str, str]
    time_ns: int
    scope: str = "local"

    def document(self) -> dict[str, Any]:
        """As the API tells it; containers and images have their old three fields too (gone in 1.52)."""
        told: dict[str, Any] = {}
        if self.type == "container":
            told = {"status": self.action, "id": self.actor, "from": self.attributes.get("image", "")}
        elif self.type == "image":
            told = {"status": self.action, "id": self.actor}
        return {
            **told,
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.actor, "Attributes": dict(self.attributes)},
            "scope": self.scope,
            "time": self.time_ns // 1_000_000_000,
            "timeNano": self.time_ns,
        }


class Events:
    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._subscribers: set[_Subscriber] = set()
        self._last_ns = 0

    def publish(self, type: str, action: str, actor: str, attributes: Mapping[str, str] | None = None) -> Event:
        """Tell everyone; never waits. `actor` is the full id, or the name where the noun has only that (volumes)."""
        # Strictly increasing, because clients resume with `since` at the last time they saw.
        self._last_ns = max(self._clock_ns(), self._last_ns + 1)
        event = Event(type, action, actor, dict(attributes or {}), self._last_ns)
        self._kept.append(event)
        for subscriber in list(self._subscribers):
            subscriber.offer(event)
        return event

    async def subscribe(
        self, since_ns: int | None = None, until_ns: int | None = None, filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        """What is kept from `since_ns` on, then what comes; ends after `until_ns`, which may lie in the past."""
        wanted = filters or Filters()
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        kept = [event for event in self._kept if since_ns is not None and event.time_ns >= since_ns]
        try:
            for event in kept:
                if (until_ns is None or event.time_ns <= until_ns) and matches(event, wanted):
                    yield event
            while (event_or_end := await subscriber.next(self._left_s(until_ns))) is not None:
                if matches(event_or_end, wanted):
                    yield event_or_end
        finally:
            self._subscribers.discard(subscriber)

    @property
    def listeners(self) -> int:
        return len(self._subscribers)

    def _left_s(self, until_ns: int | None) -> float | None:
        return None if until_ns is None else (until_ns - self._clock_ns()) / 1e9


class _Subscriber:
    """A bounded queue; full, it ends."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._more = asyncio.Event()
        self._dropped = False

    def offer(self, event: Event) -> None:
        if len(self._waiting) >= BEHIND:
            self._dropped = True
        else:
            self._waiting.append(event)
        self._more.set()

    async def next(self, timeout_s: float | None) -> Event | None:
        """The next event; None at the end of the time or when events have been missed."""
        while not self._waiting:
            if self._dropped or (timeout_s is not None and timeout_s <= 0):
                return None
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), timeout_s)
            except TimeoutError:
                return None
        return self._waiting.popleft()


def matches(event: Event, filters: Filters) -> bool:
    """Docker's rules: `container=x` asks for containers by id, prefix of it, or name, and `event=health_status` also
    finds `health_status: healthy`."""
    actions = filters.get("event")
    if actions and not any(event.action == wanted or event.action.partition(":")[0] == wanted for wanted in actions):
        return False
    if not (filters.exact("type", event.type) and filters.exact("scope", event.scope)):
        return False
    nouns = [noun for noun in ("container", "image", "network", "volume", "plugin", "daemon") if noun in filters]
    if any(not _about(event, noun, filters.get(noun)) for noun in nouns):
        return False
    return filters.labels(event.attributes)


def _about(event: Event, noun: str, wanted: list[str]) -> bool:
    if noun == "image":
        names = {event.actor, event.attributes.get("name", ""), event.attributes.get("image", "")}
        if event.type not in ("image", "container"):
            return False
        return any(name in names or name in {_untagged(known) for known in names} for name in wanted)
    if event.type != noun:
        return False
    name = event.attributes.get("name", "")
    return any(event.actor.startswith(value) or name == value for value in wanted)


def _untagged(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
