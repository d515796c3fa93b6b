"""Faults on the wire, met by real clients and by raw requests."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import Disconnected
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker, delay, disconnect, error

SECONDS = 20


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("orders")
        yield broker


def values(broker: Broker) -> list[bytes | None]:
    return [record.value for record in broker.records("orders")]


class Sender:
    """A librdkafka producer that sends each value in a request of its own."""

    def __init__(self, broker: Broker, **config: Any) -> None:
        settings = {"linger.ms": 0, "retry.backoff.ms": 10, "reconnect.backoff.ms": 1, "client.id": "shop", **config}
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, **settings})

    def send(self, *payload: bytes) -> list[KafkaError | None]:
        results: list[KafkaError | None] = []
        for value in payload:
            self._producer.produce("orders", value, on_delivery=lambda failure, _: results.append(failure))
            assert self._producer.flush(SECONDS) == 0
        return results


def produce_request(value: bytes, acks: int = -1) -> m.ProduceRequest:
    batch = build_batch([NewRecord(None, value, timestamp=1)])
    data = m.ProduceRequest.PartitionProduceData(0, batch)
    return m.ProduceRequest(None, acks, 10_000, [m.ProduceRequest.TopicProduceData("orders", bytes(16), [data])])


def on_wire(broker: Broker, *work: Any) -> list[Any]:
    """Run coroutine functions of a connection, at the same time, on one connection with the client id "raw"."""

    async def run() -> list[Any]:
        host, port = broker.bootstrap.split(":")
        async with await Connection.open(host, int(port), client_id="raw") as connection:
            return await asyncio.gather(*(each(connection) for each in work), return_exceptions=True)

    return asyncio.run(run())


def test_retriable_error_before_is_retried_and_applied_once(broker: Broker) -> None:
    rule = broker.faults.add(api="Produce", nth=2, action=error("NOT_LEADER_OR_FOLLOWER"))
    assert Sender(broker).send(b"a", b"b", b"c") == [None, None, None]
    assert values(broker) == [b"a", b"b", b"c"]
    assert (rule.hits, rule.seen) == (1, 4)


def test_error_after_applies_and_a_producer_without_idempotence_repeats_the_record(broker: Broker) -> None:
    broker.faults.add(api="Produce", nth=2, when="after", action=error("REQUEST_TIMED_OUT"))
    assert Sender(broker).send(b"a", b"b") == [None, None]
    assert values(broker) == [b"a", b"b", b"b"]


@pytest.mark.parametrize("action", [error("REQUEST_TIMED_OUT"), disconnect()], ids=repr)
def test_idempotent_producer_writes_once_whatever_comes_after(broker: Broker, action: Any) -> None:
    rule = broker.faults.add(api="Produce", nth=2, when="after", action=action)
    sender = Sender(broker, **{"enable.idempotence": True})
    assert sender.send(b"a", b"b", b"c") == [None, None, None]
    assert values(broker) == [b"a", b"b", b"c"]
    assert rule.hits == 1


def test_fatal_error_reaches_the_application(broker: Broker) -> None:
    broker.faults.add(api="Produce", action=error("MESSAGE_TOO_LARGE"), times=1)
    first, second = Sender(broker).send(b"a", b"b")
    assert first is not None
    assert first.code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert second is None
    assert values(broker) == [b"b"]


def test_disconnect_before_applies_nothing(broker: Broker) -> None:
    rule = broker.faults.add(api="Produce", nth=1, action=disconnect())
    assert Sender(broker).send(b"a") == [None]
    assert values(broker) == [b"a"]
    assert rule.hits == 1


@pytest.mark.parametrize("code", ["NOT_LEADER_OR_FOLLOWER", "FETCH_SESSION_ID_NOT_FOUND", "UNKNOWN_SERVER_ERROR"])
def test_consumer_survives_fetch_errors(broker: Broker, code: str) -> None:
    Sender(broker).send(*(b"%d" % i for i in range(5)))
    rule = broker.faults.add(api="Fetch", times=3, action=error(code))
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "g",
            "enable.auto.commit": False,
            "fetch.error.backoff.ms": 10,
        }
    )
    consumer.assign([TopicPartition("orders", 0, 0)])
    try:
        found: list[bytes] = []
        end = time.monotonic() + SECONDS
        while len(found) < 5 and time.monotonic() < end:
            found += [message.value() for message in consumer.consume(5, 0.1) if message.error() is None]
    finally:
        consumer.close()
    assert found == [b"0", b"1", b"2", b"3", b"4"]
    assert rule.hits == 3


def test_kafka_python_consumer_survives_disconnects_of_fetches(broker: Broker) -> None:
    from kafka import KafkaConsumer

    Sender(broker).send(b"a", b"b")
    rule = broker.faults.add(api="Fetch", times=2, action=disconnect())
    consumer = KafkaConsumer(
        "orders",
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="earliest",
        reconnect_backoff_ms=1,
        consumer_timeout_ms=SECONDS * 1000,
    )
    try:
        assert [next(consumer).value for _ in range(2)] == [b"a", b"b"]
    finally:
        consumer.close()
    assert rule.hits == 2


def test_aiokafka_producer_with_idempotence_writes_once(broker: Broker) -> None:
    from aiokafka import AIOKafkaProducer

    rule = broker.faults.add(api="Produce", nth=1, when="after", action=disconnect())

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap, enable_idempotence=True, retry_backoff_ms=10
        ) as producer:
            for value in (b"a", b"b"):
                await producer.send_and_wait("orders", value)

    asyncio.run(send())
    assert values(broker) == [b"a", b"b"]
    assert rule.hits == 1


def test_rules_tell_requests_apart(broker: Broker) -> None:
    others = broker.faults.add(api="Produce", client="others-*", action=disconnect())
    old = broker.faults.add(api="Produce", version=0, action=disconnect())
    elsewhere = broker.faults.add(
        api=0, where=lambda request: request.body.topic_data[0].name == "elsewhere", action=disconnect()
    )
    assert Sender(broker).send(b"a") == [None]
    assert [rule.seen for rule in (others, old, elsewhere)] == [0, 0, 0]
    shop = broker.faults.add(api="Produce", client="sh*", times=1, action=error("NOT_ENOUGH_REPLICAS"))
    assert Sender(broker).send(b"b") == [None]
    assert (shop.hits, shop.seen) == (1, 2)


def test_every_third_request_is_struck_at_most_twice(broker: Broker) -> None:
    rule = broker.faults.add(api="DescribeCluster", every=3, times=2, action=error("CLUSTER_AUTHORIZATION_FAILED"))

    async def ask(connection: Connection) -> list[int]:
        return [(await connection.request(m.DescribeClusterRequest())).error_code for _ in range(10)]

    assert on_wire(broker, ask) == [[0, 0, 31, 0, 0, 31, 0, 0, 0, 0]]
    assert (rule.seen, rule.hits) == (10, 2)


def test_nth_with_every_goes_on_from_there(broker: Broker) -> None:
    broker.faults.add(api="DescribeCluster", nth=2, every=2, action=error(31))

    async def ask(connection: Connection) -> list[int]:
        return [(await connection.request(m.DescribeClusterRequest())).error_code for _ in range(6)]

    assert on_wire(broker, ask) == [[0, 31, 0, 31, 0, 31]]


def test_first_rule_that_strikes_wins_and_all_count(broker: Broker) -> None:
    first = broker.faults.add(api="DescribeCluster", nth=1, action=error(31))
    second = broker.faults.add(api="DescribeCluster", nth=2, action=error("REQUEST_TIMED_OUT"))

    async def ask(connection: Connection) -> list[int]:
        return [(await connection.request(m.DescribeClusterRequest())).error_code for _ in range(3)]

    assert on_wire(broker, ask) == [[31, ErrorCode.REQUEST_TIMED_OUT, 0]]
    assert (first.seen, second.seen) == (3, 3)


def test_removed_and_cleared_rules_strike_no_more(broker: Broker) -> None:
    one = broker.faults.add(api="Produce", action=disconnect())
    broker.faults.add(api="Produce", action=disconnect())
    one.remove()
    broker.faults.clear()
    assert Sender(broker).send(b"a") == [None]


def test_wait_returns_when_the_rule_has_struck(broker: Broker) -> None:
    rule = broker.faults.add(api="Produce", nth=1, when="after", action=delay(0))
    sending = threading.Thread(target=Sender(broker).send, args=(b"a",))
    sending.start()
    rule.wait()
    assert values(broker) == [b"a"]
    sending.join()
    with pytest.raises(TimeoutError, match="struck 1 requests of 1"):
        rule.wait(2, timeout=0.01)


def test_delayed_produce_is_applied_before_the_one_behind_it(broker: Broker) -> None:
    broker.faults.add(api="Produce", nth=1, action=delay(50))

    async def send(connection: Connection, value: bytes) -> int:
        response = await connection.request(produce_request(value), version=9)
        return response.responses[0].partition_responses[0].base_offset

    sends = [lambda c, value=value: send(c, value) for value in (b"a" * 5000, b"b" * 5000, b"c")]
    assert on_wire(broker, *sends) == [0, 1, 2]
    assert values(broker) == [b"a" * 5000, b"b" * 5000, b"c"]


def test_delayed_answer_holds_up_its_own_connection_only(broker: Broker) -> None:
    rule = broker.faults.add(api="DescribeCluster", client="raw", when="after", action=delay(100_000))
    host, port = broker.bootstrap.split(":")

    async def run() -> None:
        async with (
            await Connection.open(host, int(port), client_id="raw") as slow,
            await Connection.open(host, int(port), client_id="other") as other,
        ):
            waiting = [
                asyncio.create_task(slow.request(m.DescribeClusterRequest())),
                asyncio.create_task(slow.request(m.MetadataRequest())),
            ]
            await asyncio.to_thread(rule.wait)
            assert (await other.request(m.DescribeClusterRequest())).error_code == 0
            assert not any(task.done() for task in waiting)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())


def test_disconnect_lets_earlier_answers_through(broker: Broker) -> None:
    broker.faults.add(api="Produce", nth=2, when="after", action=disconnect())

    async def send(connection: Connection, value: bytes) -> Any:
        return (
            (await connection.request(produce_request(value), version=9)).responses[0].partition_responses[0].error_code
        )

    first, second, third = on_wire(broker, *(lambda c, value=value: send(c, value) for value in (b"a", b"b", b"c")))
    assert first == 0
    assert isinstance(second, Disconnected)
    assert isinstance(third, Disconnected)
    assert values(broker) == [b"a", b"b"]


@pytest.mark.parametrize(("when", "stored"), [("before", []), ("after", [b"a"])])
def test_error_without_an_answer_to_carry_it_closes_the_connection(broker: Broker, when: Any, stored: Any) -> None:
    broker.faults.add(api="Produce", when=when, action=error("NOT_LEADER_OR_FOLLOWER"))

    async def send(connection: Connection) -> None:
        await connection.request(produce_request(b"a", acks=0), version=9)
        await connection.request(m.MetadataRequest())

    (outcome,) = on_wire(broker, send)
    assert isinstance(outcome, Disconnected)
    assert values(broker) == stored


def test_error_stands_in_every_partition_of_the_answer(broker: Broker) -> None:
    broker.create_topic("others", partitions=2)
    broker.faults.add(api="ListOffsets", action=error("NOT_LEADER_OR_FOLLOWER"))
    topic, partition = m.ListOffsetsRequest.ListOffsetsTopic, m.ListOffsetsRequest.ListOffsetsPartition

    async def ask(connection: Connection) -> Any:
        return await connection.request(
            m.ListOffsetsRequest(
                -1, 0, [topic("orders", [partition(0)]), topic("others", [partition(1), partition(0)])]
            )
        )

    (answer,) = on_wire(broker, ask)
    assert [(t.name, [(p.partition_index, p.error_code) for p in t.partitions]) for t in answer.topics] == [
        ("orders", [(0, 6)]),
        ("others", [(1, 6), (0, 6)]),
    ]


def test_failing_predicate_reaches_the_test() -> None:
    broker = Broker().start()
    broker.faults.add(api="Metadata", where=lambda request: request.body.nothing, action=disconnect())

    async def ask(connection: Connection) -> Any:
        return (await connection.request(m.MetadataRequest())).brokers

    on_wire(broker, ask)
    with pytest.raises(Exception, match="nothing"):
        broker.stop()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"api": "Produc"}, "did you mean 'Produce'"),
        ({"api": 4}, "no API 4"),
        ({"api": "Produce", "nth": 0}, "nth=0"),
        ({"api": "Produce", "every": 0}, "every=0"),
        ({"api": "Produce", "when": "while"}, "while"),
    ],
)
def test_rule_that_means_nothing_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Broker().faults.add(**words, action=disconnect())


def test_action_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'NOT_LEADER_OR_FOLLOWER'"):
        error("NOT_LEADER")
    with pytest.raises(ValueError, match="no error"):
        error(0)
    with pytest.raises(ValueError):
        error(9999)
    with pytest.raises(ValueError, match="-1"):
        delay(-1)
