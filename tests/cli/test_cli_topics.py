"""`riverport topics` against a broker: tables, JSON, and what it says when something is wrong."""

import subprocess
import sys

import pytest
from tests.cli.kit import Cli

from riverport.testing import Broker

DESCRIBED = """\
topic     described
id        {id}
setting   retention.ms=86400000

PARTITION  LEADER  EPOCH  REPLICAS  ISR  OFFLINE  FIRST  END
        0       1      0  1         1    -            0    0
        1       1      0  1         1    -            0    0
"""


def test_a_topic_is_made_listed_described_and_deleted(cli: Cli) -> None:
    assert cli.ok("topics", "create", "numbered", "--partitions", "12") == "numbered: created\n"
    rows = [line.split() for line in cli.ok("topics", "list").splitlines()]
    assert rows[0] == ["TOPIC", "PARTITIONS", "REPLICAS"]
    assert ["numbered", "12", "1"] in rows
    (described,) = cli.json("topics", "describe", "numbered")["topics"]
    assert (described["partition_count"], described["replication_factor"]) == (12, 1)
    assert cli.ok("topics", "delete", "numbered") == "numbered: deleted\n"
    assert "numbered" not in cli.ok("topics", "list")


def test_a_description_is_a_table_whose_numbers_stand_right(cli: Cli) -> None:
    cli.ok("topics", "create", "described", "--partitions", "2", "--config", "retention.ms=86400000")
    (described,) = cli.json("topics", "describe", "described")["topics"]
    assert described["configs"] == {"retention.ms": "86400000"}
    assert cli.ok("topics", "describe", "described") == DESCRIBED.format(id=described["id"])


def test_the_json_of_a_topic_has_a_fixed_shape(cli: Cli) -> None:
    cli.ok("topics", "create", "shape")
    (found,) = cli.json("topics", "describe", "shape")["topics"]
    identity = found.pop("id")
    assert len(identity) == 22
    assert found == {
        "topic": "shape",
        "internal": False,
        "partition_count": 1,
        "replication_factor": 1,
        "configs": {},
        "partitions": [
            {
                "partition": 0,
                "leader": 1,
                "leader_epoch": 0,
                "replicas": [1],
                "isr": [1],
                "offline": [],
                "first_offset": 0,
                "end_offset": 0,
            }
        ],
    }


def test_creating_what_exists_is_refused_unless_told(cli: Cli) -> None:
    cli.ok("topics", "create", "twice")
    again = cli("topics", "create", "twice")
    assert (again.returncode, again.stdout) == (1, "")
    assert "'twice' exists" in again.stderr
    assert "--if-not-exists" in again.stderr
    assert cli.json("topics", "create", "twice", "--if-not-exists") == {
        "topics": [{"topic": "twice", "created": False}]
    }


def test_a_dry_run_makes_nothing(cli: Cli) -> None:
    assert cli.ok("topics", "create", "dry", "--dry-run") == "dry: could be created\n"
    assert "dry" not in cli.ok("topics", "list")


def test_more_partitions_and_other_settings(cli: Cli) -> None:
    cli.ok("topics", "create", "grows")
    cli.ok("topics", "alter", "grows", "--partitions", "3", "--config", "retention.ms=5", "--config", "segment.ms=9")
    cli.ok("topics", "alter", "grows", "--delete-config", "segment.ms")
    (described,) = cli.json("topics", "describe", "grows")["topics"]
    assert (described["partition_count"], described["configs"]) == (3, {"retention.ms": "5"})
    fewer = cli("topics", "alter", "grows", "--partitions", "2")
    assert fewer.returncode == 1
    assert "INVALID_PARTITIONS" in fewer.stderr


def test_an_unknown_topic_is_answered_with_the_nearest_names(cli: Cli) -> None:
    cli.ok("topics", "create", "payments")
    for words in (("topics", "describe"), ("topics", "delete"), ("consume",), ("produce",)):
        refused = cli(*words, "paymnets")
        assert refused.returncode == 1
        assert refused.stderr == "riverport: there is no topic 'paymnets'\n  did you mean 'payments'?\n"


def test_internal_topics_show_only_when_asked_for(cli: Cli) -> None:
    cli.ok("topics", "create", "watched")
    cli("consume", "watched", "--group", "watchers", "--timeout", "0.5")
    assert "__consumer_offsets" not in cli.ok("topics", "list")
    assert "__consumer_offsets" in cli.ok("topics", "list", "--internal")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("topics",), "required: VERB"),
        (("topics", "create", "t", "--partitions", "0"), "0 is below 1"),
        (("topics", "create", "t", "--config", "x"), "write KEY=VALUE"),
        (("topics", "alter", "t"), "nothing to alter"),
        (("topics", "lst"), "invalid choice: 'lst'"),
    ],
)
def test_wrong_usage_exits_with_2(cli: Cli, words: tuple[str, ...], text: str) -> None:
    refused = cli(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert text in refused.stderr


def test_a_refusal_by_the_broker_is_one_line(cli: Cli) -> None:
    refused = cli("topics", "create", "bad name")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "INVALID_TOPIC_EXCEPTION" in refused.stderr


def test_no_broker_is_said_with_the_address_and_what_to_do(lonely_cli: Cli) -> None:
    refused = lonely_cli("topics", "list")
    assert refused.returncode == 1
    assert refused.stderr == (
        "riverport: no broker answers at 127.0.0.1:1: Connection refused\n"
        "  start one with `riverport up`, or name another: -b HOST:PORT or RIVERPORT_BOOTSTRAP\n"
    )


def test_an_address_may_be_given_by_option_or_environment(cli: Cli, broker: Broker) -> None:
    assert cli("topics", "list", "-b", "127.0.0.1:1").returncode == 1
    assert cli("topics", "list", "-b", broker.bootstrap, env={"RIVERPORT_BOOTSTRAP": "127.0.0.1:1"}).returncode == 0
    wrong = cli("topics", "list", "-b", "nowhere:port")
    assert wrong.returncode == 1
    assert "expected host:port" in wrong.stderr


def test_help_shows_examples(lonely_cli: Cli) -> None:
    for command in ("topics", "produce", "consume", "groups", "configs", "cluster", "demo", "up", "completion"):
        text = lonely_cli.ok(command, "-h")
        assert f"riverport {command}" in text.split("examples:")[1]


def test_listing_topics_imports_no_part_of_the_broker(cli: Cli) -> None:
    """Commands answer fast because they load little: the broker, the codecs, even the tables of other commands."""
    code = (
        "import sys; from riverport.cli.main import main; main(['topics', 'list']);"
        "print([name for name in sys.modules if name.startswith(('riverport.kafka.server', 'riverport.kafka.log',"
        "'riverport.kafka.records', 'riverport.cli.demo', 'cramjam', 'crc32c', 'uvloop'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=cli.env, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
