"""Apache Kafka's own command-line tools against the cluster."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kafka_tools import Tools

pytestmark = pytest.mark.java

MakeTopic = Callable[..., str]


@pytest.fixture(scope="module")
def tools(compiled: Callable[[str, str], list[str]], bootstrap: str) -> Iterator[Tools]:
    tools = Tools(compiled("Tools", "broker"), bootstrap)
    yield tools
    tools.close()


@pytest.fixture(scope="module")
def filled(tools: Tools, make_topic: MakeTopic) -> str:
    """A topic of one partition with ten records, key:value."""
    topic = make_topic()
    text = "".join(f"key-{i}:value-{i}\n" for i in range(10))
    tools("kafka-console-producer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property",
          "key.separator=:", text=text)  # fmt: skip
    return topic


def test_topics(tools: Tools) -> None:
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    created = tools("kafka-topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=5000")
    assert created.lines == [f"Created topic {topic}."]
    assert topic in tools("kafka-topics", "--list").lines
    described = tools("kafka-topics", "--describe", "--topic", topic).lines
    assert "PartitionCount: 3" in described[0]
    assert "retention.ms=5000" in described[0]
    assert len(described) == 4
    tools("kafka-topics", "--alter", "--topic", topic, "--partitions", "4")
    assert len(tools("kafka-topics", "--describe", "--topic", topic).lines) == 5
    assert tools("kafka-topics", "--describe", "--under-replicated-partitions").lines == []
    again = tools("kafka-topics", "--create", "--topic", topic, status=1)
    assert "already exists" in again.out + again.err
    tools("kafka-topics", "--delete", "--topic", topic)
    assert topic not in tools("kafka-topics", "--list").lines


def test_configs(tools: Tools, make_topic: MakeTopic) -> None:
    entity = ("--entity-type", "topics", "--entity-name", make_topic())
    tools("kafka-configs", *entity, "--alter", "--add-config", "retention.ms=5000,cleanup.policy=[compact,delete]")
    described = tools("kafka-configs", *entity, "--describe").out
    assert "retention.ms=5000" in described
    assert "cleanup.policy=compact,delete" in described
    tools("kafka-configs", *entity, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms=5000" not in tools("kafka-configs", *entity, "--describe").out
    assert "retention.ms=604800000" in tools("kafka-configs", *entity, "--describe", "--all").out
    refused = tools("kafka-configs", *entity, "--alter", "--add-config", "retention.ms=soon", status=1)
    assert "InvalidConfigurationException" in refused.out + refused.err


def test_broker_configs(tools: Tools) -> None:
    entity = ("--entity-type", "brokers", "--entity-default")
    tools("kafka-configs", *entity, "--alter", "--add-config", "log.cleaner.io.buffer.load.factor=0.8")
    assert "log.cleaner.io.buffer.load.factor=0.8" in tools("kafka-configs", *entity, "--describe").out
    tools("kafka-configs", *entity, "--alter", "--delete-config", "log.cleaner.io.buffer.load.factor")


def test_console_consumer_reads_what_console_producer_wrote(tools: Tools, filled: str) -> None:
    properties = [w for p in ("key", "offset", "partition") for w in ("--formatter-property", f"print.{p}=true")]
    said = tools("kafka-console-consumer", "--topic", filled, "--from-beginning", "--max-messages", "10", *properties)
    assert said.lines == [f"Partition:0\tOffset:{i}\tkey-{i}\tvalue-{i}" for i in range(10)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_console_producer_with_a_codec(tools: Tools, make_topic: MakeTopic, codec: str) -> None:
    topic = make_topic()
    tools("kafka-console-producer", "--topic", topic, "--compression-codec", codec, text="one\ntwo\n")
    assert tools("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "2").lines == [
        "one",
        "two",
    ]


def test_consumer_groups(tools: Tools, filled: str) -> None:
    group = f"group-{uuid.uuid4().hex[:8]}"
    tools("kafka-console-consumer", "--topic", filled, "--from-beginning", "--max-messages", "10", "--group", group)
    assert group in tools("kafka-consumer-groups", "--list").lines
    assert any(line.split()[:2] == [group, "Classic"] for line in tools("kafka-groups", "--list").lines)

    def row() -> list[str]:
        lines = tools("kafka-consumer-groups", "--describe", "--group", group).lines
        return next(line.split() for line in lines if line.startswith(group))

    assert row()[:6] == [group, filled, "0", "10", "10", "0"]
    state = tools("kafka-consumer-groups", "--describe", "--group", group, "--state").out
    assert "Empty" in state
    reset = ("--reset-offsets", "--group", group, "--topic", filled, "--execute")
    tools("kafka-consumer-groups", *reset, "--to-offset", "3")
    assert row()[3:6] == ["3", "10", "7"]
    tools("kafka-consumer-groups", *reset, "--shift-by", "2")
    assert row()[3:6] == ["5", "10", "5"]
    tools("kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", filled)
    tools("kafka-consumer-groups", *reset, "--to-earliest")
    tools("kafka-consumer-groups", "--delete", "--group", group)
    assert group not in tools("kafka-consumer-groups", "--list").lines


def test_get_offsets_and_delete_records(tools: Tools, make_topic: MakeTopic, tmp_path: Path) -> None:
    topic = make_topic()
    tools("kafka-console-producer", "--topic", topic, text="".join(f"{i}\n" for i in range(10)))

    def offset(time: str) -> str:
        return tools("kafka-get-offsets", "--topic", topic, "--time", time).lines[0]

    assert offset("-1") == f"{topic}:0:10"
    assert offset("latest") == f"{topic}:0:10"
    assert offset("earliest") == f"{topic}:0:0"
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": 4}], "version": 1}))
    said = tools("kafka-delete-records", "--offset-json-file", str(plan))
    assert "low_watermark: 4" in said.out
    assert offset("earliest") == f"{topic}:0:4"


def test_log_dirs(tools: Tools, filled: str) -> None:
    (described,) = tools("kafka-log-dirs", "--describe", "--topic-list", filled).rows
    (partition,) = described["brokers"][0]["logDirs"][0]["partitions"]  # type: ignore[index]
    assert partition["partition"] == f"{filled}-0"
    assert partition["size"] > 0


def test_broker_api_versions(tools: Tools, bootstrap: str) -> None:
    said = tools("kafka-broker-api-versions")
    assert said.lines[0].startswith(bootstrap)
    produce = next(line for line in said.lines if "Produce(0)" in line)
    assert "0 to 13 [usable: 13]" in produce
    assert not any("UNSUPPORTED" in line for line in said.lines if "Fetch(1)" in line or "Metadata(3)" in line)


def test_features(tools: Tools) -> None:
    lines = tools("kafka-features", "describe").lines
    metadata = next(line for line in lines if line.startswith("Feature: metadata.version"))
    assert "FinalizedVersionLevel: 4.3-IV0" in metadata


def test_metadata_quorum(tools: Tools) -> None:
    status = dict(line.split(":", 1) for line in tools("kafka-metadata-quorum", "describe", "--status").lines)
    assert int(status["HighWatermark"]) > 0
    assert status["MaxFollowerLag"].strip() == "0"
    replication = tools("kafka-metadata-quorum", "describe", "--replication").lines
    assert [row.split()[-1] for row in replication[1:]] == ["Leader"]


def test_cluster(tools: Tools) -> None:
    at = ("--bootstrap-server", tools.bootstrap)
    assert tools.run("kafka-cluster", "cluster-id", *at).out.startswith("Cluster ID: ")
    endpoints = tools.run("kafka-cluster", "list-endpoints", *at).lines
    assert endpoints[1].split()[1:3] == tools.bootstrap.split(":")


def test_leader_election(tools: Tools, filled: str) -> None:
    said = tools("kafka-leader-election", "--election-type", "preferred", "--topic", filled, "--partition", "0")
    assert f"Valid replica already elected for partitions {filled}-0" in said.out


@pytest.mark.parametrize("acks", ["1", "-1"])
def test_verifiable_producer_and_consumer(tools: Tools, make_topic: MakeTopic, acks: str) -> None:
    topic = make_topic(2)
    produced = tools.alone("kafka-verifiable-producer", "--topic", topic, "--max-messages", "1000", "--acks", acks).rows
    assert [r for r in produced if r["name"] == "producer_send_error"] == []
    sent = {(r["partition"], r["offset"]): r["value"] for r in produced if r["name"] == "producer_send_success"}
    assert len(sent) == 1000
    consumed = tools(
        "kafka-verifiable-consumer", "--topic", topic, "--group-id", f"group-{topic}", "--max-messages", "1000",
        "--reset-policy", "earliest", "--verbose",
    ).rows  # fmt: skip
    got = {(r["partition"], r["offset"]): r["value"] for r in consumed if r["name"] == "record_data"}
    assert got == sent


def test_producer_performance_tool(tools: Tools, make_topic: MakeTopic) -> None:
    said = tools.run(
        "kafka-producer-perf-test", "--topic", make_topic(), "--num-records", "5000", "--record-size", "100",
        "--throughput", "-1", "--producer-props", f"bootstrap.servers={tools.bootstrap}",
    )  # fmt: skip
    assert said.lines[-1].startswith("5000 records sent"), said.out + said.err
