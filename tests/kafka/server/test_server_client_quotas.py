"""Clients above their quota are told to be silent, and are not listened to until then."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.clock import ManualClock
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.server.client_quotas import CONSUMER, PRODUCER, REQUEST, ClientQuotas, Rate, limit_of
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.testing import Broker

# --- rates


def test_a_rate_at_its_bound_is_not_above_it() -> None:
    rate = Rate(11, 1000.0)
    for second in range(11):
        rate.record(100.0, second * 1000.0)
    assert rate.excess_ms(110.0, 10_000.0) == 0.0
    assert rate.excess_ms(50.0, 10_000.0) > 0.0


def test_a_young_rate_counts_as_almost_a_whole_window() -> None:
    rate = Rate(11, 1000.0)
    rate.record(1000.0, 0.0)
    assert rate.excess_ms(100.0, 0.0) == 0.0
    rate.record(1000.0, 0.0)
    assert rate.excess_ms(100.0, 0.0) == pytest.approx(10_000.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    rate = Rate(3, 1000.0)
    rate.record(10**9, 0.0)
    assert rate.excess_ms(1.0, 2999.0) > 0
    assert rate.excess_ms(1.0, 3000.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 10**6)), max_size=60), st.integers(1, 10**6))
def test_after_the_silence_a_rate_is_down_to_its_bound(steps: list[tuple[int, int]], bound: int) -> None:
    rate, now = Rate(11, 1000.0), 0.0
    for pause, value in steps:
        now += pause
        rate.record(value, now)
        now += rate.excess_ms(bound, now)
    # What the first sample had may have left the window by then; it never takes more than another window.
    assert rate.excess_ms(bound, now + 11_000) == 0.0


# --- which quota


def quotas(*levels: tuple[str | None, ...]) -> Any:
    """Levels as (user,), (user, client) or (None-or-name, client); "-" leaves a part out. The limit is the position."""
    found = {}
    for number, (user, client) in enumerate(levels, 1):
        parts = [("client-id", client)] if client != "-" else []
        parts += [("user", user)] if user != "-" else []
        found[tuple(parts)] = {PRODUCER: float(number)}
    return found


LEVELS = (
    ("u", "c"), ("u", None), ("u", "-"), (None, "c"), (None, None), (None, "-"), ("-", "c"), ("-", None),
)  # fmt: skip


@pytest.mark.parametrize("first", range(len(LEVELS)))
def test_the_most_specific_quota_counts(first: int) -> None:
    found = limit_of(quotas(*LEVELS[first:]), PRODUCER, "u", "c")
    assert found is not None
    assert found[0] == 1.0


def test_clients_of_one_user_share_the_user_s_quota_and_default_ones_are_each_client_s_own() -> None:
    def sharers(level: tuple[str | None, ...], clients: str) -> set[Any]:
        return {limit_of(quotas(level), PRODUCER, "u", client)[1] for client in clients}  # type: ignore[index]

    assert len(sharers(("u", "-"), "ab")) == 1
    assert len(sharers((None, "-"), "ab")) == 1
    assert len(sharers(("-", None), "ab")) == 2
    assert len(sharers(("u", None), "ab")) == 2


def test_a_quota_of_another_kind_or_client_does_not_count() -> None:
    assert limit_of(quotas(("-", "c")), CONSUMER, "u", "c") is None
    assert limit_of(quotas(("-", "c")), PRODUCER, "u", "d") is None


# --- silence


class FakeConnection:
    principal_name = "ANONYMOUS"

    def __init__(self) -> None:
        self.told: list[str] = []

    def hold(self) -> None:
        self.told.append("hold")

    def welcome(self) -> None:
        self.told.append("welcome")


class FakeLoop:
    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        entry = (seconds, callback)
        self.timers.append(entry)
        return FakeTimer(self.timers, entry)


class FakeTimer:
    def __init__(self, timers: list[Any], entry: Any) -> None:
        self._timers, self._entry = timers, entry

    def cancel(self) -> None:
        self._timers.remove(self._entry)


class FakeBroker:
    def __init__(self) -> None:
        self.config = {"quota.window.num": 11, "quota.window.size.seconds": 1}
        self.clock = ManualClock()
        self.loop = FakeLoop()


def limited(**limits: float) -> tuple[ClientQuotas, FakeBroker]:
    image = MetadataImage()
    for key, value in limits.items():
        part = m.ClientQuotaRecord.EntityData("client-id", None)
        image.apply(m.ClientQuotaRecord([part], key, value, False), MetadataDelta())
    broker = FakeBroker()
    found = ClientQuotas(broker)  # type: ignore[arg-type]
    found.changed(image, MetadataDelta(everything=True))
    return found, broker


def produce(size: int) -> m.ProduceRequest:
    of = m.ProduceRequest
    return of(None, 1, 1000, [of.TopicProduceData("t", bytes(16), [of.PartitionProduceData(0, bytes(size))])])


def request(body: Any, connection: FakeConnection, client: str = "c") -> Request:
    key = ApiKey.PRODUCE if isinstance(body, m.ProduceRequest) else ApiKey.FETCH
    return Request(key, 9, 1, client, body, connection, 0.0)  # type: ignore[arg-type]


def test_a_producer_above_its_quota_is_told_and_held_until_then() -> None:
    enforced, broker = limited(producer_byte_rate=1000.0)
    connection = FakeConnection()
    first = enforced.serve(request(produce(10_000), connection), lambda _: m.ProduceResponse([]))
    assert (first.throttle_time_ms, connection.told) == (0, [])
    second = enforced.serve(request(produce(5_000), connection), lambda _: m.ProduceResponse([]))
    assert (second.throttle_time_ms, connection.told) == (5_000, ["hold"])
    ((seconds, over),) = broker.loop.timers
    assert seconds == pytest.approx(5.0)
    over()
    assert connection.told == ["hold", "welcome"]


def test_a_longer_silence_takes_the_place_of_a_shorter_one() -> None:
    enforced, broker = limited(producer_byte_rate=1000.0)
    connection = FakeConnection()
    for _ in range(3):
        enforced.serve(request(produce(10_000), connection), lambda _: m.ProduceResponse([]))
    assert [round(seconds) for seconds, _ in broker.loop.timers] == [20]


def test_a_client_that_has_gone_is_not_kept_for_the_rest_of_its_silence() -> None:
    enforced, broker = limited(producer_byte_rate=1.0)
    connection = FakeConnection()
    gone = weakref.ref(connection)
    enforced.serve(request(produce(10_000), connection), lambda _: m.ProduceResponse([]))
    del connection
    gc.collect()
    assert gone() is None
    ((_, over),) = broker.loop.timers
    over()


def test_a_producer_that_wants_no_answer_is_held_all_the_same() -> None:
    enforced, _ = limited(producer_byte_rate=1.0)
    connection = FakeConnection()
    assert enforced.serve(request(produce(100), connection), lambda _: None) is None
    assert connection.told == ["hold"]


def fetch_answer(size: int) -> m.FetchResponse:
    of = m.FetchResponse
    return of(responses=[of.FetchableTopicResponse("t", partitions=[of.PartitionData(0, records=bytes(size))])])


def test_a_consumer_gets_no_more_at_once_than_a_window_allows() -> None:
    enforced, _ = limited(consumer_byte_rate=1000.0)
    body = m.FetchRequest(max_bytes=50_000_000)
    asked: list[int] = []

    def serve(seen: Request) -> m.FetchResponse:
        asked.append(seen.body.max_bytes)
        return fetch_answer(asked[-1])

    connection = FakeConnection()
    assert enforced.serve(request(body, connection), serve).throttle_time_ms == 0
    assert asked == [10_000]
    assert enforced.serve(request(body, connection), serve).throttle_time_ms == 10_000


def test_an_answer_that_comes_later_is_charged_when_it_comes() -> None:
    async def scenario() -> None:
        enforced, broker = limited(consumer_byte_rate=100.0)
        loop = asyncio.get_running_loop()
        broker.loop.create_future = loop.create_future  # type: ignore[attr-defined]
        inner: asyncio.Future[Any] = loop.create_future()
        connection = FakeConnection()
        answer = enforced.serve(request(m.FetchRequest(), connection), lambda _: inner)
        assert not connection.told
        inner.set_result(fetch_answer(2_000))
        assert (await answer).throttle_time_ms == 10_000
        assert connection.told == ["hold"]

    asyncio.run(scenario())


def test_a_client_that_goes_away_takes_its_waiting_request_with_it() -> None:
    async def scenario() -> None:
        enforced, broker = limited(consumer_byte_rate=100.0)
        loop = asyncio.get_running_loop()
        broker.loop.create_future = loop.create_future  # type: ignore[attr-defined]
        inner: asyncio.Future[Any] = loop.create_future()
        enforced.serve(request(m.FetchRequest(), FakeConnection()), lambda _: inner).cancel()
        await asyncio.sleep(0)
        assert inner.cancelled()

    asyncio.run(scenario())


def test_time_that_requests_take_silences_for_a_sample_at_most() -> None:
    enforced, _ = limited(request_percentage=0.0000001)
    connection = FakeConnection()
    answer = enforced.serve(request(m.FetchRequest(), connection), lambda _: fetch_answer(0))
    assert 0 < answer.throttle_time_ms <= 1000
    assert connection.told == ["hold"]


def test_other_quotas_are_not_looked_at() -> None:
    assert limited(controller_mutation_rate=1.0)[0].active is False
    assert limited(**{REQUEST: 1.0})[0].active is True


# --- with a broker


@pytest.mark.slow
def test_real_clients_hear_of_their_quotas_and_get_everything_in_the_end() -> None:
    quotas = m.AlterClientQuotasRequest

    def limit(broker: Broker, key: str, value: float) -> None:
        entry = quotas.EntryData([quotas.EntityData("client-id", "slow")], [quotas.OpData(key, value, False)])
        answer = broker.run(lambda node: node.channel.send(quotas([entry], False)))
        assert answer.entries[0].error_code == 0

    with Broker({"quota.window.num": 2}) as broker:
        broker.create_topic("t")
        # Every batch alone is more than a second's worth, so that it does not matter how fast the machine is.
        limit(broker, "producer_byte_rate", 10_000.0)
        limit(broker, "consumer_byte_rate", 10_000.0)
        told: list[Any] = []
        client = {"bootstrap.servers": broker.bootstrap, "client.id": "slow", "throttle_cb": told.append}
        producer = Producer(client)
        for _ in range(3):
            producer.produce("t", bytes(13_000))
            assert producer.flush(20) == 0
        producer.poll(0)
        assert told
        told.clear()
        consumer = Consumer({**client, "group.id": "g", "enable.auto.commit": False})
        consumer.assign([TopicPartition("t", 0, 0)])
        found = []
        while len(found) < 3:
            found += consumer.consume(3 - len(found), 20)
        assert [len(message.value()) for message in found] == [13_000] * 3
        assert told
        consumer.close()
