"""Snapshots of the metadata log: Apache Kafka's tools read ours, each broker starts from what the other has left."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.interchange.nodes import Node, Software

from riverport.base.files import OsFiles
from riverport.kafka.raft.snapshots import read_snapshot
from riverport.kafka.wire import messages as m

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

OFTEN = "metadata.log.max.record.bytes.between.snapshots=3000\nmetadata.max.retention.bytes=10000\n"
KINDS = ("FEATURE_LEVEL", "REGISTER_BROKER", "REGISTER_CONTROLLER", "TOPIC", "PARTITION", "CONFIG")


@pytest.fixture
def node(tmp_path: Path, jars: Callable[[str], str]) -> Iterator[Node]:
    made = Node(tmp_path, jars("broker"))
    with open(made.properties, "a") as properties:
        properties.write(OFTEN)
    yield made
    made.kill()


def create(node: Node, first: int, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    for n in range(first, first + count):
        (made,) = admin.create_topics([NewTopic(f"t{n}", 3, 1, config={"retention.ms": str(1000 + n)})]).values()
        made.result(30)


def topics(node: Node) -> set[str]:
    return set(AdminClient({"bootstrap.servers": node.bootstrap}).list_topics(timeout=30).topics)


def snapshots(node: Node) -> list[Path]:
    return sorted((node.data / "__cluster_metadata-0").glob("*.checkpoint"))


@pytest.mark.parametrize("first", ["riverport", "apache"])
def test_each_broker_starts_from_the_other_s_snapshot(node: Node, first: Software) -> None:
    node.format(first)
    second: Software = "apache" if first == "riverport" else "riverport"
    expected: set[str] = set()
    for round_, software in enumerate((first, second, first)):
        node.start(software)
        create(node, round_ * 40, 40)
        expected |= {f"t{n}" for n in range(round_ * 40, round_ * 40 + 40)}
        deadline = time.monotonic() + 20
        while missing := expected - topics(node):
            # Apache Kafka's controller answers before its broker has heard of a topic.
            assert time.monotonic() < deadline, (software, missing)
            time.sleep(0.1)
        node.stop()
        assert snapshots(node)
    said = node.dump(snapshots(node)[-1:], "--cluster-metadata-decoder", "--skip-record-metadata")
    assert {kind for kind in KINDS if f'"type":"{kind}_RECORD"' in said} == set(KINDS)
    assert "isvalid: false" not in said


def test_the_metadata_shell_reads_our_snapshot(node: Node) -> None:
    node.format("riverport")
    node.start("riverport")
    create(node, 0, 40)
    node.stop()
    newest = str(snapshots(node)[-1])
    records = read_snapshot(OsFiles(), newest).records
    written = {record.name for record in records if isinstance(record, m.TopicRecord)}
    # Beside the names it says that it has no use for control records.
    found = node.topics_in_shell(newest, written)
    assert {word for word in found if re.fullmatch(r"t\d+", word)} == written != set()
