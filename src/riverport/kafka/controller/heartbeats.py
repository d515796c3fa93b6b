"""Sessions of brokers: who was heard of last when, and whose time is over (`broker.session.timeout.ms`).

Kept by the active controller only and not in the metadata log: a new controller gives everybody a whole session.
"""

from collections.abc import Iterable


class Heartbeats:
    """Last contact of each broker that has a session."""

    def __init__(self, session_timeout_ms: int) -> None:
        self.session_timeout_ms = session_timeout_ms
        self._last_contact_ms: dict[int, float] = {}

    def begin(self, unfenced: Iterable[int], now_ms: float) -> None:
        """This node has become the active controller."""
        self._last_contact_ms = dict.fromkeys(unfenced, now_ms)

    def touch(self, id_: int, now_ms: float) -> None:
        self._last_contact_ms[id_] = now_ms

    def end(self, id_: int) -> None:
        """The broker has gone by its own wish, or was fenced."""
        self._last_contact_ms.pop(id_, None)

    def is_alive(self, id_: int, now_ms: float) -> bool:
        last = self._last_contact_ms.get(id_)
        return last is not None and now_ms - last < self.session_timeout_ms

    def expired(self, now_ms: float) -> list[int]:
        """Brokers whose session has timed out, by id."""
        return sorted(id_ for id_ in self._last_contact_ms if not self.is_alive(id_, now_ms))
