"""Requests and answers of one fetcher over one connection to its leader.

An answer is worked off where it arrives, and the next request, whose offsets acknowledge what was appended, leaves in
the same turn of the loop: waking the fetcher's task for each would cost as much as the append. The task is there for
what is due by the clock, and for what fails.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.replica.fetcher import Asked, Effect, Fetcher

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


class _Answer:
    """One that is there, or is to come: `arrived` is called in the very turn in which it does."""

    __slots__ = ("_arrived", "_error", "_is_there", "_result")

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._is_there = False
        self._result: Any = None
        self._error: Exception | None = None

    def done(self) -> bool:
        return self._is_there

    def set_result(self, result: Any) -> None:
        self._result, self._is_there = result, True
        self._arrived()

    def set_exception(self, error: Exception) -> None:
        self._error, self._is_there = error, True
        self._arrived()

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class ReplicaExchange:
    """`perform` is given the effects of answers, `ring` wakes the task that calls `run`."""

    def __init__(
        self,
        broker: "Broker",
        core: Fetcher,
        connection: Connection,
        timeout_ms: int,
        perform: Callable[[list[Effect]], None],
        ring: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._core = core
        self._connection = connection
        self._timeout_ms = timeout_ms
        self._perform = perform
        self._ring = ring
        self._pending: deque[tuple[Asked, _Answer, float]] = deque()
        self._failure: Exception | None = None
        self._next_ms: float | None = None  # when the task looks again
        self._closed = False

    def run(self) -> float | None:
        """Do what there is to do; for how long nothing more is due by the clock. Raises what has failed."""
        self._go_on()
        if self._failure is not None:
            raise self._failure
        now_ms = self._broker.clock.mono_ms()
        self._check(now_ms)
        self._next_ms = self._due_ms(now_ms)
        return None if self._next_ms is None else self._next_ms - now_ms

    def close(self) -> None:
        self._closed = True

    def _go_on(self) -> None:
        core, clock, pending = self._core, self._broker.clock, self._pending
        try:
            while pending and pending[0][1].done():
                asked, answer, _ = pending.popleft()
                self._perform(core.answered(asked, answer.result(), clock.mono_ms()))
                if not (pending and pending[0][1].done()):
                    self._connection.recycle()
            now_ms = clock.mono_ms()
            while (asked_ := core.next_request(now_ms, self._broker.broker_epoch)) is not None:
                awaited = _Answer(self._arrived)
                self._connection.post_for(awaited, asked_.message)
                pending.append((asked_, awaited, now_ms))
        except Exception as error:
            self._failure = error

    def _arrived(self) -> None:
        if self._closed or self._failure is not None:
            return
        self._go_on()
        due_ms = self._core.wake_ms()
        if self._failure is not None or (due_ms is not None and self._is_news(due_ms)):
            self._ring()

    def _is_news(self, due_ms: float) -> bool:
        """Whether the task sleeps for longer than that."""
        if due_ms <= self._broker.clock.mono_ms():
            return False
        return self._next_ms is None or due_ms < self._next_ms

    def _check(self, now_ms: float) -> None:
        if self._pending and now_ms - self._pending[0][2] >= self._timeout_ms:
            raise ClientError(f"no answer within {self._timeout_ms} ms")
        if self._connection.closed and not self._pending:
            raise ClientError("the connection was closed")

    def _due_ms(self, now_ms: float) -> float | None:
        """When something is to be done by the clock. What is overdue waits for an answer, not for the clock."""
        times = [self._pending[0][2] + self._timeout_ms] if self._pending else []
        wake_ms = self._core.wake_ms()
        if wake_ms is not None and wake_ms > now_ms:
            times.append(wake_ms)
        return min(times) if times else None
