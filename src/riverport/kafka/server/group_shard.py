"""One partition of `__consumer_offsets` on the broker that leads it: a coordinator with its log and its timers.

A turn of the coordinator goes through `perform`: its records are appended, replayed, and when they are committed (and
synced, where the topic asks for that) its parked requests are answered and its response is given, in order.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.groups.coordinator import Coordinator, client_error
from riverport.kafka.groups.turn import CancelTimer, Now, Reply, SetTimer, Timer, Turn
from riverport.kafka.log import Log, Origin
from riverport.kafka.records.batch import BATCH_OVERHEAD
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.replica.partition import ACKS_ALL, Partition
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

_RECORD_OVERHEAD = 32
"""More than what stands around a record's key and value."""


class ShardState(Enum):
    LOADING = 0
    ACTIVE = 1
    CLOSED = 2  # led elsewhere, or could not be loaded


@dataclass(slots=True)
class _Uncommitted:
    """A turn whose records are appended and not committed yet, and who waits for its response."""

    end_offset: int
    flushed: "asyncio.Future[None] | None"
    turn: Turn
    answer: "asyncio.Future[Any]"
    deadline_ms: float
    timed_out: bool = False  # answered; its records may still be committed


class GroupShard:
    """Used from the event loop only."""

    def __init__(self, broker: "Broker", partition: Partition, coordinator: Coordinator, codec: Codec) -> None:
        self.partition = partition
        self.coordinator = coordinator
        self.state = ShardState.LOADING
        self.deleted_topics: dict[bytes, str] = {}  # while it was loading; names by id
        self._broker = broker
        self._codec = codec
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._uncommitted: deque[_Uncommitted] = deque()
        self._commit_timer: asyncio.TimerHandle | None = None
        partition.commit_listener = self.committed

    def __repr__(self) -> str:
        return f"{self.partition} {self.state.name}"

    def now(self) -> Now:
        clock = self._broker.clock
        return Now(clock.wall_ms(), clock.mono_ms())

    # --- turns

    def perform(self, turn: Turn) -> Any:
        """The turn's response, or a future of it where its records still have to be committed.

        Raises ApiError where the records could not be written and somebody waits for the response.
        """
        if turn.records:
            if not turn.atomic:
                self._perform_in_parts(turn)
                return turn.response
            try:
                first_offset = self._append(turn)
            except ApiError as error:
                return self._refused(turn, error)
            self.coordinator.appended(turn, first_offset)
        waiting = self._waiting_for(turn)
        if waiting is None:
            self._effects(turn)
            return turn.response
        self._timer_effects(turn)
        return waiting.answer

    def _perform_in_parts(self, turn: Turn) -> None:
        """Records that need not stand or fall together, in as many batches as they take."""
        try:
            for records in self._parts(turn):
                self.perform(Turn(turn.config, turn.now, records))
        except ApiError as error:
            log.warning("a group's records could not be written", partition=self.partition, error=error)

    def _parts(self, turn: Turn) -> Iterator[list[Any]]:
        limit = self._log().config.max_message_bytes
        part: list[Any] = []
        size = BATCH_OVERHEAD
        for record in turn.records:
            key, value = record.encode()
            needed = _RECORD_OVERHEAD + len(key) + len(value or b"")
            if part and size + needed > limit:
                yield part
                part, size = [], BATCH_OVERHEAD
            part.append(record)
            size += needed
        if part:
            yield part

    def _log(self) -> Log:
        return self.partition.leader_log()

    def _append(self, turn: Turn) -> int:
        """The offset of the first record. Raises ApiError."""
        broker, now_ms = self._broker, turn.now.wall_ms
        records = [NewRecord(*record.encode(), timestamp=now_ms) for record in turn.records]
        # Sequence 0 without a producer id means nothing; it is what Apache Kafka's coordinators write.
        batch = build_batch(records, codec=self._codec, base_sequence=0)
        limit = self._log().config.max_message_bytes
        if len(batch) > limit:
            raise ApiError(ErrorCode.MESSAGE_TOO_LARGE, f"a batch of {len(batch)} bytes, {limit} are allowed")
        try:
            info = self.partition.append(batch, ACKS_ALL, now_ms, origin=Origin.COORDINATOR)
        except (StorageError, OSError) as error:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error
        broker.wake(self.partition, len(batch))
        return info.first_offset

    def _refused(self, turn: Turn, error: ApiError) -> Any:
        self.coordinator.refused(turn, error.code)
        self._effects(turn)
        if turn.response is not None:
            raise ApiError(client_error(error.code), error.message)
        return None

    def _waiting_for(self, turn: Turn) -> _Uncommitted | None:
        """None where nothing that the turn rests on can be lost any more."""
        log_ = self.partition.log
        if log_ is None:
            return None
        flushed = None
        if turn.records and log_.needs_flush(turn.now.wall_ms):
            flushed = self._broker.flush(self.partition)
            flushed.add_done_callback(self._flushed)
        end_offset = log_.log_end_offset
        if flushed is None and not self._uncommitted and log_.high_watermark >= end_offset:
            return None
        timeout_ms = self._broker.config["offsets.commit.timeout.ms"]
        answer = self._broker.loop.create_future()
        waiting = _Uncommitted(end_offset, flushed, turn, answer, turn.now.mono_ms + timeout_ms)
        self._uncommitted.append(waiting)
        if self._commit_timer is None:
            self._commit_timer = self._broker.loop.call_later(timeout_ms / 1000, self._expire_uncommitted)
        return waiting

    def _flushed(self, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is not None:
            self._fail_uncommitted(ErrorCode.NOT_COORDINATOR)
        else:
            self.committed()

    def committed(self) -> None:
        """The high watermark may have moved, or a flush has ended: let go what is committed now."""
        log_ = self.partition.log
        while log_ is not None and self._uncommitted:
            first = self._uncommitted[0]
            is_flushed = first.flushed is None or first.flushed.done()
            if not is_flushed or log_.high_watermark < first.end_offset:
                return
            self._uncommitted.popleft()
            if not first.timed_out:
                self._replies(first.turn)
                if not first.answer.done():
                    first.answer.set_result(first.turn.response)

    def _expire_uncommitted(self) -> None:
        """Followers take too long: who waits is told so. What is appended stays, and may be committed later."""
        self._commit_timer = None
        now_ms = self._broker.clock.mono_ms()
        left = [entry for entry in self._uncommitted if not entry.timed_out]
        for entry in left:
            if entry.deadline_ms > now_ms:
                rest_ms = entry.deadline_ms - now_ms
                self._commit_timer = self._broker.loop.call_later(rest_ms / 1000, self._expire_uncommitted)
                return
            entry.timed_out = True
            self._fail(entry, client_error(ErrorCode.REQUEST_TIMED_OUT))

    def _fail_uncommitted(self, code: ErrorCode) -> None:
        while self._uncommitted:
            entry = self._uncommitted.popleft()
            if not entry.timed_out:
                self._fail(entry, code)

    def _fail(self, entry: _Uncommitted, code: ErrorCode) -> None:
        for effect in entry.turn.effects:
            if isinstance(effect, Reply):
                effect.response.error_code = code
        self._replies(entry.turn)
        if not entry.answer.done():
            entry.answer.set_exception(ApiError(code))
            entry.answer.exception()  # fetched, for turns of timers that nobody waits for

    # --- effects

    def _effects(self, turn: Turn) -> None:
        if turn.effects:
            self._timer_effects(turn)
            self._replies(turn)

    def _replies(self, turn: Turn) -> None:
        for effect in turn.effects:
            if isinstance(effect, Reply) and not effect.waiter.done():
                effect.waiter.set_result(effect.response)

    def _timer_effects(self, turn: Turn) -> None:
        for effect in turn.effects:
            match effect:
                case SetTimer(timer, delay_ms):
                    self._cancel(timer)
                    self._timers[timer] = self._broker.loop.call_later(delay_ms / 1000, self._fired, timer)
                case CancelTimer(timer):
                    self._cancel(timer)

    def _cancel(self, timer: Timer) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def _fired(self, timer: Timer) -> None:
        del self._timers[timer]
        self.perform(self.coordinator.fired(self.now(), timer))

    # --- taking over and giving up

    def start(self) -> None:
        """Everything is loaded: serve."""
        self.state = ShardState.ACTIVE
        self.perform(self.coordinator.loaded(self.now()))
        if self.deleted_topics:
            self.forget_topics(self.deleted_topics)
            self.deleted_topics = {}

    def forget_topics(self, topics: Mapping[bytes, str]) -> None:
        self.perform(self.coordinator.forget_topics(self.now(), topics))

    def close(self) -> None:
        """Another broker leads, or this one stops: parked requests are sent away, timers end."""
        self.state = ShardState.CLOSED
        if self.partition.commit_listener == self.committed:
            self.partition.commit_listener = None
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        self._fail_uncommitted(ErrorCode.NOT_COORDINATOR)
        self._effects(self.coordinator.unload(self.now()))
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
