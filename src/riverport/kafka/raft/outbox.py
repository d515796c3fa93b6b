"""Requests on their way to other replicas: one at a time for each address, and a pause after a failure."""

from typing import Any

from riverport.kafka.raft.events import Send
from riverport.kafka.raft.voters import Address

FOREVER = float("inf")
PATIENCE = 20
"""Failures in a row after which pauses double: a voter that is starting is found at once, a lost one costs little."""
MAX_PAUSE_MS = 500


class Outbox:
    """Numbers what is sent; an answer whose number is not known any more comes too late and means nothing."""

    def __init__(self, retry_backoff_ms: int) -> None:
        self._retry_backoff_ms = retry_backoff_ms
        self._serial = 0
        self._in_flight: dict[int, tuple[Address, Any]] = {}
        self._failures: dict[Address, int] = {}
        self._ready_ms: dict[Address, float] = {}  # FOREVER while a request is in flight

    def ready_ms(self, to: Address) -> float:
        """When something may be sent there."""
        return self._ready_ms.get(to, 0)

    def send(self, to: Address, request: Any) -> Send:
        assert self.ready_ms(to) != FOREVER, (to, request)
        self._serial += 1
        self._in_flight[self._serial] = (to, request)
        self._ready_ms[to] = FOREVER
        return Send(self._serial, to, request)

    def done(self, serial: int) -> tuple[Address, Any] | None:
        """The address and the request that an answer belongs to, None where it comes too late."""
        found = self._in_flight.pop(serial, None)
        if found is not None:
            self._ready_ms.pop(found[0])
        return found

    def reached(self, to: Address) -> None:
        """Somebody is there."""
        self._failures.pop(to, None)

    def pause(self, to: Address, now_ms: float) -> None:
        """Nothing is sent there for a while, longer if it has been in vain for long."""
        failures = self._failures[to] = self._failures.get(to, 0) + 1
        pause_ms = min(self._retry_backoff_ms << min(failures // PATIENCE, 10), MAX_PAUSE_MS)
        self._ready_ms[to] = now_ms + max(pause_ms, self._retry_backoff_ms)

    def forget(self) -> None:
        """The replica has another role now: it waits for none of the answers."""
        self._in_flight.clear()
        self._ready_ms.clear()
