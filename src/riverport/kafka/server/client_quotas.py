"""Client quotas at work: bytes written and read, and the time that requests take, by user and client id (KIP-13).

Every client that a quota applies to has a rate over the last `quota.window.num` samples of `quota.window.size.seconds`.
A request that takes the rate above the quota is served; its answer says for how long the client must be silent, and
until then its connection is not read (KIP-219). A fetch gets no more at once than the whole window allows.

Of several quotas that match a client the most specific one counts (see `limit_of`); who shares it shares a rate.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.server.request import Request
from riverport.kafka.wire.api import ApiKey

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.connection import Connection

PRODUCER, CONSUMER, REQUEST = "producer_byte_rate", "consumer_byte_rate", "request_percentage"
MAX_CLIENTS = 10_000
"""Rates kept at a time; the one that was used longest ago goes first."""
_UNTHROTTLED = frozenset((ApiKey.API_VERSIONS, ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE))

_Entity = tuple[tuple[str, str | None], ...]
_USER, _CLIENT = "user", "client-id"


class Rate:
    """What was recorded in the last samples, by the second."""

    __slots__ = ("_num", "_samples", "_window_ms")

    def __init__(self, num: int, window_ms: float) -> None:
        self._num = num
        self._window_ms = window_ms
        self._samples: deque[list[float]] = deque()  # [begin, total], oldest first

    def record(self, value: float, now_ms: float) -> None:
        self._expire(now_ms)
        if not self._samples or now_ms - self._samples[-1][0] >= self._window_ms:
            self._samples.append([now_ms, 0.0])
            if len(self._samples) > self._num:
                self._samples.popleft()
        self._samples[-1][1] += value

    def excess_ms(self, bound: float, now_ms: float) -> float:
        """How long nothing may be recorded until the rate is down to `bound`; 0 where it is not above it."""
        self._expire(now_ms)
        if not self._samples:
            return 0.0
        elapsed_ms = now_ms - self._samples[0][0]
        # A young rate counts as if it were almost a whole window old, so that a start is no burst.
        missing = self._num - 1 - int(elapsed_ms // self._window_ms)
        elapsed_ms = max(elapsed_ms + max(missing, 0) * self._window_ms, self._window_ms)
        rate = sum(total for _, total in self._samples) / elapsed_ms * 1000
        return max((rate - bound) / bound * elapsed_ms, 0.0)

    def _expire(self, now_ms: float) -> None:
        while self._samples and now_ms - self._samples[0][0] >= self._num * self._window_ms:
            self._samples.popleft()


def limit_of(
    quotas: Mapping[_Entity, Mapping[str, float]], key: str, user: str, client_id: str
) -> tuple[float, _Entity] | None:
    """(limit, who shares it) for a client; None where there is no quota of this kind for it."""
    levels: tuple[tuple[_Entity, _Entity], ...] = (
        (((_CLIENT, client_id), (_USER, user)), ((_CLIENT, client_id), (_USER, user))),
        (((_CLIENT, None), (_USER, user)), ((_CLIENT, client_id), (_USER, user))),
        (((_USER, user),), ((_USER, user),)),
        (((_CLIENT, client_id), (_USER, None)), ((_CLIENT, client_id), (_USER, user))),
        (((_CLIENT, None), (_USER, None)), ((_CLIENT, client_id), (_USER, user))),
        (((_USER, None),), ((_USER, user),)),
        (((_CLIENT, client_id),), ((_CLIENT, client_id),)),
        (((_CLIENT, None),), ((_CLIENT, client_id),)),
    )
    for entity, shared_by in levels:
        limit = quotas.get(entity, {}).get(key)
        if limit is not None:
            return limit, shared_by
    return None


class ClientQuotas:
    """Charges requests of one broker's clients. `active` is whether any quota is set that it enforces."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.active = False
        self._quotas: Mapping[_Entity, Mapping[str, float]] = {}
        self._rates: dict[tuple[str, _Entity], Rate] = {}
        # Weak: a silence may be long, and a client that has gone is not kept for it.
        self._silent: WeakKeyDictionary[Connection, asyncio.TimerHandle] = WeakKeyDictionary()

    def changed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        if delta.quotas or delta.everything:
            self._quotas = image.quotas
            self.active = any(
                key in values for values in image.quotas.values() for key in (PRODUCER, CONSUMER, REQUEST)
            )

    def serve(self, request: Request, call: Callable[[Request], Any]) -> Any:
        """The answer of `call`, a future of it or None; the client is charged for it."""
        written = 0
        if request.api_key == ApiKey.PRODUCE:
            # Counted now: the records are gone when the handler returns.
            written = sum(
                len(data.records or b"") for topic in request.body.topic_data for data in topic.partition_data
            )
        elif request.api_key == ApiKey.FETCH:
            self._shorten(request)
        begun = time.perf_counter()
        result = call(request)
        busy = time.perf_counter() - begun
        if not isinstance(result, asyncio.Future):
            self._charge(request, result, written, busy)
            return result
        return self._charged_later(result, request, written, busy)

    def _charged_later(self, inner: "asyncio.Future[Any]", request: Request, written: int, busy: float) -> Any:
        answer: asyncio.Future[Any] = self._broker.loop.create_future()

        def done(inner: "asyncio.Future[Any]") -> None:
            if answer.done():
                return
            if inner.cancelled():
                answer.cancel()
            elif (error := inner.exception()) is not None:
                answer.set_exception(error)
            else:
                self._charge(request, inner.result(), written, busy)
                answer.set_result(inner.result())

        inner.add_done_callback(done)
        answer.add_done_callback(lambda answer: inner.cancel() if answer.cancelled() else None)
        return answer

    def _shorten(self, request: Request) -> None:
        """A fetch takes no more at once than its quota allows in a whole window."""
        found = self._limit(CONSUMER, request)
        if found is not None:
            num, window_ms = self._window()
            request.body.max_bytes = min(request.body.max_bytes, int(found[0] * max(num - 1, 1) * window_ms / 1000))

    def _charge(self, request: Request, answer: Any, written: int, busy_seconds: float) -> None:
        silence_ms = 0.0
        if request.api_key == ApiKey.PRODUCE:
            silence_ms = self._record(PRODUCER, request, written)
        elif request.api_key == ApiKey.FETCH and answer is not None:
            read = sum(len(data.records or b"") for topic in answer.responses for data in topic.partitions)
            silence_ms = self._record(CONSUMER, request, read)
        if request.api_key not in _UNTHROTTLED:
            # More than a window's silence for the time that requests take would only hide a client from its owner.
            busy_ms = self._record(REQUEST, request, busy_seconds * 100)
            silence_ms = max(silence_ms, min(busy_ms, self._window()[1]))
        if silence_ms < 1:
            return
        if answer is not None and "throttle_time_ms" in answer._fields:
            answer.throttle_time_ms = round(silence_ms)
        self.silence(request.connection, silence_ms)

    def silence(self, connection: "Connection", ms: float) -> None:
        """Read nothing from a client for a while: it was told to be silent."""
        held = ref(connection)

        def over() -> None:
            if (connection := held()) is not None:
                del self._silent[connection]
                connection.welcome()

        if (earlier := self._silent.pop(connection, None)) is not None:
            earlier.cancel()
        connection.hold()
        self._silent[connection] = self._broker.loop.call_later(ms / 1000, over)

    def _record(self, key: str, request: Request, value: float) -> float:
        """Milliseconds of silence."""
        found = self._limit(key, request)
        if found is None:
            return 0.0
        limit, shared_by = found
        now_ms = self._broker.clock.mono_ms()
        # Taken out and put back: the first in the table is the one that was used longest ago.
        rate = self._rates.pop((key, shared_by), None) or Rate(*self._window())
        self._rates[(key, shared_by)] = rate
        if len(self._rates) > MAX_CLIENTS:
            del self._rates[next(iter(self._rates))]
        rate.record(value, now_ms)
        return rate.excess_ms(limit, now_ms)

    def _limit(self, key: str, request: Request) -> tuple[float, _Entity] | None:
        return limit_of(self._quotas, key, request.connection.principal_name or "", request.client_id or "")

    def _window(self) -> tuple[int, float]:
        config = self._broker.config
        return config["quota.window.num"], config["quota.window.size.seconds"] * 1000.0
