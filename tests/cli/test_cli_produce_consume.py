"""Lines in, records out: `riverport produce` and `riverport consume`."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cli.kit import Cli

from riverport.testing import Broker

BINARY = b"\xff\x00\xfe"


@pytest.fixture
def topic(broker: Broker, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^\w.-]+", "-", request.node.name.removeprefix("test_"), flags=re.ASCII)
    return broker.create_topic(name[:200], partitions=3)


def values(broker: Broker, topic: str, partition: int | None = None) -> list[bytes | None]:
    return [record.value for record in broker.records(topic, partition)]


def test_lines_become_records_as_they_are(cli: Cli, broker: Broker, topic: str) -> None:
    said = cli.ok("produce", topic, "--partition", "1", input=b"one\r\ntwo\n\n" + BINARY + b"\nlast")
    assert values(broker, topic, 1) == [b"one", b"two", b"", BINARY, b"last"]
    assert said.startswith("5 records in ")
    assert "5 to partition 1 (offsets 0-4)" in said


def test_the_report_as_json(cli: Cli, topic: str) -> None:
    report = cli.json("produce", topic, "-p", "2", input=b"a\nb\n")
    assert isinstance(report.pop("seconds"), float)
    partitions = [{"partition": 2, "record_count": 2, "first_offset": 0, "last_offset": 1}]
    assert report == {"topic": topic, "record_count": 2, "partitions": partitions}


def test_a_file_with_keys_headers_and_compression(cli: Cli, broker: Broker, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "orders.txt"
    file.write_text("".join(f"k{number}::v:{number}\n" for number in range(300)))
    cli.ok("produce", topic, "-f", str(file), "-k", "::", "--header", "a=b", "-z", "zstd", "--idempotent")
    found = broker.records(topic)
    assert {(record.key, record.value) for record in found} == {
        (b"k%d" % number, b"v:%d" % number) for number in range(300)
    }
    assert {record.partition for record in found} == {0, 1, 2}
    assert all(list(record.headers) == [("a", b"b")] for record in found)


def test_a_line_without_a_key_stops_with_its_number(cli: Cli, topic: str) -> None:
    refused = cli("produce", topic, "-k", ":", input=b"a:1\nno key here\n")
    assert refused.returncode == 1
    assert "line 2 has no ':', so no key: no key here" in refused.stderr


def test_nothing_in_is_nothing_out(cli: Cli, broker: Broker, topic: str) -> None:
    assert cli.json("produce", topic, input=b"")["record_count"] == 0
    assert values(broker, topic) == []


def test_a_line_longer_than_the_topic_takes_is_refused_with_the_reason(cli: Cli, topic: str) -> None:
    refused = cli("produce", topic, input=b"x" * 1_100_000)
    assert refused.returncode == 1
    assert "MESSAGE_TOO_LARGE" in refused.stderr


def test_json_lines_go_round(cli: Cli, broker: Broker, topic: str) -> None:
    copies = broker.create_topic(topic + "-copies")
    lines = [
        {"key": "k", "value": {"base64": "/wD+"}, "headers": [["h", None]], "timestamp": 1_700_000_000_000},
        {"key": None, "value": None, "headers": []},
    ]
    cli.ok("produce", topic, "--json-lines", "-p", "0", input="\n".join(map(json.dumps, lines)).encode())
    printed = cli.ok("consume", topic, "--from-beginning", "--json", "--max", "2")
    first, second = map(json.loads, printed.splitlines())
    assert first == {"topic": topic, "partition": 0, "offset": 0, **lines[0]}
    assert (second["key"], second["value"]) == (None, None)
    cli.ok("produce", copies, "--json-lines", input=printed.encode())
    assert values(broker, copies) == [BINARY, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("[]", "expected a JSON object"), ("{", "line 1"), ('{"k": 1}', "unknown field 'k'"), ('{"key": 1}', "string")],
)
def test_json_lines_that_are_none(cli: Cli, topic: str, line: str, reason: str) -> None:
    refused = cli("produce", topic, "--json-lines", input=line.encode())
    assert refused.returncode == 1
    assert reason in refused.stderr


def test_an_unknown_topic_is_made_only_when_asked(cli: Cli, broker: Broker) -> None:
    assert cli("produce", "brand-new", input=b"x").returncode == 1
    cli.ok("produce", "brand-new", "--create", input=b"x")
    assert values(broker, "brand-new") == [b"x"]


@pytest.mark.parametrize(
    "words",
    [
        ("produce", "t", "--acks", "1", "--idempotent"),
        ("produce", "t", "--json-lines", "-k", ":"),
        ("consume", "t", "--group", "g", "--partition", "0"),
        ("consume", "t", "u", "--partition", "0"),
        ("consume", "t", "--format", "{values}"),
        ("consume", "t", "--format", "{value"),
        ("consume", "t", "--from-beginning", "--offset", "3"),
        ("consume", "t", "--timeout", "-1"),
    ],
)
def test_options_that_contradict_each_other(cli: Cli, words: tuple[str, ...]) -> None:
    refused = cli(*words)
    assert (refused.returncode, refused.stdout) == (2, "")


@pytest.mark.parametrize("command", ["produce", "consume"])
def test_a_partition_that_is_not_there(cli: Cli, topic: str, command: str) -> None:
    refused = cli(command, topic, "-p", "3")
    assert refused.returncode == 1
    assert "has partitions 0 to 2, not 3" in refused.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--from-beginning",), "0123456789"),
        (("-o", "earliest", "-n", "2"), "01"),
        (("-o", "7"), "789"),
        (("-o", "-2"), "89"),
        (("-o", "-99", "-n", "1"), "0"),
        (("-o", "latest"), ""),
        ((), ""),
    ],
)
def test_where_to_start(cli: Cli, topic: str, words: tuple[str, ...], expected: str) -> None:
    cli.ok("produce", topic, "-p", "1", input=b"".join(b"%d\n" % digit for digit in range(10)))
    assert cli.ok("consume", topic, "-p", "1", "-t", "0.3", *words).replace("\n", "") == expected


def test_a_format_of_ones_own(cli: Cli, topic: str) -> None:
    cli.ok("produce", topic, "-p", "2", "-k", "=", "--header", "h=1", input=b"a=b\n")
    form = "{topic}/{partition}@{offset} {{{key}}} {value} {headers}"
    printed = cli.ok("consume", topic, "--from-beginning", "-n", "1", "--format", form)
    assert printed == f"{topic}/2@0 {{a}} b h=1\n"


def test_a_group_goes_on_where_it_was(cli: Cli, topic: str) -> None:
    cli.ok("produce", topic, input=b"1\n2\n3\n4\n")
    group = ("consume", topic, "--group", topic, "--from-beginning")
    first = cli.ok(*group, "-n", "3").split()
    rest = cli.ok(*group, "-n", "1").split()
    assert sorted(first + rest) == ["1", "2", "3", "4"]
    assert cli.ok(*group, "-t", "0.3") == ""


def test_ctrl_c_commits_and_leaves(cli: Cli, topic: str) -> None:
    cli.ok("produce", topic, input=b"1\n2\n")
    consuming = cli.start("consume", topic, "--group", topic, "--from-beginning", "--verbose")
    assert consuming.stdout is not None
    assert [consuming.stdout.readline(), consuming.stdout.readline()] == ["1\n", "2\n"]
    consuming.send_signal(signal.SIGINT)
    _, said = consuming.communicate(timeout=20)
    assert (consuming.returncode, said) == (0, "2 records\n")
    (group,) = cli.json("groups", "describe", topic)["groups"]
    assert (group["state"], group["members"]) == ("Empty", [])
    assert sum(offset["committed_offset"] or 0 for offset in group["offsets"]) == 2


def owned(cli: Cli, group: str) -> list[list[object]]:
    """The partitions of each member of a group, once nothing moves."""
    (described,) = cli.json("groups", "describe", group)["groups"]
    return [member["partitions"] for member in described["members"]] if described["state"] == "Stable" else []


@pytest.mark.slow
def test_a_second_member_prints_nothing_that_the_first_has(cli: Cli, topic: str) -> None:
    cli.ok("produce", topic, "-p", "0", input=b"1\n2\n")
    first = cli.start("consume", topic, "--group", topic, "--from-beginning")
    assert first.stdout is not None
    assert [first.stdout.readline(), first.stdout.readline()] == ["1\n", "2\n"]
    second = cli.start("consume", topic, "--group", topic, "--from-beginning")
    while [len(has) for has in owned(cli, topic)] not in ([1, 2], [2, 1]):
        assert second.poll() is None
    for partition in ("0", "2"):  # 0 and 1 are of one member, 2 is of the other
        cli.ok("produce", topic, "-p", partition, input=f"to {partition}\n".encode())
    printed = []
    for consuming in (first, second):
        assert consuming.stdout is not None
        printed.append(consuming.stdout.readline())
    for consuming in (first, second):
        consuming.send_signal(signal.SIGINT)
        out, said = consuming.communicate(timeout=20)
        assert (consuming.returncode, said) == (0, "")
        printed += out.splitlines(keepends=True)
    assert sorted(printed) == ["to 0\n", "to 2\n"]


def test_records_go_out_while_standard_input_stays_open(cli: Cli, topic: str) -> None:
    producing = cli.start("produce", topic, stdin=subprocess.PIPE)
    assert producing.stdin is not None
    producing.stdin.write("early\n")
    producing.stdin.flush()
    assert cli.ok("consume", topic, "--from-beginning", "-n", "1", "-t", "20") == "early\n"
    producing.send_signal(signal.SIGINT)
    assert producing.wait(20) == 130  # though nobody pressed enter


def test_a_reader_that_goes_away_is_no_error(cli: Cli, topic: str) -> None:
    cli.ok("produce", topic, input=b"line\n" * 20_000)
    consuming = cli.start("consume", topic, "--from-beginning")
    assert consuming.stdout is not None
    consuming.stdout.readline()
    consuming.stdout.close()
    deadline = time.monotonic() + 20
    while consuming.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert consuming.poll() == 0
    assert consuming.stderr is not None
    assert consuming.stderr.read() == ""
