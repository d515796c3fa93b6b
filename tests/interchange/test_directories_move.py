"""A data directory moves between Apache Kafka and Riverport, in either direction, after a clean stop and after a kill.

What must survive: every record with its key, headers, timestamp and offset, in every codec; topic ids and
configurations; committed offsets; the log start after DeleteRecords. Apache Kafka's own tools read what we wrote.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource
from confluent_kafka.cimpl import NewTopic
from tests.interchange.nodes import Node, Software

pytestmark = [pytest.mark.java, pytest.mark.slow]

WAIT = 30
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ROUND_RECORDS = 300
NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
BEGUN_MS = int(time.time() * 1000)  # of the oldest record: younger than what retention takes away
DELETED_BELOW = 10


@pytest.fixture
def node(tmp_path: Path, jars: Callable[[str], str]) -> Iterator[Node]:
    made = Node(tmp_path, jars("broker"))
    yield made
    made.kill()


@dataclass
class Story:
    """What was done to the node, so that it can be asked for later."""

    node: Node
    rounds: int = 0
    sent: dict[str, list[tuple[int, bytes, bytes]]] = field(default_factory=dict)  # topic -> (offset, key, value)

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.node.bootstrap})

    def begin(self) -> None:
        """Topics of all kinds, one of them deleted, one emptied at its start."""
        admin = self.admin
        topics = [NewTopic(codec, 1, 1) for codec in CODECS]
        topics.append(NewTopic("configured", 2, 1, config={"retention.ms": "123456789", "max.message.bytes": "5000"}))
        topics.append(NewTopic("deleted", 1, 1))
        for done in admin.create_topics(topics).values():
            done.result(WAIT)
        self.produce()
        for done in admin.delete_topics(["deleted"]).values():
            done.result(WAIT)
        for done in admin.delete_records([TopicPartition("none", 0, DELETED_BELOW)]).values():
            done.result(WAIT)
        # Apache Kafka writes it down some time after it has answered; killed before, it has the records again.
        checkpoint = self.node.data / "log-start-offset-checkpoint"
        deadline = time.monotonic() + WAIT
        while f"none 0 {DELETED_BELOW}" not in checkpoint.read_text().splitlines():
            assert time.monotonic() < deadline, checkpoint.read_text()
            time.sleep(0.05)

    def produce(self) -> None:
        """A round of records into every codec's topic, idempotently, and a commit behind what was there before."""
        for codec in CODECS:
            known = self.sent.setdefault(codec, [])
            self._commit(codec, len(known))
            producer = Producer(
                {
                    "bootstrap.servers": self.node.bootstrap,
                    "compression.type": codec,
                    "enable.idempotence": True,
                    "linger.ms": 5,
                }
            )
            arrived: list[Message] = []

            def delivered(error: object, message: Message, arrived: list[Message] = arrived) -> None:
                assert error is None, error
                arrived.append(message)

            for number in range(ROUND_RECORDS):
                value = f"{codec}-{self.rounds}-{number}".encode() * 20
                headers = [("round", str(self.rounds).encode())]
                producer.produce(
                    codec,
                    value,
                    str(number).encode(),
                    partition=0,
                    on_delivery=delivered,
                    timestamp=BEGUN_MS + number,
                    headers=headers,
                )
            assert producer.flush(WAIT) == 0
            known += [(m.offset(), m.key(), m.value()) for m in arrived]
        self.rounds += 1

    def _commit(self, topic: str, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.node.bootstrap, "group.id": f"group-{topic}"})
        consumer.commit(offsets=[TopicPartition(topic, 0, offset, f"at {offset}")], asynchronous=False)
        consumer.close()

    def check(self) -> None:
        """Everything is there as it was acknowledged."""
        for codec in CODECS:
            wanted = [row for row in self.sent[codec] if codec != "none" or row[0] >= DELETED_BELOW]
            assert self._read(codec, len(wanted)) == wanted
            committed = self._committed(codec)
            assert (committed.offset, committed.metadata) == (
                (self.rounds - 1) * ROUND_RECORDS,
                f"at {(self.rounds - 1) * ROUND_RECORDS}",
            )
        admin = self.admin
        assert "deleted" not in admin.list_topics(timeout=WAIT).topics
        resource = ConfigResource(ConfigResource.Type.TOPIC, "configured")
        found = admin.describe_configs([resource])[resource].result(WAIT)
        assert (found["retention.ms"].value, found["max.message.bytes"].value) == ("123456789", "5000")
        assert found["retention.ms"].source == 1

    def _read(self, topic: str, count: int) -> list[tuple[int, bytes, bytes]]:
        consumer = Consumer(
            {"bootstrap.servers": self.node.bootstrap, "group.id": "reader", "auto.offset.reset": "error"}
        )
        low, high = _watermarks(consumer, TopicPartition(topic, 0))
        consumer.assign([TopicPartition(topic, 0, low)])
        found: list[Message] = []
        while len(found) < high - low:
            messages = consumer.consume(high - low - len(found), timeout=WAIT)
            assert messages, f"{len(found)} of {high - low} records of {topic}"
            for message in messages:
                assert message.error() is None, message.error()
            found += messages
        consumer.close()
        assert len(found) == count
        for message in found:
            number = int(message.key())
            assert message.timestamp() == (1, BEGUN_MS + number)
            assert message.headers() == [("round", message.value().split(b"-")[1])]
        return [(message.offset(), message.key(), message.value()) for message in found]

    def _committed(self, topic: str) -> TopicPartition:
        asked = [ConsumerGroupTopicPartitions(f"group-{topic}", [TopicPartition(topic, 0)])]
        admin = self.admin  # closed when nothing refers to it any more
        (done,) = admin.list_consumer_group_offsets(asked).values()
        (found,) = done.result(WAIT).topic_partitions
        return found

    def topic_ids(self) -> dict[str, str]:
        admin = self.admin
        done = admin.describe_topics(_topics([*CODECS, "configured"]))
        return {name: str(found.result(WAIT).topic_id) for name, found in done.items()}


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Of a broker that has only just begun to answer: it may not know yet that it leads."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=WAIT)
            return int(low), int(high)
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _topics(names: list[str]) -> object:
    from confluent_kafka import TopicCollection

    return TopicCollection(names)


def other(software: Software) -> Software:
    return "riverport" if software == "apache" else "apache"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("first", ["apache", "riverport"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_directory_moves_there_and_back(node: Node, first: Software, end: str) -> None:
    node.format(first)
    story = Story(node)
    node.start(first)
    story.begin()
    ids = story.topic_ids()
    for software in (other(first), first):
        story.produce()
        getattr(node, end)()
        node.start(software)
        story.check()
        assert story.topic_ids() == ids
    story.produce()
    story.check()
    node.stop()


@pytest.mark.timeout(240)
def test_apache_kafkas_tools_read_what_riverport_wrote(node: Node) -> None:
    node.format("riverport")
    node.start("riverport")
    story = Story(node)
    story.begin()
    story.produce()
    node.stop()
    for codec in CODECS:
        files = sorted((node.data / f"{codec}-0").glob("*.log"))
        said = node.dump(files, "--deep-iteration", "--print-data-log")
        assert said.count(f"{codec}-1-") >= ROUND_RECORDS
        assert "isvalid: false" not in said
        indexes = [*(node.data / f"{codec}-0").glob("*.index"), *(node.data / f"{codec}-0").glob("*.timeindex")]
        problems = node.dump(sorted(indexes), "--index-sanity-check")
        assert "Exception" not in problems
        assert "mismatch" not in problems.lower()
        snapshots = sorted((node.data / f"{codec}-0").glob("*.snapshot"))
        assert "producerId" in node.dump(snapshots)
    offsets = sorted(node.data.glob("__consumer_offsets-*/*.log"))
    assert 'group":"group-zstd"' in node.dump(offsets, "--offsets-decoder").replace(" ", "")
    metadata = node.dump(sorted((node.data / "__cluster_metadata-0").glob("*.log")), "--cluster-metadata-decoder")
    for kind in ("FEATURE_LEVEL_RECORD", "REGISTER_BROKER_RECORD", "TOPIC_RECORD", "PARTITION_RECORD", "CONFIG_RECORD"):
        assert kind in metadata
    assert "skipping" not in metadata.lower()


def test_the_metadata_shell_reads_our_metadata_log(node: Node) -> None:
    node.format("riverport")
    node.start("riverport")
    Story(node).begin()
    node.stop()
    (log,) = (node.data / "__cluster_metadata-0").glob("*.log")
    assert set(CODECS) <= node.topics_in_shell(log, set(CODECS))
