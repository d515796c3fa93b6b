"""confluent-kafka's admin client."""

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ElectionType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
SECONDS = 20


@pytest.fixture(scope="module")
def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def filled(bootstrap: str, make_topic: MakeTopic) -> Callable[..., str]:
    def make(partitions: int, count: int) -> str:
        topic = make_topic(partitions)
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        for i in range(count):
            producer.produce(topic, b"%d" % i, partition=i % partitions, timestamp=1_000_000 + i)
        assert producer.flush(SECONDS) == 0
        return topic

    return make


def only(futures: dict[Any, Future[Any]]) -> Any:
    """The outcome of the only future of an answer."""
    (future,) = futures.values()
    return future.result(SECONDS)


def error_code(futures: dict[Any, Future[Any]]) -> int:
    with pytest.raises(KafkaException) as caught:
        only(futures)
    code: int = caught.value.args[0].code()
    return code


def test_topics_are_created_described_and_deleted(admin: AdminClient) -> None:
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    only(admin.create_topics([NewTopic(topic, 3, 1, config={"retention.ms": "1000"})]))
    assert len(admin.list_topics(timeout=SECONDS).topics[topic].partitions) == 3
    described = only(admin.describe_topics(TopicCollection([topic])))
    assert [p.id for p in described.partitions] == [0, 1, 2]
    assert all(len(p.isr) == 1 for p in described.partitions)
    assert error_code(admin.create_topics([NewTopic(topic, 1, 1)])) == KafkaError.TOPIC_ALREADY_EXISTS
    only(admin.delete_topics([topic]))
    assert error_code(admin.delete_topics([topic])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_is_only_validated(admin: AdminClient) -> None:
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    only(admin.create_topics([NewTopic(topic, 3, 1)], validate_only=True))
    assert topic not in admin.list_topics(timeout=SECONDS).topics


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic("with space", 1, 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("many-replicas", 1, 5), KafkaError.INVALID_REPLICATION_FACTOR),
        (NewTopic("wrong-config", 1, 1, config={"retention.ms": "soon"}), KafkaError.INVALID_CONFIG),
        (NewTopic("unknown-config", 1, 1, config={"no.such.key": "1"}), KafkaError.INVALID_CONFIG),
    ],
    ids=lambda value: value.topic if isinstance(value, NewTopic) else "",
)
def test_a_wrong_topic_is_refused(admin: AdminClient, topic: NewTopic, code: int) -> None:
    assert error_code(admin.create_topics([topic])) == code


def test_partitions_are_added(admin: AdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic(1)
    only(admin.create_partitions([NewPartitions(topic, 3)]))
    assert len(admin.list_topics(topic, SECONDS).topics[topic].partitions) == 3
    assert error_code(admin.create_partitions([NewPartitions(topic, 2)])) == KafkaError.INVALID_PARTITIONS


def test_topic_configs_are_altered(admin: AdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic(1, **{"retention.ms": "1000000"})
    before = only(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    assert before["retention.ms"].value == "1000000"
    assert before["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert before["segment.bytes"].source == ConfigSource.DEFAULT_CONFIG.value
    entries = [
        ConfigEntry("retention.ms", "5000", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
    ]
    only(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)]))
    after = only(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    assert (after["retention.ms"].value, after["cleanup.policy"].value) == ("5000", "delete,compact")
    wrong = ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[wrong])
    assert error_code(admin.incremental_alter_configs([resource])) == KafkaError.INVALID_CONFIG


@pytest.mark.filterwarnings("ignore:alter_configs has been deprecated")
def test_configs_are_replaced_the_old_way(admin: AdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic(1, **{"retention.ms": "1000000"})
    only(admin.alter_configs([ConfigResource(ResourceType.TOPIC, topic, set_config={"segment.ms": "60000"})]))
    after = only(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    assert (after["retention.ms"].value, after["segment.ms"].value) == ("604800000", "60000")


def test_broker_configs_are_described(admin: AdminClient) -> None:
    (broker,) = admin.list_topics(timeout=SECONDS).brokers
    configs = only(admin.describe_configs([ConfigResource(ResourceType.BROKER, str(broker))]))
    assert configs["node.id"].value == str(broker)
    assert configs["node.id"].is_read_only
    assert configs["log.retention.hours"].is_default


def test_the_cluster_is_described(admin: AdminClient, bootstrap: str) -> None:
    cluster = admin.describe_cluster(include_authorized_operations=True).result(SECONDS)
    assert f"{cluster.nodes[0].host}:{cluster.nodes[0].port}" == bootstrap
    assert cluster.cluster_id == admin.cluster_id(SECONDS)
    assert cluster.controller is not None


def test_groups_are_listed_described_and_deleted(admin: AdminClient, bootstrap: str, filled: Any) -> None:
    topic, group = filled(2, 10), f"group-{uuid.uuid4().hex[:8]}"
    config = {"bootstrap.servers": bootstrap, "group.id": group, "client.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(config)
    consumer.subscribe([topic])
    assert len(consumer.consume(10, SECONDS)) == 10
    consumer.commit(asynchronous=False)
    described = only(admin.describe_consumer_groups([group]))
    assert described.state == ConsumerGroupState.STABLE
    assert described.partition_assignor == "range"
    assert [m.client_id for m in described.members] == ["reader"]
    assert len(described.members[0].assignment.topic_partitions) == 2
    assert group in {g.group_id for g in admin.list_consumer_groups().result(SECONDS).valid}
    assert error_code(admin.delete_consumer_groups([group])) == KafkaError.NON_EMPTY_GROUP
    consumer.close()
    empty = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(SECONDS)
    assert group in {g.group_id for g in empty.valid}
    only(admin.delete_consumer_groups([group]))
    assert error_code(admin.delete_consumer_groups([group])) == KafkaError.GROUP_ID_NOT_FOUND


def test_group_offsets_are_altered_and_listed(admin: AdminClient, filled: Any) -> None:
    topic, group = filled(2, 10), f"group-{uuid.uuid4().hex[:8]}"
    wanted = [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 4)]
    only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]))
    listed = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert sorted((p.partition, p.offset) for p in listed.topic_partitions) == [(0, 3), (1, 4)]


def test_records_are_deleted(admin: AdminClient, filled: Any) -> None:
    topic = filled(1, 10)
    assert only(admin.delete_records([TopicPartition(topic, 0, 6)])).low_watermark == 6
    assert error_code(admin.delete_records([TopicPartition(topic, 0, 100)])) == KafkaError.OFFSET_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("spec", "offset"),
    [
        (OffsetSpec.earliest(), 0),
        (OffsetSpec.latest(), 10),
        (OffsetSpec.max_timestamp(), 9),
        (OffsetSpec.for_timestamp(1_000_004), 4),
        (OffsetSpec.for_timestamp(9_000_000), -1),
    ],
    ids=["earliest", "latest", "max_timestamp", "timestamp", "later_timestamp"],
)
def test_offsets_are_listed(admin: AdminClient, filled: Any, spec: OffsetSpec, offset: int) -> None:
    partition = TopicPartition(filled(1, 10), 0)
    for isolation in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
        assert only(admin.list_offsets({partition: spec}, isolation_level=isolation)).offset == offset


def test_electing_a_leader_is_not_needed(admin: AdminClient, make_topic: MakeTopic) -> None:
    partition = TopicPartition(make_topic(), 0)
    outcome = admin.elect_leaders(ElectionType.PREFERRED, [partition]).result(SECONDS)
    assert outcome[partition].code() == KafkaError.ELECTION_NOT_NEEDED
