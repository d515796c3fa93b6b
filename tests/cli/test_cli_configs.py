"""`riverport configs` and `riverport cluster`: settings, brokers, features, directories."""

import pytest
from tests.cli.kit import Cli

from riverport.testing import Broker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    return broker.create_topic("orders", config={"retention.ms": 1000})


def settings(cli: Cli, kind: str, name: str, *words: str) -> dict[str, str]:
    return {entry["key"]: entry["value"] for entry in cli.json("configs", "describe", kind, name, *words)["configs"]}


def test_what_is_set_is_shown_and_all_only_when_asked(cli: Cli, topic: str) -> None:
    heads, *rows = cli.ok("configs", "describe", "topic", topic).splitlines()
    assert heads.split() == ["KEY", "VALUE", "SOURCE"]
    assert rows[-1].split() == ["retention.ms", "1000", "topic"]
    assert not any(row.startswith("cleanup.policy") for row in rows)
    everything = settings(cli, "topic", topic, "--all")
    assert everything["retention.ms"] == "1000"
    assert everything["cleanup.policy"] == "delete"
    assert settings(cli, "topic", topic, "segment.ms") == {"segment.ms": "604800000"}


def test_settings_are_set_extended_and_unset(cli: Cli, broker: Broker) -> None:
    name = broker.create_topic("changing")
    assert cli.ok("configs", "set", "topic", name, "segment.ms=60000") == "topic changing: segment.ms changed\n"
    cli.ok("configs", "set", "topic", name, "cleanup.policy+=compact")
    assert settings(cli, "topic", name, "segment.ms", "cleanup.policy") == {
        "segment.ms": "60000",
        "cleanup.policy": "delete,compact",
    }
    cli.ok("configs", "set", "topic", name, "cleanup.policy-=delete", "--dry-run")
    assert settings(cli, "topic", name)["cleanup.policy"] == "delete,compact"
    changed = cli.json("configs", "unset", "topic", name, "cleanup.policy", "segment.ms")
    assert changed == {"kind": "topic", "name": name, "keys": ["cleanup.policy", "segment.ms"], "changed": True}
    assert "cleanup.policy" not in settings(cli, "topic", name)


def test_a_brokers_settings_say_where_they_come_from(cli: Cli) -> None:
    cli.ok("configs", "set", "broker", "1", "log.cleaner.threads=2")
    cli.ok("configs", "set", "broker", "", "log.retention.ms=5000")
    own = {entry["key"]: entry for entry in cli.json("configs", "describe", "broker", "1")["configs"]}
    assert (own["log.cleaner.threads"]["value"], own["log.cleaner.threads"]["source"]) == ("2", "broker (dynamic)")
    assert (own["log.retention.ms"]["value"], own["log.retention.ms"]["source"]) == ("5000", "cluster (dynamic)")
    assert own["node.id"]["read_only"] is True
    cli.ok("configs", "unset", "broker", "1", "log.cleaner.threads")
    cli.ok("configs", "unset", "broker", "", "log.retention.ms")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("describe", "topic", "ordres"), "did you mean 'orders'?"),
        (("describe", "topic", "orders", "retention.m"), "did you mean 'retention.ms'"),
        (("describe", "broker", "7"), "there is no broker '7'\n  there are 1\n"),
        (("set", "topic", "orders", "retention.ms=soon"), "INVALID_CONFIG"),
        (("set", "topic", "orders", "nonsense=1"), "INVALID_CONFIG"),
        (("set", "broker", "1", "node.id=2"), "INVALID_REQUEST"),
    ],
)
def test_a_refusal_names_what_was_asked(cli: Cli, topic: str, words: tuple[str, ...], text: str) -> None:
    refused = cli("configs", *words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert text in refused.stderr


@pytest.mark.parametrize("words", [("set", "topic", "orders", "x"), ("set", "topic", "orders", "=1"), ("set", "table")])
def test_wrong_usage(cli: Cli, words: tuple[str, ...]) -> None:
    refused = cli("configs", *words)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_the_cluster_at_a_glance(cli: Cli, broker: Broker) -> None:
    found = cli.json("cluster")
    host, port = broker.bootstrap.split(":")
    (line,) = found["brokers"]
    assert [line[key] for key in ("id", "host", "port", "rack", "fenced")] == [1, host, int(port), None, False]
    assert (line["role"], line["behind"], line["lag"]) == ("controller", 0, 0)
    assert line["leaders"] == line["replicas"] > 0
    assert (found["controller"], found["quorum"]["leader"]) == (1, 1)
    assert [member["role"] for member in found["quorum"]["members"]] == ["leader"]
    (directory,) = found["log_dirs"]
    assert directory["error"] is None
    assert 0 <= directory["used_bytes"] < directory["total_bytes"]
    levels = {feature["feature"]: feature["level"] for feature in found["features"]}
    assert levels["group.version"] == 1
    text = cli.ok("cluster")
    assert text.startswith(f"cluster {found['cluster_id']}, controller 1\n")
    for head in ("BROKER", "quorum:", "FEATURE", "LOG DIRECTORY"):
        assert head in text


def test_parts_of_the_cluster(cli: Cli) -> None:
    assert set(cli.json("cluster", "log-dirs")) == {"cluster_id", "controller", "log_dirs"}
    assert "FEATURE" not in cli.ok("cluster", "brokers")
    refused = cli("cluster", "brekers")
    assert refused.returncode == 2
    assert "choose from brokers, partitions, quorum, features, log-dirs" in refused.stderr
