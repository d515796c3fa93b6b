"""Topic, group and client metrics keys against Apache Kafka's own definitions, and what they mean."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from riverport.base.settings import INT_MAX, LONG_MAX, ConfigError, Setting, Table
from riverport.kafka.admin import client_metrics_settings, group_settings, topic_settings
from riverport.kafka.log.config import LogConfig
from riverport.kafka.server import settings as broker
from riverport.kafka.wire.errors import ApiError, ErrorCode

FACTS = json.loads((Path(__file__).parents[1] / "server" / "facts" / "configs-4.3.1.json").read_text())
NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@localhost:9093",
    "listeners": "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
    "controller.listener.names": "CONTROLLER",
}


def values(**changes: str) -> Any:
    return broker.load(NODE | {key.replace("_", "."): value for key, value in changes.items()}).values


def fact_of(row: Setting) -> list[object]:
    return [row.key, row.kind.name, row.default_text(), row.allowed, row.importance.name, row.internal]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (topic_settings.TABLE, "topic"),
        (group_settings.TABLE, "group"),
        (client_metrics_settings.TABLE, "client_metrics"),
    ],
)
def test_every_key_is_as_in_kafka(table: Table, name: str) -> None:
    theirs = sorted([*fact[:3], fact[3].strip(), *fact[4:]] for fact in FACTS[name])
    assert sorted(fact_of(row) for row in table.values()) == theirs
    for row in table.values():
        assert row.doc.endswith(".") or "..." in row.doc or row.doc.endswith("*"), row


def test_topic_synonyms_are_those_of_kafka() -> None:
    ours = {key: " ".join(f"{name}*{unit}" for name, unit in names) for key, names in topic_settings.SYNONYMS.items()}
    assert ours == FACTS["topic_synonyms"]
    assert all(name in broker.TABLE for names in topic_settings.SYNONYMS.values() for name, _ in names)


def test_group_synonyms_are_those_of_kafka() -> None:
    assert {key: group_settings.SYNONYMS.get(key, "") for key in group_settings.TABLE} == FACTS["group_synonyms"]
    named = {key for _, *keys in group_settings.LIMITS for key in keys if key} | set(group_settings.SYNONYMS.values())
    assert named <= set(broker.TABLE)


def test_a_topic_without_configurations_is_what_kafka_makes_it() -> None:
    defaults = topic_settings.broker_defaults(values())
    assert topic_settings.log_config(topic_settings.values_of(defaults, {})) == LogConfig()
    assert topic_settings.log_config(topic_settings.TABLE.defaults) == LogConfig()


def test_a_topic_takes_what_it_lacks_from_the_broker() -> None:
    node = values(log_retention_minutes="2", log_roll_hours="3", log_cleanup_policy="compact", message_max_bytes="9")
    config = topic_settings.log_config(
        topic_settings.values_of(topic_settings.broker_defaults(node), {"max.message.bytes": "8", "unknown": "x"})
    )
    assert (config.retention_ms, config.segment_ms, config.max_message_bytes) == (120_000, 10_800_000, 8)
    assert (config.compact, config.delete) == (True, False)


def test_no_limit_is_minus_one_whatever_the_unit() -> None:
    assert topic_settings.broker_defaults(values(log_retention_hours="-1"))["retention.ms"] == -1


def test_every_field_of_a_log_config_has_its_key() -> None:
    config = {"internal.segment.bytes": "77", "cleanup.policy": "", "min.cleanable.dirty.ratio": "0.25"}
    made = topic_settings.log_config(topic_settings.values_of({}, config))
    assert (made.segment_bytes, made.compact, made.delete, made.min_cleanable_dirty_ratio) == (77, False, False, 0.25)
    keys = {field.name.replace("_", ".") for field in fields(LogConfig)} - {"delete", "compact"}
    assert keys <= set(topic_settings.TABLE)


@pytest.mark.parametrize(
    ("configs", "problem"),
    [
        ({"cleanup.policy": "compact", "remote.storage.enable": "true"}, "cleanup.policy=delete"),
        ({"remote.storage.enable": "true", "retention.ms": "5", "local.retention.ms": "-1"}, "must not be -1"),
        ({"remote.storage.enable": "true", "retention.ms": "5", "local.retention.ms": "6"}, "must not be more than"),
        (
            {
                "remote.storage.enable": "true",
                "remote.log.copy.disable": "true",
                "retention.bytes": "9",
                "local.retention.bytes": "8",
            },
            "local.retention.bytes must be equal to retention.bytes",
        ),
        ({"remote.storage.enable": "true", "retention.ms": "5", "local.retention.ms": "5"}, None),
        ({"remote.storage.enable": "true"}, None),
    ],
)
def test_rules_of_remote_storage(configs: dict[str, str], problem: str | None) -> None:
    found = topic_settings.problem_of(configs, {}, {}, remote_storage=True)
    assert problem in found if problem and found else found is problem


def test_remote_storage_is_not_switched_off_by_accident() -> None:
    remote = {"remote.storage.enable": "true"}
    found = topic_settings.problem_of({}, remote, {}, remote_storage=True)
    assert found is not None
    assert "remote.log.delete.on.disable=true" in found
    deleting = {"remote.log.delete.on.disable": "true"}
    assert topic_settings.problem_of(deleting, remote, {}, remote_storage=True) is None


def test_throttled_replicas() -> None:
    row = topic_settings.TABLE["leader.replication.throttled.replicas"]
    assert row.value_of("*") == ("*",)
    assert row.value_of("0:1, 1:2") == ("0:1", "1:2")
    with pytest.raises(ConfigError):
        row.value_of("0:1,2")


@pytest.mark.parametrize("duration", ["PT0S", "P1D", "P1DT2H3M4.5S", "pt15m", "PT-1H+90M", "PT1H-1M", "-PT-5S"])
def test_a_share_group_may_begin_a_while_ago(duration: str) -> None:
    assert group_settings.TABLE["share.auto.offset.reset"].value_of(f"by_duration:{duration}")


@pytest.mark.parametrize("duration", ["", "P", "PT", "P1DT", "P1Y", "-PT1S", "PT-1S", "1S"])
def test_a_share_group_begins_nowhere_else(duration: str) -> None:
    for text in ("none", "Latest", "by_duration", f"by_duration:{duration}"):
        with pytest.raises(ConfigError):
            group_settings.TABLE["share.auto.offset.reset"].value_of(text)


def test_a_group_stays_within_the_brokers_limits() -> None:
    node = values()
    assert group_settings.problem_of({"consumer.session.timeout.ms": "50000"}, node) is None
    assert "group.consumer.max.session.timeout.ms" in (
        group_settings.problem_of({"consumer.session.timeout.ms": "60001"}, node) or ""
    )
    asked = group_settings.values_of(group_settings.broker_defaults(node), {"consumer.session.timeout.ms": "60001"})
    capped = group_settings.within_limits(asked, node)
    assert capped["consumer.session.timeout.ms"] == 60_000
    assert capped["share.session.timeout.ms"] == 45_000


def test_a_session_outlasts_a_heartbeat() -> None:
    node = values(
        group_share_min_session_timeout_ms="1",
        group_share_session_timeout_ms="5001",
    )
    problem = group_settings.problem_of({"share.session.timeout.ms": "5000"}, node)
    assert problem == "share.session.timeout.ms must be greater than share.heartbeat.interval.ms"


def test_a_subscription_matches_clients() -> None:
    matchers = client_metrics_settings.matchers(("client_id=a.*", " client_source_port = 90[0-9]{2}"))
    assert matchers["client_id"].fullmatch("abc")
    assert not matchers["client_source_port"].fullmatch("8080")
    for wrong in ("client_id", "client_id=", "client_id=a=b", "nobody=a", "client_id=("):
        with pytest.raises(ApiError) as raised:
            client_metrics_settings.matchers((wrong,))
        assert raised.value.code is ErrorCode.INVALID_CONFIG


def test_numbers_of_the_protocol_fit() -> None:
    assert topic_settings.TABLE["flush.ms"].default == LONG_MAX
    assert broker.TABLE["max.connections"].default == INT_MAX
