"""Sessions of brokers: who was heard of last when, and whose time is over (`broker.session.timeout.ms`).

Kept by the active controller only and not in the metadata log: a new controller gives everybody a whole session. Who
is fenced has no session.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NEVER = -1
ALL_READ = 2**63 - 1


@dataclass(slots=True)
class _Session:
    last_contact_ms: float
    metadata_offset: int = -1  # up to which the broker has read the metadata log
    shutdown_offset: int = NEVER  # what the others must have read before it may stop


class Heartbeats:
    """The sessions of unfenced brokers."""

    def __init__(self, session_timeout_ms: int) -> None:
        self.session_timeout_ms = session_timeout_ms
        self._sessions: dict[int, _Session] = {}
        self._checked_ms: float | None = None

    def begin(self, unfenced: Iterable[int], now_ms: float) -> None:
        """This node has become the active controller."""
        self._sessions = {id_: _Session(now_ms) for id_ in unfenced}
        self._checked_ms = now_ms

    def touch(self, id_: int, now_ms: float, metadata_offset: int = -1) -> None:
        session = self._sessions.get(id_)
        if session is None:
            session = self._sessions[id_] = _Session(now_ms)
        session.last_contact_ms, session.metadata_offset = now_ms, metadata_offset

    def end(self, id_: int) -> None:
        """The broker has gone by its own wish, or was fenced."""
        self._sessions.pop(id_, None)

    def is_alive(self, id_: int, now_ms: float) -> bool:
        session = self._sessions.get(id_)
        return session is not None and now_ms - session.last_contact_ms < self.session_timeout_ms

    def expired(self, now_ms: float) -> list[int]:
        """Brokers whose session has timed out, by id.

        Where nobody asked for long this process did not run (it was stopped, the machine slept): it could not hear
        anybody in that time, which is then taken from nobody.
        """
        if self._checked_ms is not None and now_ms - self._checked_ms >= self.session_timeout_ms / 2:
            for session in self._sessions.values():
                session.last_contact_ms = max(session.last_contact_ms, now_ms - self.session_timeout_ms / 2)
        self._checked_ms = now_ms
        return sorted(id_ for id_ in self._sessions if not self.is_alive(id_, now_ms))

    # --- controlled shutdown

    def is_leaving(self, id_: int) -> bool:
        session = self._sessions.get(id_)
        return session is not None and session.shutdown_offset != NEVER

    def leave(self, id_: int, shutdown_offset: int) -> None:
        """Its leaderships are given up at an offset of the metadata log; the first one counts."""
        session = self._sessions.get(id_)
        if session is not None and session.shutdown_offset == NEVER:
            session.shutdown_offset = shutdown_offset

    def may_stop(self, id_: int) -> bool:
        """Whether every other live broker has read that somebody else leads."""
        return self._sessions[id_].shutdown_offset <= min(
            (s.metadata_offset for s in self._sessions.values() if s.shutdown_offset == NEVER), default=ALL_READ
        )
