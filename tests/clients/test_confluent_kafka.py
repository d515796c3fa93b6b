"""confluent-kafka (librdkafka): producing, consuming and groups."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
SECONDS = 20


@pytest.fixture
def produce(bootstrap: str) -> Callable[..., list[Message]]:
    """Produces each of a list of records, and returns what the broker acknowledged."""

    def send(topic: str, records: list[dict[str, Any]], **config: Any) -> list[Message]:
        acked: list[Message] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            acked.append(message)

        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **config})
        for record in records:
            producer.produce(topic, on_delivery=delivered, **record)
        assert producer.flush(SECONDS) == 0
        return acked

    return send


@pytest.fixture
def open_consumer(bootstrap: str) -> Callable[..., Any]:
    @contextmanager
    def opened(**config: Any) -> Iterator[Consumer]:
        names = {key.replace("_", "."): value for key, value in config.items()}
        names.setdefault("group.id", f"group-{uuid.uuid4().hex[:8]}")
        names = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.partition.eof": False, **names}
        consumer = Consumer({"bootstrap.servers": bootstrap, "heartbeat.interval.ms": 300, **names})
        try:
            yield consumer
        finally:
            consumer.close()

    return opened


def read(consumer: Consumer, count: int, seconds: float = SECONDS) -> list[Message]:
    """The next `count` messages."""
    messages: list[Message] = []
    end = time.monotonic() + seconds
    while len(messages) < count:
        assert time.monotonic() < end, f"{len(messages)} of {count} messages within {seconds} s"
        for message in consumer.consume(count - len(messages), 0.1):
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS} s: {what}"


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_acks(make_topic: MakeTopic, produce: Any, open_consumer: Any, acks: str) -> None:
    topic = make_topic()
    produce(topic, [{"value": f"v{i}"} for i in range(10)], acks=acks)
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        assert [m.value() for m in read(consumer, 10)] == [b"v%d" % i for i in range(10)]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(make_topic: MakeTopic, produce: Any, open_consumer: Any, codec: str) -> None:
    topic, values = make_topic(), [b"%d-" % i + b"x" * i for i in range(300)]
    produce(topic, [{"value": v} for v in values], **{"compression.codec": codec})
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        assert [m.value() for m in read(consumer, 300)] == values


def test_keys_headers_timestamps_and_nulls(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic, headers = make_topic(), [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None)]
    produce(
        topic,
        [
            {"key": b"k", "value": b"v", "headers": headers, "timestamp": 1_600_000_000_123},
            {"key": None, "value": None, "timestamp": 1_600_000_000_124},
        ],
    )
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        first, second = read(consumer, 2)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", headers)
    assert first.timestamp() == (TIMESTAMP_CREATE_TIME, 1_600_000_000_123)
    assert first.leader_epoch() == 0
    assert (second.key(), second.value()) == (None, None)


def test_log_append_time(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic(1, **{"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    produce(topic, [{"value": b"v", "timestamp": 5}])
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        kind, when = read(consumer, 1)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert when >= before - 1000


def test_idempotent_producer_keeps_order(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic(2)
    acked = produce(
        topic,
        [{"value": b"%d" % i, "partition": i % 2} for i in range(4000)],
        **{"enable.idempotence": True, "batch.num.messages": 50},
    )
    assert sorted((m.partition(), m.offset()) for m in acked) == [(p, o) for p in (0, 1) for o in range(2000)]
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, p, 0) for p in (0, 1)])
        for message in read(consumer, 4000):
            assert int(message.value()) == message.offset() * 2 + message.partition()


def test_too_large_a_message(make_topic: MakeTopic, bootstrap: str) -> None:
    topic, errors = make_topic(1, **{"max.message.bytes": "1000"}), []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"x" * 2000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(SECONDS)
    assert errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_assign_and_seek(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic()
    produce(topic, [{"value": b"%d" % i} for i in range(50)])
    with open_consumer() as consumer:
        assert consumer.get_watermark_offsets(TopicPartition(topic, 0), SECONDS) == (0, 50)
        consumer.assign([TopicPartition(topic, 0, 40)])
        assert read(consumer, 1)[0].offset() == 40
        consumer.seek(TopicPartition(topic, 0, OFFSET_BEGINNING))
        assert read(consumer, 1)[0].offset() == 0
        consumer.seek(TopicPartition(topic, 0, 45))
        assert [m.offset() for m in read(consumer, 5)] == [45, 46, 47, 48, 49]
        assert consumer.position([TopicPartition(topic, 0)])[0].offset == 50


def test_end_of_partition_and_reset(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic()
    produce(topic, [{"value": b"v"}])
    with open_consumer(**{"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
        message = consumer.poll(SECONDS)
        assert message is not None
        assert message.error().code() == KafkaError._PARTITION_EOF
        assert message.offset() == 1
    with open_consumer(**{"auto.offset.reset": "error"}) as consumer:
        consumer.assign([TopicPartition(topic, 0, 1000)])
        message = consumer.poll(SECONDS)
        assert message is not None
        assert message.error().code() == KafkaError._AUTO_OFFSET_RESET
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, 0, 1000)])
        assert read(consumer, 1)[0].offset() == 0


def test_offsets_for_times(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic()
    for i in range(5):
        produce(topic, [{"value": b"v", "timestamp": 1_000_000 + i * 1000}])
    with open_consumer() as consumer:
        wanted = [TopicPartition(topic, 0, t) for t in (1_001_500, 1_004_000, 9_999_999)]
        found = [consumer.offsets_for_times([w], SECONDS)[0].offset for w in wanted]
    assert found == [2, 4, OFFSET_END]


def test_pause_and_resume(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic(2)
    produce(topic, [{"value": b"v", "partition": i % 2} for i in range(20)])
    with open_consumer() as consumer:
        consumer.assign([TopicPartition(topic, p, 0) for p in (0, 1)])
        consumer.pause([TopicPartition(topic, 0)])
        assert {m.partition() for m in read(consumer, 10)} == {1}
        assert consumer.consume(1, 0.3) == []
        consumer.resume([TopicPartition(topic, 0)])
        assert {m.partition() for m in read(consumer, 10)} == {0}


def test_small_fetches_of_large_messages(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic = make_topic()
    produce(topic, [{"value": b"x" * 50_000} for _ in range(10)], **{"batch.num.messages": 1})
    limits = {"fetch.message.max.bytes": 1000, "fetch.max.bytes": 1000, "message.max.bytes": 1000}
    with open_consumer(**limits) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        assert [len(m.value()) for m in read(consumer, 10)] == [50_000] * 10


def test_commit_metadata_and_lag(make_topic: MakeTopic, produce: Any, open_consumer: Any) -> None:
    topic, group = make_topic(), f"group-{uuid.uuid4().hex[:8]}"
    produce(topic, [{"value": b"%d" % i} for i in range(30)])
    with open_consumer(**{"group.id": group}) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        last = read(consumer, 10)[-1]
        consumer.commit(message=last, asynchronous=False)
        assert consumer.committed([TopicPartition(topic, 0)], SECONDS)[0].offset == 10
        consumer.commit(offsets=[TopicPartition(topic, 0, 12, "note é")], asynchronous=False)
        committed = consumer.committed([TopicPartition(topic, 0)], SECONDS)[0]
        assert (committed.offset, committed.metadata) == (12, "note é")
        assert consumer.get_watermark_offsets(TopicPartition(topic, 0), SECONDS)[1] - committed.offset == 18
    with open_consumer(**{"group.id": group}) as consumer:
        consumer.subscribe([topic])
        assert read(consumer, 1)[0].offset() == 12


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_a_group_of_two_rebalances(make_topic: MakeTopic, produce: Any, open_consumer: Any, strategy: str) -> None:
    topic, group = make_topic(4), f"group-{uuid.uuid4().hex[:8]}"
    produce(topic, [{"value": b"%d" % i, "partition": i % 4} for i in range(100)])
    config = {"group.id": group, "partition.assignment.strategy": strategy}
    seen: set[tuple[int, int]] = set()

    def take(*members: Consumer) -> list[int]:
        for member in members:
            seen.update((m.partition(), m.offset()) for m in member.consume(50, 0.02))
        return [len(member.assignment()) for member in members]

    with open_consumer(**config) as first:
        first.subscribe([topic])
        until(lambda: take(first) == [4], "all partitions for the only member")
        with open_consumer(**config) as second:
            second.subscribe([topic])
            until(lambda: take(first, second) == [2, 2], "half of the partitions for each")
            owned = {p.partition for member in (first, second) for p in member.assignment()}
            assert owned == {0, 1, 2, 3}
        until(lambda: take(first) == [4], "all partitions again")
        until(lambda: take(first) == [4] and len(seen) == 100, "every message")


def test_a_static_member_comes_back(make_topic: MakeTopic, open_consumer: Any) -> None:
    topic = make_topic(2)
    config = {"group.id": f"group-{uuid.uuid4().hex[:8]}", "group.instance.id": "one", "session.timeout.ms": 30_000}
    members = []
    for _ in range(2):
        with open_consumer(**config) as consumer:
            consumer.subscribe([topic])
            until(lambda c=consumer: not c.consume(1, 0.05) and len(c.assignment()) == 2, "an assignment")
            members.append(consumer.memberid())
    assert members[0] != members[1]
    assert all(member.startswith("one-") for member in members)


def test_a_second_instance_fences_the_first(make_topic: MakeTopic, open_consumer: Any) -> None:
    topic = make_topic()
    config = {"group.id": f"group-{uuid.uuid4().hex[:8]}", "group.instance.id": "one"}
    with open_consumer(**config) as first, open_consumer(**config) as second:
        first.subscribe([topic])
        until(lambda: not first.consume(1, 0.05) and len(first.assignment()) == 1, "an assignment")
        second.subscribe([topic])
        errors: list[int] = []

        def fenced() -> bool:
            second.poll(0.05)
            try:
                if (message := first.poll(0.05)) is not None and message.error():
                    errors.append(message.error().code())
            except KafkaException as error:
                errors.append(error.args[0].code())
            return KafkaError._FATAL in errors or KafkaError.FENCED_INSTANCE_ID in errors

        until(fenced, "the first instance fenced")


def test_a_pattern_finds_a_new_topic(open_consumer: Any, produce: Any) -> None:
    prefix = f"pattern-{uuid.uuid4().hex[:8]}"
    produce(f"{prefix}-a", [{"value": b"a"}])
    with open_consumer(**{"topic.metadata.refresh.interval.ms": 300}) as consumer:
        consumer.subscribe([f"^{prefix}-.*"])
        consumer.commit(message=read(consumer, 1)[0], asynchronous=False)
        produce(f"{prefix}-b", [{"value": b"b"}])
        assert read(consumer, 1)[0].topic() == f"{prefix}-b"


def test_a_missing_topic_is_made_by_producing_only(produce: Any, open_consumer: Any) -> None:
    topic = f"auto-{uuid.uuid4().hex[:8]}"
    with open_consumer() as consumer:
        consumer.subscribe([topic])
        until(lambda: (m := consumer.poll(0.1)) is not None and m.error() is not None, "an error")
        assert topic not in consumer.list_topics(timeout=SECONDS).topics
    assert produce(topic, [{"value": b"v"}])[0].offset() == 0
