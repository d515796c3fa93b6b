"""Our producer: every record once and in order, whatever happens on the way."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError, Disconnected, Refused
from riverport.kafka.client.partitioner import murmur2, partition_of
from riverport.kafka.client.producer import Delivery, Producer
from riverport.testing import Broker, delay, disconnect, error

names = (f"topic-{number}" for number in itertools.count())


def producing(broker: Broker, act: Callable[[Producer], Awaitable[object]], **options: object) -> object:
    async def run() -> object:
        async with Client(broker.bootstrap) as client, Producer(client, **options) as producer:  # type: ignore[arg-type]
            return await act(producer)

    return asyncio.run(run())


def values(broker: Broker, topic: str, partition: int | None = None) -> list[bytes | None]:
    return [record.value for record in broker.records(topic, partition)]


async def send_all(producer: Producer, topic: str, count: int) -> list[Delivery]:
    futures = [await producer.send(topic, value=b"%d" % n, partition=0) for n in range(count)]
    return await asyncio.gather(*futures)


NUMBERS = [b"%d" % n for n in range(300)]


def test_records_arrive_in_order_with_their_offsets(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    delivered = producing(broker, lambda producer: send_all(producer, topic, 300), batch_bytes=1000)
    assert [found.offset for found in delivered] == list(range(300))  # type: ignore[attr-defined]
    assert values(broker, topic) == NUMBERS


@pytest.mark.parametrize("code", ["NOT_LEADER_OR_FOLLOWER", "NOT_ENOUGH_REPLICAS", "REQUEST_TIMED_OUT"])
def test_a_passing_error_is_retried_without_reordering(broker: Broker, code: str) -> None:
    topic = broker.create_topic(next(names))
    rule = broker.faults.add("Produce", nth=2, every=2, times=3, action=error(code))
    producing(broker, lambda producer: send_all(producer, topic, 300), batch_bytes=1000)
    assert rule.hits == 3
    assert values(broker, topic) == NUMBERS


def test_an_idempotent_producer_sends_nothing_twice_when_answers_are_lost(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    rule = broker.faults.add("Produce", nth=2, every=3, times=3, when="after", action=disconnect())
    producing(broker, lambda producer: send_all(producer, topic, 300), batch_bytes=1000, idempotent=True)
    assert rule.hits == 3
    assert values(broker, topic) == NUMBERS


def test_without_idempotence_a_lost_answer_may_double_a_batch_but_loses_none(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    broker.faults.add("Produce", nth=1, when="after", action=disconnect())
    producing(broker, lambda producer: send_all(producer, topic, 10))
    assert values(broker, topic) == NUMBERS[:10] * 2


def test_an_error_that_stays_fails_the_records_of_its_batch_only(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    broker.faults.add("Produce", nth=1, action=error("TOPIC_AUTHORIZATION_FAILED"))

    async def send(producer: Producer) -> None:
        with pytest.raises(Refused, match="TOPIC_AUTHORIZATION_FAILED"):
            await (await producer.send(topic, value=b"first"))
        assert (await (await producer.send(topic, value=b"second"))).offset == 0

    producing(broker, send)
    assert values(broker, topic) == [b"second"]


def test_an_idempotent_producer_goes_on_after_a_batch_was_refused(broker: Broker) -> None:
    topic = broker.create_topic(next(names), config={"max.message.bytes": 500})

    async def send(producer: Producer) -> None:
        await (await producer.send(topic, value=b"small"))
        with pytest.raises(Refused, match="MESSAGE_TOO_LARGE"):
            await (await producer.send(topic, value=b"x" * 1000))
        await (await producer.send(topic, value=b"small again"))

    producing(broker, send, idempotent=True)
    assert values(broker, topic) == [b"small", b"small again"]


def test_a_record_is_given_up_on_at_its_deadline(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    broker.faults.add("Produce", action=disconnect())

    async def send(producer: Producer) -> None:
        with pytest.raises(Disconnected):
            await (await producer.send(topic, value=b"v"))

    producing(broker, send, delivery_timeout_ms=300)
    broker.faults.clear()
    assert values(broker, topic) == []


def test_acks_0_waits_for_no_answer(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    delivered = producing(broker, lambda producer: send_all(producer, topic, 3), acks=0)
    assert [found.offset for found in delivered] == [-1, -1, -1]  # type: ignore[attr-defined]


def test_a_full_buffer_makes_send_wait(broker: Broker) -> None:
    topic = broker.create_topic(next(names))
    held = broker.faults.add("Produce", nth=1, action=delay(200))

    async def send(producer: Producer) -> bool:
        await producer.send(topic, value=b"x" * 900, partition=0)
        second = asyncio.ensure_future(producer.send(topic, value=b"y" * 900, partition=0))
        await asyncio.to_thread(held.wait)
        waited = not second.done()
        await second
        return waited

    assert producing(broker, send, buffer_bytes=1000) is True
    assert len(values(broker, topic)) == 2


def test_what_was_not_sent_when_it_closes_is_said_to_be_lost(broker: Broker) -> None:
    topic = broker.create_topic(next(names))

    async def send() -> None:
        async with Client(broker.bootstrap) as client:
            producer = Producer(client, linger_ms=60_000)
            future = await producer.send(topic, value=b"v")
            await producer.close()
            with pytest.raises(ClientError, match="closed before the record was sent"):
                await future

    asyncio.run(send())


def test_records_without_a_key_go_round_a_batch_each(broker: Broker) -> None:
    topic = broker.create_topic(next(names), partitions=3)

    async def send(producer: Producer) -> set[int]:
        places = set()
        for _ in range(3):
            places.add((await (await producer.send(topic, value=b"v"))).partition)
        return places

    assert producing(broker, send) == {0, 1, 2}


def test_a_partition_that_is_not_there_is_refused(broker: Broker) -> None:
    topic = broker.create_topic(next(names))

    async def send(producer: Producer) -> None:
        with pytest.raises(Refused, match=f"partition {topic}-5"):
            await producer.send(topic, value=b"v", partition=5)

    producing(broker, send)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_hash_as_in_every_other_client(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF
    assert partition_of(key, 7) == (expected & 0x7FFFFFFF) % 7
