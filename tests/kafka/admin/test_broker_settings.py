"""Where a broker's settings come from, and what may change while it runs."""

import pytest

from riverport.base.settings import ConfigError
from riverport.kafka.admin.broker_settings import BrokerSettings
from riverport.kafka.admin.resources import ConfigSource, topic_name_problem, whole_number
from riverport.kafka.server.settings import by_source, load

NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@localhost:9093",
    "listeners": "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
    "controller.listener.names": "CONTROLLER",
    "log.retention.minutes": "2",
    "log.dirs": "/a,/b",
}


@pytest.fixture
def settings() -> BrokerSettings:
    return by_source(load(NODE))


def test_the_nearest_source_counts(settings: BrokerSettings) -> None:
    assert settings.values["log.retention.minutes"] == 2
    changed = settings.with_dynamic({"log.retention.ms": "5", "max.connections": "7"}, {"max.connections": "9"})
    assert changed.values["log.retention.ms"] == 5
    assert changed.values["log.retention.minutes"] is None
    assert changed.values["max.connections"] == 9
    assert [(s.text, s.source) for s in changed.sources("max.connections")] == [
        ("9", ConfigSource.DYNAMIC_BROKER),
        ("7", ConfigSource.DYNAMIC_DEFAULT_BROKER),
        ("2147483647", ConfigSource.DEFAULT),
    ]
    assert settings.values["max.connections"] == 2**31 - 1


def test_what_cannot_be_obeyed_is_left_out(settings: BrokerSettings) -> None:
    cluster = {
        "max.connections": "many",
        "node.id": "7",
        "sasl.enabled.mechanisms": "PLAIN",
        "ssl.keystore.location": "/x",
        "listener.name.a.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.a.max.connections": "5",
        "plugin.key": "kept",
        "leader.replication.throttled.rate": "9",
    }
    assert set(settings.with_dynamic(cluster, {}).cluster) == {
        "listener.name.a.max.connections",
        "plugin.key",
        "leader.replication.throttled.rate",
    }
    own = settings.with_dynamic({}, cluster).own
    assert "sasl.enabled.mechanisms" in own
    assert "node.id" not in own


def test_an_interval_outside_of_its_limits_is_capped(settings: BrokerSettings) -> None:
    changed = settings.with_dynamic({"group.share.assignment.interval.ms": "99999"}, {})
    assert changed.values["group.share.assignment.interval.ms"] == 15_000


@pytest.mark.parametrize(
    ("configs", "problem"),
    [
        ({"log.dirs": "/x", "broker.id": "4"}, r"Cannot update these configs dynamically: \[broker.id, log.dirs\]"),
        ({"ssl.key.password": "x"}, "only per-listener"),
        ({"max.connections": "x"}, "Not a number of type INT"),
        ({"listener.name.plaintext.max.connections": "x"}, "Not a number of type INT"),
        ({"num.io.threads": "3"}, "at least half the current value 8"),
        ({"num.io.threads": "17"}, "double the current value 8"),
        ({"log.local.retention.ms": "-1"}, "must not be -1"),
        ({"log.local.retention.ms": "120001"}, "must not be more than"),
        ({"log.retention.bytes": "5", "log.local.retention.bytes": "6"}, "must not be more than"),
        ({"cordoned.log.dirs": "/c"}, "which log.dirs does not"),
    ],
)
def test_a_change_is_refused(settings: BrokerSettings, configs: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        settings.ensure_changeable(configs, per_broker=True)


def test_a_change_of_the_cluster_names_no_single_broker(settings: BrokerSettings) -> None:
    with pytest.raises(ConfigError, match=r"broker id must be specified: \[cordoned.log.dirs\]"):
        settings.ensure_changeable({"cordoned.log.dirs": "/a"}, per_broker=False)
    settings.ensure_changeable({"listener.name.plaintext.max.connections": "5"}, per_broker=False)


def test_a_change_is_allowed(settings: BrokerSettings) -> None:
    for configs in ({"num.io.threads": "4"}, {"num.io.threads": "16"}, {"cordoned.log.dirs": "/a"}, {}):
        settings.ensure_changeable(configs, per_broker=True)


def test_topic_names() -> None:
    for good in ("a", "a.b_c-D9", "x" * 249):
        assert topic_name_problem(good) is None
    for bad in ("", ".", "..", "x" * 250, "a b", "a/b", "\u00e9", "a\n"):
        assert (topic_name_problem(bad) or "").startswith("Topic name is invalid: ")


def test_whole_numbers() -> None:
    assert [whole_number(text) for text in ("1", "-1", "+7", " 1", "1_0", "x", "", "9" * 11)] == [
        1,
        -1,
        7,
        None,
        None,
        None,
        None,
        None,
    ]
