"""`riverport groups`: members, lag, and offsets that are shown before they are set."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cli.kit import Cli

from riverport.testing import Broker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def committed(cli: Cli, broker: Broker) -> str:
    """A topic of two partitions with ten records each, and a group of the same name that has read four of the first."""
    topic = broker.create_topic("orders", partitions=2)
    for partition in ("0", "1"):
        lines = "".join(f'{{"value":"{n}","timestamp":{1_700_000_000_000 + n * 1000}}}\n' for n in range(10))
        cli.ok("produce", topic, "--json-lines", "-p", partition, input=lines.encode())
    cli.ok("groups", "reset-offsets", "orders", "--topic", "orders:0", "--to-offset", "4", "--execute")
    return topic


@contextmanager
def member(cli: Cli, topic: str, group: str) -> Iterator[None]:
    """A consumer in a group, as long as the block runs."""
    consuming = cli.start("consume", topic, "--group", group, "--from-beginning")
    try:
        assert consuming.stdout is not None
        consuming.stdout.readline()
        yield
        consuming.send_signal(signal.SIGINT)
        assert consuming.wait(20) == 0
    finally:
        consuming.kill()
        consuming.communicate()


def test_groups_are_listed_with_their_states(cli: Cli, committed: str) -> None:
    assert {"group": committed, "type": "classic", "protocol": "", "state": "Empty"} in cli.json("groups", "list")[
        "groups"
    ]
    heads, *rows = cli.ok("groups", "list").splitlines()
    assert heads.split() == ["GROUP", "TYPE", "PROTOCOL", "STATE"]
    assert ["orders", "classic", "-", "Empty"] in [row.split() for row in rows]


def test_lag_is_what_lies_behind_the_commit(cli: Cli, committed: str) -> None:
    (described,) = cli.json("groups", "describe", committed)["groups"]
    assert described["offsets"] == [
        {
            "topic": committed,
            "partition": 0,
            "committed_offset": 4,
            "end_offset": 10,
            "lag": 6,
            "member": None,
            "client_id": None,
            "host": None,
        }
    ]
    text = cli.ok("groups", "describe", committed)
    assert text.startswith("group orders: classic, Empty, 0 members, coordinator 1\n")
    assert text.splitlines()[-1].split()[:5] == ["orders", "0", "4", "10", "6"]


def test_a_member_is_shown_with_what_it_has(cli: Cli, committed: str) -> None:
    with member(cli, committed, "readers"):
        (described,) = cli.json("groups", "describe", "readers")["groups"]
        (found,) = described["members"]
        assert (described["state"], described["assignor"]) == ("Stable", "range")
        assert (found["client_id"], found["host"]) == ("riverport-cli", "/127.0.0.1")
        assert [part["partition"] for part in found["partitions"]] == [0, 1]
        assert "orders:0,orders:1" in cli.ok("groups", "describe", "readers", "--members")
        for words in (
            ("delete", "readers"),
            ("reset-offsets", "readers", "--all-topics", "--to-earliest", "--execute"),
        ):
            refused = cli("groups", *words)
            assert refused.returncode == 1
            assert "group 'readers' has members (Stable)\n  stop its consumers first" in refused.stderr
    (after,) = cli.json("groups", "describe", "readers")["groups"]
    assert (after["state"], after["members"]) == ("Empty", [])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (("--to-earliest",), 0),
        (("--to-latest",), 10),
        (("--to-offset", "7"), 7),
        (("--to-offset", "99"), 10),
        (("--to-datetime", "2023-11-14T22:13:23Z"), 3),
        (("--to-datetime", "2023-11-15T00:13:23+02:00"), 3),
        (("--to-datetime", "2100-01-01"), 10),
        (("--by-duration", "PT1H"), 10),
        (("--by-duration", "36500D"), 0),
        (("--to-datetime", "1900-01-01"), 0),
        (("--shift-by", "3"), 7),
        (("--shift-by", "-9"), 0),
        (("--to-current",), 4),
    ],
)
def test_where_a_reset_leads(cli: Cli, committed: str, target: tuple[str, ...], expected: int) -> None:
    planned = cli.json("groups", "reset-offsets", committed, "--topic", "orders:0", *target)
    (row,) = planned["offsets"]
    assert (planned["executed"], row["old_offset"], row["new_offset"]) == (False, 4, expected)


def test_a_reset_changes_nothing_until_it_is_told_to(cli: Cli, committed: str) -> None:
    cli.ok("groups", "reset-offsets", "billing", "--topic", committed, "--to-offset", "2", "--execute")
    shown = cli.ok("groups", "reset-offsets", "billing", "--all-topics", "--to-latest")
    assert "--execute does it" in shown
    assert lags(cli, "billing") == [8, 8]
    done = cli.ok("groups", "reset-offsets", "billing", "--all-topics", "--to-latest", "--execute")
    assert "--execute" not in done
    assert lags(cli, "billing") == [0, 0]


def lags(cli: Cli, group: str) -> list[int]:
    (described,) = cli.json("groups", "describe", group)["groups"]
    return [offset["lag"] for offset in described["offsets"]]


def test_offsets_and_groups_are_forgotten(cli: Cli, committed: str) -> None:
    cli.ok("groups", "reset-offsets", "passing", "--topic", committed, "--to-earliest", "--execute")
    forgotten = cli.json("groups", "delete-offsets", "passing", "--topic", "orders:1")
    assert forgotten["offsets"] == [{"topic": "orders", "partition": 1, "deleted": True}]
    assert len(lags(cli, "passing")) == 1
    again = cli("groups", "delete-offsets", "passing", "--topic", "orders:1")
    assert again.returncode == 1
    assert "has committed nothing there" in again.stderr
    assert cli.ok("groups", "delete", "passing") == "passing: deleted\n"
    gone = cli("groups", "describe", "passing")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith("riverport: there is no group 'passing'\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("describe", "ordrs"), "did you mean 'orders'"),
        (("reset-offsets", "orders", "--topic", "orders:9", "--to-latest"), "has partitions 0 to 1, not 9"),
        (("reset-offsets", "orders", "--topic", "nothing", "--to-latest"), "there is no topic 'nothing'"),
        (("reset-offsets", "new", "--all-topics", "--to-latest"), "has committed nothing"),
        (("reset-offsets", "new", "--topic", "orders", "--shift-by", "1"), "nothing to shift from"),
    ],
)
def test_what_is_not_there_is_named(cli: Cli, committed: str, words: tuple[str, ...], text: str) -> None:
    refused = cli("groups", *words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert text in refused.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--topic", "orders"), "one of the arguments --to-earliest"),
        (("--topic", "orders", "--to-latest", "--to-earliest"), "not allowed with"),
        (("--to-latest",), "one of the arguments --topic --all-topics is required"),
        (("--topic", "orders:x", "--to-latest"), "TOPIC:PARTITION,PARTITION"),
        (("--topic", "orders", "--to-datetime", "yesterday"), "invalid ISO 8601 time value: 'yesterday'"),
        (("--topic", "orders", "--by-duration", "soon"), "invalid duration value: 'soon'"),
        (("--topic", "orders", "--to-offset", "-1"), "-1 is below 0"),
    ],
)
def test_a_reset_that_says_too_little_or_too_much(cli: Cli, committed: str, words: tuple[str, ...], text: str) -> None:
    refused = cli("groups", "reset-offsets", "orders", *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert text in refused.stderr
