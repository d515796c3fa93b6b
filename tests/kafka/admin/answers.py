"""A conversation about configurations, and what Apache Kafka 4.3.1 answered: `answers-4.3.1.json` beside this file.

    python tests/kafka/admin/answers.py 127.0.0.1:9092

has the conversation with a running broker, started afresh with `GIVEN`, and writes the answers down. `test_answers.py`
has the same conversation with our own functions.
"""

import hashlib
import json
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from riverport.kafka.admin.resources import ResourceType
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.codec import decode, encode

ANSWERS = Path(__file__).with_name("answers-4.3.1.json")

# server.properties of the broker that answered.
GIVEN = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@127.0.0.1:29700",
    "listeners": "PLAINTEXT://127.0.0.1:29600,CONTROLLER://127.0.0.1:29700",
    "advertised.listeners": "PLAINTEXT://127.0.0.1:29600",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "log.dirs": "data",
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.minutes": "90",
    "log.roll.hours": "5",
    "num.io.threads": "4",
    "plugin.key": "kept",
    "ssl.keystore.password": "secret",
    "listener.name.plaintext.max.connections": "500",
    "log.cleanup.policy": "delete,compact",
    "log.initial.task.delay.ms": "30000",
}

TOPIC, BROKER, METRICS, GROUP = "topic", "broker", "client_metrics", "group"
KINDS = {
    TOPIC: ResourceType.TOPIC,
    BROKER: ResourceType.BROKER,
    "logger": ResourceType.BROKER_LOGGER,
    METRICS: ResourceType.CLIENT_METRICS,
    GROUP: ResourceType.GROUP,
    "strange": 99,
}
OPERATIONS = {"set": 0, "delete": 1, "append": 2, "subtract": 3}


def alter(kind: str, name: str, *changes: tuple[str, ...]) -> list[Any]:
    """One resource of IncrementalAlterConfigs; a change is (operation, key[, value])."""
    return ["alter", [[kind, name, [list(change) for change in changes]]]]


def legacy(kind: str, name: str, **configs: str | None) -> list[Any]:
    return ["legacy", [[kind, name, [[key.replace("_", "."), value] for key, value in configs.items()]]]]


# Here we use other words than Kafka, on purpose: they name what is allowed, or leave Java out.
OWN_WORDS = {
    "Invalid value x for configuration retention.ms: Not a number of type LONG; it must be a whole number between "
    "-9223372036854775808 and 9223372036854775807",
    "Invalid value x for configuration num.io.threads: Not a number of type INT; it must be a whole number between "
    "-2147483648 and 2147483647",
    "Invalid value x for configuration max.connections: Not a number of type INT; it must be a whole number between "
    "-2147483648 and 2147483647",
    "Invalid value [x] for configuration leader.replication.throttled.replicas: must be the literal '*' or a list of "
    "replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    "Unexpected resource type 99 for resource x",
    "Dynamic thread count update validation failed for num.io.threads=100, value should not be greater than double "
    "the current value 4",
    "Dynamic thread count update validation failed for log.cleaner.threads=5, value should not be greater than double "
    "the current value 1",
    "log.cleaner.dedupe.buffer.size must be more than 1 MiB for each of log.cleaner.threads",
    "controller.listener.names holds CONTROLLER, which listeners does not",
    "cordoned.log.dirs names /nope, which log.dirs does not",
    "group.consumer.assignment.interval.ms (99999) must not be greater than "
    "group.consumer.max.assignment.interval.ms (15000)",
    "Invalid value 7000 for configuration log.local.retention.ms: Value must not be more than log.retention.ms "
    "property value: 6000",
    "max.connections.per.ip may only be 0 if max.connections.per.ip.overrides is set",
    "Invalid value by_duration:-PT1H for configuration share.auto.offset.reset: The value must be either 'earliest', "
    "'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.",
    "Invalid value x for configuration share.auto.offset.reset: The value must be either 'earliest', 'latest' or of "
    "the format 'by_duration:<PnDTnHnMn.nS>'.",
}


def describe(kind: str, name: str, *keys: str) -> list[Any]:
    return ["describe", [[kind, name, list(keys) or None]]]


def create(**configs: str | None) -> list[Any]:
    """CreateTopics of "new", validated only."""
    return ["create", [[key.replace("_", "."), value] for key, value in configs.items()]]


STEPS: list[list[Any]] = [
    create(),
    create(nope="1"),
    create(retention_ms="x"),
    create(retention_ms=None),
    create(retention_ms="-5"),
    create(compression_type="zip"),
    create(cleanup_policy=""),
    create(cleanup_policy="delete,foo"),
    create(cleanup_policy="delete,delete"),
    create(min_compaction_lag_ms="10", max_compaction_lag_ms="5"),
    create(remote_storage_enable="true"),
    create(segment_bytes="14"),
    create(internal_segment_bytes="14"),
    create(min_cleanable_dirty_ratio="1.5"),
    create(compression_gzip_level="0"),
    create(leader_replication_throttled_replicas="x"),
    create(leader_replication_throttled_replicas="0:1,1:2"),
    create(message_timestamp_type="logappendtime"),
    create(flush_ms=" 7 "),
    create(preallocate="yes"),
    describe(TOPIC, "t"),
    describe(TOPIC, "absent"),
    describe(TOPIC, "a b"),
    describe(TOPIC, ""),
    describe(TOPIC, "t", "retention.ms", "nope"),
    describe("strange", "x"),
    ["describe", [[TOPIC, "t", None], ["strange", "x", None]]],
    alter(TOPIC, "t", ("set", "nope", "1")),
    alter(TOPIC, "t", ("append", "compression.type", "gzip")),
    alter(TOPIC, "t", ("subtract", "compression.type", "gzip")),
    alter(TOPIC, "t", ("set", "retention.ms")),
    alter(TOPIC, "t", ("set", "retention.ms", "1"), ("delete", "retention.ms")),
    ["alter", [[TOPIC, "t", [["set", "retention.ms", "1"]]], [TOPIC, "t", []], [TOPIC, "u", []]]],
    alter(TOPIC, "absent", ("set", "retention.ms", "1")),
    alter(TOPIC, "", ("set", "retention.ms", "1")),
    alter(TOPIC, "a b", ("set", "retention.ms", "1")),
    alter("strange", "x", ("set", "a", "1")),
    alter(TOPIC, "t", ("append", "cleanup.policy", "delete,compact")),
    describe(TOPIC, "t", "cleanup.policy"),
    alter(TOPIC, "t", ("subtract", "cleanup.policy", "compact,foo")),
    describe(TOPIC, "t", "cleanup.policy"),
    alter(TOPIC, "t", ("append", "cleanup.policy", "bar")),
    alter(TOPIC, "t", ("subtract", "cleanup.policy", "delete")),
    describe(TOPIC, "t", "cleanup.policy"),
    alter(TOPIC, "t", ("delete", "nope")),
    alter(TOPIC, "t", ("append", "nope", "x")),
    alter(TOPIC, "t"),
    alter(TOPIC, "t", ("set", "internal.segment.bytes", "2000"), ("set", "segment.ms", " 9 ")),
    alter(TOPIC, "t", ("set", "remote.log.delete.on.disable", "maybe")),
    describe(TOPIC, "t"),
    alter(BROKER, "1", ("set", "num.io.threads", "100")),
    alter(BROKER, "1", ("set", "num.io.threads", "0")),
    alter(BROKER, "1", ("set", "num.io.threads", "x")),
    alter(BROKER, "1", ("set", "num.io.threads", "8")),
    alter(BROKER, "1", ("append", "num.io.threads", "2")),
    alter(BROKER, "1", ("append", "nope", "2")),
    alter(BROKER, "1", ("set", "nope", "2")),
    alter(BROKER, "1", ("set", "log.dirs", "/x"), ("set", "broker.rack", "2")),
    alter(BROKER, "2", ("set", "num.io.threads", "9")),
    alter(BROKER, "x", ("set", "num.io.threads", "9")),
    alter(BROKER, "", ("set", "ssl.keystore.location", "/x")),
    alter(BROKER, "1", ("set", "ssl.keystore.location", "/x")),
    alter(BROKER, "", ("set", "listener.name.plaintext.ssl.keystore.location", "/x")),
    alter(BROKER, "", ("set", "sasl.enabled.mechanisms", "PLAIN")),
    alter(BROKER, "", ("set", "log.retention.ms", "5000"), ("set", "message.max.bytes", "2000000")),
    alter(BROKER, "1", ("set", "log.retention.ms", "6000"), ("set", "max.connections", "1000")),
    alter(BROKER, "1", ("set", "log.cleaner.threads", "5")),
    alter(BROKER, "1", ("set", "log.cleaner.dedupe.buffer.size", "5")),
    alter(BROKER, "1", ("set", "min.insync.replicas", "1")),
    alter(BROKER, "", ("delete", "min.insync.replicas")),
    alter(BROKER, "1", ("set", "advertised.listeners", "PLAINTEXT://127.0.0.1:1")),
    alter(BROKER, "1", ("set", "listeners", "PLAINTEXT://127.0.0.1:1")),
    alter(BROKER, "1", ("append", "log.cleanup.policy", "compact")),
    describe(BROKER, "1", "log.cleanup.policy"),
    alter(BROKER, "1", ("subtract", "log.cleanup.policy", "delete")),
    alter(BROKER, "1", ("set", "cordoned.log.dirs", "/nope")),
    alter(BROKER, "1", ("set", "group.consumer.assignment.interval.ms", "99999")),
    alter(BROKER, "1", ("set", "log.local.retention.ms", "7000")),
    alter(BROKER, "1", ("set", "max.connections.per.ip", "0")),
    alter(
        BROKER,
        "1",
        ("set", "listener.name.plaintext.max.connections", "77"),
        ("set", "listener.name.plaintext.ssl.keystore.password", "x"),
        ("set", "leader.replication.throttled.rate", "5"),
    ),
    alter(BROKER, "1", ("set", "listener.name.plaintext.max.connections", "x")),
    describe(BROKER, ""),
    describe(BROKER, "1"),
    describe(BROKER, "2"),
    describe(BROKER, "x"),
    describe(TOPIC, "t"),
    alter(GROUP, "g", ("set", "consumer.session.timeout.ms", "50000"), ("set", "share.auto.offset.reset", "earliest")),
    alter(GROUP, "g", ("set", "consumer.session.timeout.ms", "5")),
    alter(GROUP, "g", ("set", "consumer.session.timeout.ms", "70000")),
    alter(GROUP, "g", ("set", "streams.num.standby.replicas", "9")),
    alter(GROUP, "g", ("set", "nope", "5")),
    alter(GROUP, "", ("set", "consumer.session.timeout.ms", "50000")),
    alter(GROUP, "h", ("set", "share.auto.offset.reset", "by_duration:PT1H")),
    alter(GROUP, "h", ("set", "share.auto.offset.reset", "by_duration:-PT1H")),
    alter(GROUP, "h", ("set", "share.auto.offset.reset", "x")),
    alter(GROUP, "h", ("set", "consumer.heartbeat.interval.ms", "-5")),
    describe(GROUP, "g"),
    describe(GROUP, ""),
    describe(GROUP, "absent", "consumer.session.timeout.ms"),
    alter(METRICS, "m", ("set", "metrics", "org.a"), ("set", "interval.ms", "1000"), ("set", "match", "client_id=a.*")),
    alter(METRICS, "m", ("set", "interval.ms", "1")),
    alter(METRICS, "m", ("set", "match", "x=a")),
    alter(METRICS, "m", ("set", "match", "client_id=[")),
    alter(METRICS, "m", ("set", "nope", "a")),
    alter(METRICS, "m", ("append", "metrics", "b.c")),
    alter(METRICS, "", ("set", "metrics", "a")),
    describe(METRICS, "m"),
    describe(METRICS, "absent"),
    describe(METRICS, ""),
    alter("logger", "1", ("set", "root", "WARN")),
    alter("logger", "1", ("set", "nope", "DEBUG")),
    alter("logger", "1", ("set", "root", "LOUD")),
    alter("logger", "1", ("delete", "root")),
    alter("logger", "1", ("append", "root", "INFO")),
    alter("logger", "2", ("set", "root", "INFO")),
    alter("logger", "x", ("set", "root", "INFO")),
    describe("logger", "1", "root"),
    describe("logger", ""),
    describe("logger", "2"),
    legacy(TOPIC, "t", flush_ms=None),
    legacy(TOPIC, "absent", flush_ms="5"),
    legacy("strange", "x", flush_ms="5"),
    legacy("logger", "1", root="INFO"),
    legacy(TOPIC, "t", flush_ms="5", nope="1"),
    legacy(TOPIC, "t", flush_ms="5"),
    legacy(GROUP, "g", share_session_timeout_ms="46000"),
    legacy(BROKER, "1", num_io_threads="8"),
    describe(TOPIC, "t", "flush.ms", "segment.ms", "cleanup.policy", "retention.ms"),
    describe(GROUP, "g", "consumer.session.timeout.ms", "share.session.timeout.ms"),
    describe(BROKER, "1", "num.io.threads", "max.connections", "leader.replication.throttled.rate"),
]


def alter_request(step: list[Any]) -> m.IncrementalAlterConfigsRequest:
    made = m.IncrementalAlterConfigsRequest
    return made(
        resources=[
            made.AlterConfigsResource(
                KINDS[kind],
                name,
                [made.AlterableConfig(c[1], OPERATIONS[c[0]], c[2] if len(c) > 2 else None) for c in changes],
            )
            for kind, name, changes in step[1]
        ]
    )


def legacy_request(step: list[Any]) -> m.AlterConfigsRequest:
    made = m.AlterConfigsRequest
    return made(
        resources=[
            made.AlterConfigsResource(KINDS[kind], name, [made.AlterableConfig(*config) for config in configs])
            for kind, name, configs in step[1]
        ]
    )


def describe_request(step: list[Any]) -> m.DescribeConfigsRequest:
    made = m.DescribeConfigsRequest
    resources = [made.DescribeConfigsResource(KINDS[kind], name, keys) for kind, name, keys in step[1]]
    return made(resources, True, True)


def create_request(step: list[Any]) -> m.CreateTopicsRequest:
    made = m.CreateTopicsRequest
    configs = [made.CreatableTopicConfig(*config) for config in step[1]]
    topic = made.CreatableTopic(name="new", num_partitions=1, replication_factor=1, configs=configs)
    return made(topics=[topic], timeout_ms=10_000, validate_only=True)


def words(message: str | None) -> str | None:
    """A message by its digest: enough to see that it is the same."""
    return hashlib.sha256(message.encode()).hexdigest()[:12] if message else message


def altered_answer(response: Any) -> list[Any]:
    return [[line.error_code, words(line.error_message)] for line in response.responses]


def described_answer(response: m.DescribeConfigsResponse) -> list[Any]:
    return [[result.error_code, words(result.error_message), entries(result.configs)] for result in response.results]


def entries(configs: list[m.DescribeConfigsResponse.DescribeConfigsResourceResult]) -> list[Any]:
    return sorted(
        [
            c.name,
            c.value,
            c.config_source,
            c.config_type,
            c.read_only,
            c.is_sensitive,
            bool(c.documentation),
            [[s.name, s.value, s.source] for s in c.synonyms],
        ]
        for c in configs
    )


def created_answer(response: m.CreateTopicsResponse) -> list[Any]:
    topic = response.topics[0]
    configs = [[c.name, c.value, c.config_source, c.read_only, c.is_sensitive] for c in topic.configs or []]
    return [topic.error_code, words(topic.error_message), configs]


class Recorder:
    """One connection to a running broker."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)

    def ask(self, key: int, version: int, request: Any, response: Any) -> Any:
        body = struct.pack(">hhihx", key, version, 1, -1) + bytes(encode(request, version))
        self._socket.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", self._socket.recv(4, socket.MSG_WAITALL))
        return decode(response, version, memoryview(self._socket.recv(size, socket.MSG_WAITALL)), 5)[0]

    def answer(self, step: list[Any]) -> list[Any]:
        match step[0]:
            case "alter":
                answer = altered_answer(self.ask(44, 1, alter_request(step), m.IncrementalAlterConfigsResponse))
                time.sleep(0.3)  # until the broker has the new image
                return answer
            case "legacy":
                answer = altered_answer(self.ask(33, 2, legacy_request(step), m.AlterConfigsResponse))
                time.sleep(0.3)
                return answer
            case "create":
                return created_answer(self.ask(19, 7, create_request(step), m.CreateTopicsResponse))
            case _:
                return described_answer(self.ask(32, 4, describe_request(step), m.DescribeConfigsResponse))

    def make_topics(self) -> None:
        made = m.CreateTopicsRequest
        topics = [made.CreatableTopic(name=name, num_partitions=1, replication_factor=1) for name in ("t", "u")]
        self.ask(19, 7, made(topics=topics, timeout_ms=10_000), m.CreateTopicsResponse)
        time.sleep(1)


def main() -> None:
    recorder = Recorder(sys.argv[1])
    recorder.make_topics()
    lines = [json.dumps(recorder.answer(step)) for step in STEPS]
    ANSWERS.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
