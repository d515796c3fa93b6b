"""kafka-python: producing, consuming, groups and its admin client."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import kafka.errors
import pytest

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic, OffsetSpec

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
SECONDS = 40
ELECTION_NOT_NEEDED = 84


@pytest.fixture(scope="module")
def admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture
def open_producer(bootstrap: str) -> Iterator[Callable[..., KafkaProducer]]:
    opened: list[KafkaProducer] = []

    def make(**config: Any) -> KafkaProducer:
        opened.append(KafkaProducer(bootstrap_servers=bootstrap, **config))
        return opened[-1]

    yield make
    for producer in opened:
        producer.close(timeout=5)


@pytest.fixture
def open_consumer(bootstrap: str) -> Iterator[Callable[..., KafkaConsumer]]:
    opened: list[KafkaConsumer] = []

    def make(**config: Any) -> KafkaConsumer:
        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300}
        opened.append(KafkaConsumer(bootstrap_servers=bootstrap, **{**settings, **config}))
        return opened[-1]

    yield make
    for consumer in opened:
        consumer.close()


@pytest.fixture
def filled(make_topic: MakeTopic, open_producer: Callable[..., KafkaProducer]) -> Callable[[int, int], str]:
    def make(partitions: int, count: int) -> str:
        topic, producer = make_topic(partitions), open_producer()
        for i in range(count):
            producer.send(topic, b"%d" % i, partition=i % partitions, timestamp_ms=1_000_000 + i)
        producer.flush(SECONDS)
        return topic

    return make


def read(consumer: KafkaConsumer, count: int) -> list[Any]:
    records: list[Any] = []
    end = time.monotonic() + SECONDS
    while len(records) < count:
        assert time.monotonic() < end, f"{len(records)} of {count} records within {SECONDS} s"
        # Long, since kafka-python 3.0 forgets an assignment that arrives between two polls.
        for batch in consumer.poll(5000, max_records=count - len(records)).values():
            records += batch
    return records


def read_from_start(consumer: KafkaConsumer, topic: str, count: int) -> list[Any]:
    consumer.assign([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
    consumer.seek_to_beginning()
    return read(consumer, count)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS} s: {what}"


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_acks(make_topic: MakeTopic, open_producer: Any, open_consumer: Any, acks: Any) -> None:
    topic, producer = make_topic(), open_producer(acks=acks, enable_idempotence=False)
    for i in range(10):
        producer.send(topic, b"%d" % i)
    producer.flush(SECONDS)
    assert [r.value for r in read_from_start(open_consumer(), topic, 10)] == [b"%d" % i for i in range(10)]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(make_topic: MakeTopic, open_producer: Any, open_consumer: Any, codec: str | None) -> None:
    try:
        producer = open_producer(compression_type=codec, linger_ms=20)
    except (AssertionError, RuntimeError) as error:
        pytest.skip(f"kafka-python lacks a library for {codec}: {error}")
    topic, values = make_topic(), [b"%d-" % i + b"x" * i for i in range(200)]
    for value in values:
        producer.send(topic, value)
    producer.flush(SECONDS)
    assert [r.value for r in read_from_start(open_consumer(), topic, 200)] == values


def test_keys_headers_and_timestamps(make_topic: MakeTopic, open_producer: Any, open_consumer: Any) -> None:
    topic, headers = make_topic(), [("a", b"1"), ("a", b"2"), ("empty", b"")]
    producer = open_producer()
    sent = producer.send(topic, b"v", key=b"k", headers=headers, timestamp_ms=1_600_000_000_123).get(SECONDS)
    assert (sent.offset, sent.timestamp) == (0, 1_600_000_000_123)
    producer.send(topic, None, key=b"tombstone").get(SECONDS)
    first, second = read_from_start(open_consumer(), topic, 2)
    assert (first.key, first.value, list(first.headers), first.timestamp) == (b"k", b"v", headers, 1_600_000_000_123)
    assert (second.key, second.value) == (b"tombstone", None)


def test_idempotent_producer_keeps_order(make_topic: MakeTopic, open_producer: Any, open_consumer: Any) -> None:
    topic = make_topic()
    producer = open_producer(enable_idempotence=True, batch_size=300)
    sent = [producer.send(topic, b"%d" % i) for i in range(1000)]
    assert [future.get(SECONDS).offset for future in sent] == list(range(1000))
    assert [int(r.value) for r in read_from_start(open_consumer(), topic, 1000)] == list(range(1000))


def test_assign_seek_and_bounds(filled: Any, open_consumer: Any) -> None:
    topic, consumer = filled(2, 40), open_consumer()
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert consumer.beginning_offsets([zero, one]) == {zero: 0, one: 0}
    assert consumer.end_offsets([zero, one]) == {zero: 20, one: 20}
    consumer.assign([zero, one])
    consumer.seek(zero, 15)
    consumer.seek_to_end(one)
    assert consumer.position(one) == 20
    assert [r.offset for r in read(consumer, 5)] == [15, 16, 17, 18, 19]
    consumer.pause(one)
    consumer.seek_to_beginning()
    assert {r.partition for r in read(consumer, 20)} == {0}
    consumer.resume(one)
    assert {r.partition for r in read(consumer, 20)} == {1}


def test_offsets_for_times(filled: Any, open_consumer: Any) -> None:
    partition, consumer = TopicPartition(filled(1, 10), 0), open_consumer()
    assert consumer.offsets_for_times({partition: 1_000_004})[partition].offset == 4
    assert consumer.offsets_for_times({partition: 9_000_000})[partition] is None


def test_commit_and_lag(filled: Any, open_consumer: Any) -> None:
    topic, group = filled(1, 30), f"group-{uuid.uuid4().hex[:8]}"
    partition, consumer = TopicPartition(topic, 0), open_consumer(group_id=group)
    consumer.assign([partition])
    consumer.seek_to_beginning()
    read(consumer, 10)
    consumer.commit()
    assert consumer.committed(partition) == 10
    assert consumer.highwater(partition) - consumer.committed(partition) == 20
    consumer.commit({partition: OffsetAndMetadata(12, "note", -1)})
    assert consumer.committed(partition, metadata=True).metadata == "note"
    later = open_consumer(group_id=group)
    later.subscribe([topic])
    assert read(later, 1)[0].offset == 12


def test_a_group_of_two_rebalances(filled: Any, open_consumer: Any) -> None:
    topic, group = filled(4, 100), f"group-{uuid.uuid4().hex[:8]}"
    seen: set[tuple[int, int]] = set()

    def take(*members: KafkaConsumer) -> list[int]:
        for member in members:
            # kafka-python 3.0 forgets an assignment that arrives between two polls: they had better be long.
            for batch in member.poll(1000).values():
                seen.update((r.partition, r.offset) for r in batch)
        return [len(member.assignment()) for member in members]

    first, second = open_consumer(group_id=group), open_consumer(group_id=group)
    first.subscribe([topic])
    until(lambda: take(first) == [4], "all partitions for the only member")
    second.subscribe([topic])
    until(lambda: take(first, second) == [2, 2], "half of the partitions for each")
    assert not first.assignment() & second.assignment()
    second.close()
    until(lambda: take(first) == [4] and len(seen) == 100, "all partitions, and every record")


def test_a_static_member_comes_back(filled: Any, open_consumer: Any, admin: KafkaAdminClient) -> None:
    topic, group = filled(2, 2), f"group-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        consumer = open_consumer(group_id=group, group_instance_id="one")
        consumer.subscribe([topic])
        until(lambda c=consumer: c.poll(2000) is not None and len(c.assignment()) == 2, "an assignment")
        consumer.close()
        (member,) = admin.describe_groups([group])[group]["members"]
        assert member["group_instance_id"] == "one"


def test_topics(admin: KafkaAdminClient) -> None:
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    made = admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "1000"})])["topics"][0]
    assert (made["num_partitions"], made["replication_factor"]) == (2, 1)
    assert made["configs"]["retention.ms"]["value"] == "1000"
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        admin.create_topics([NewTopic(topic, 2, 1)])
    admin.create_partitions({topic: NewPartitions(5)})
    assert len(admin.describe_topics([topic])[0]["partitions"]) == 5
    assert len(admin.describe_topic_partitions([topic])["topics"][0]["partitions"]) == 5
    assert topic in admin.list_topics()
    admin.delete_topics([topic])
    until(lambda: topic not in admin.list_topics(), "the topic gone")
    with pytest.raises(kafka.errors.UnknownTopicOrPartitionError):
        admin.delete_topics([topic])


def test_configs(admin: KafkaAdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic()

    def value(key: str) -> tuple[str, str]:
        asked = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: None})
        found = admin.describe_configs([asked], config_filter="all")["topic"][topic][key]
        return found["value"], found["config_source"]

    assert value("retention.ms") == ("604800000", "DEFAULT_CONFIG")
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "5000"})])
    assert value("retention.ms") == ("5000", "DYNAMIC_TOPIC_CONFIG")
    admin.reset_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=["retention.ms"])])
    assert value("retention.ms") == ("604800000", "DEFAULT_CONFIG")
    assert topic in admin.list_config_resources()["topic"]


def test_records_and_offsets(admin: KafkaAdminClient, filled: Any) -> None:
    partition = TopicPartition(filled(1, 10), 0)

    def offset(spec: Any) -> int:
        found: int = admin.list_partition_offsets({partition: spec})[partition].offset
        return found

    assert [offset(s) for s in (OffsetSpec.EARLIEST, OffsetSpec.LATEST, OffsetSpec.MAX_TIMESTAMP)] == [0, 10, 9]
    assert admin.delete_records({partition: 4})[partition]["low_watermark"] == 4
    assert offset(OffsetSpec.EARLIEST) == 4
    with pytest.raises(kafka.errors.OffsetOutOfRangeError):
        admin.delete_records({partition: 100})


def test_groups(admin: KafkaAdminClient, filled: Any) -> None:
    partition, group = TopicPartition(filled(1, 10), 0), f"group-{uuid.uuid4().hex[:8]}"
    admin.alter_group_offsets(group, {partition: OffsetAndMetadata(3, "note", -1)})
    assert admin.list_group_offsets({group: None})[group][partition] == OffsetAndMetadata(3, "note", -1)
    assert admin.describe_groups([group])[group]["group_state"] == "Empty"
    assert group in {g["group_id"] for g in admin.list_groups()}
    assert admin.reset_group_offsets(group, {partition: OffsetSpec.LATEST})[partition]["offset"] == 10
    admin.delete_group_offsets(group, [partition])
    assert admin.delete_groups([group])[group] in ("OK", "GroupIdNotFoundError")  # a group without offsets may be gone
    assert admin.delete_groups([group])[group] == "GroupIdNotFoundError"


def test_the_cluster(admin: KafkaAdminClient, bootstrap: str, filled: Any) -> None:
    cluster = admin.describe_cluster()
    assert [f"{b['host']}:{b['port']}" for b in cluster["brokers"]] == [bootstrap]
    features = admin.describe_features()
    assert features["metadata.version"]["finalized"][1] >= 21
    quorum = admin.describe_metadata_quorum()["topics"][0]["partitions"][0]
    assert quorum["leader_id"] == quorum["current_voters"][0]["replica_id"]
    assert admin.get_broker_version_data(cluster["brokers"][0]["broker_id"]).broker_version >= (4, 3)
    assert admin.list_partition_reassignments() == {}
    topic = filled(1, 10)
    held = {t["name"]: t for d in admin.describe_log_dirs()[0]["log_dirs"] for t in d["topics"]}
    assert held[topic]["partitions"][0]["partition_size"] > 0
    outcome = admin.elect_leaders(0, {topic: [0]}, raise_errors=False).replica_election_results[0].partition_result[0]
    assert outcome.error_code == ELECTION_NOT_NEEDED


def test_active_producers(admin: KafkaAdminClient, make_topic: MakeTopic, open_producer: Any) -> None:
    partition = TopicPartition(make_topic(), 0)
    producer = open_producer(enable_idempotence=True)
    for _ in range(3):
        producer.send(partition.topic, b"v").get(SECONDS)
    (active,) = admin.describe_producers([partition])[partition].active_producers
    assert (active.producer_epoch, active.last_sequence, active.current_transaction_start_offset) == (0, 2, -1)


def test_transactions_are_refused_at_once(bootstrap: str) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id="nobody-coordinates-it")
    with pytest.raises(kafka.errors.KafkaError, match="UnsupportedVersion"):
        producer.init_transactions()
    producer.close(0)
