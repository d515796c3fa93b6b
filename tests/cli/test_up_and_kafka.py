"""`riverport up` and `riverport kafka` as processes, as a user runs them."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from riverport.kafka.records.batch import iter_headers, patch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import encode_record

pytestmark = pytest.mark.slow

RIVERPORT = [sys.executable, "-m", "riverport"]
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RIVERPORT, *words], capture_output=True, text=True, timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[str]"]:
    started = subprocess.Popen([*RIVERPORT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate(timeout=20)


def produce(bootstrap: str, topic: str, value: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "socket.timeout.ms": 10_000})
    errors: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None]


def properties(directory: Path, **more: str) -> Path:
    port = free_port()
    entries = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{port}",
        "listeners": f"PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory / "data"),
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    file = directory / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in entries.items()))
    return file


def test_up_takes_another_node_id() -> None:
    with process("up", "--json", "--port", "0", "--override", "node.id=0") as up:
        assert up.stdout is not None
        line = json.loads(up.stdout.readline())
        assert line["nodes"][0]["id"] == 0
        produce(line["bootstrap"], "t", "v")


def test_up_announces_one_line_of_json_and_stops_cleanly(tmp_path: Path) -> None:
    with process("up", "--json", "--port", "0", "--dir", str(tmp_path / "d")) as up:
        assert up.stdout is not None
        line = json.loads(up.stdout.readline())
        node = line["nodes"][0]
        assert line["bootstrap"] == f"127.0.0.1:{node['port']}"
        assert (node["id"], node["pid"]) == (1, up.pid)
        produce(line["bootstrap"], "lines", "first")
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0
        assert up.stdout.read() == ""
    assert (tmp_path / "d" / ".kafka_cleanshutdown").exists()


def test_up_keeps_its_directory_over_a_restart(tmp_path: Path) -> None:
    for value in ("first", "second"):
        with process("up", "--json", "--port", "0", "--dir", str(tmp_path)) as up:
            assert up.stdout is not None
            produce(json.loads(up.stdout.readline())["bootstrap"], "kept", value)
            up.send_signal(signal.SIGINT)
            assert up.wait(20) == 0
    assert b"first" in (tmp_path / "kept-0" / f"{0:020d}.log").read_bytes()
    assert b"second" in (tmp_path / "kept-0" / f"{0:020d}.log").read_bytes()


def test_up_without_a_directory_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with process("up", "--json", "--port", "0") as up:
        assert up.stdout is not None
        assert up.stdout.readline()
        assert list(tmp_path.iterdir())
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0
    assert not list(tmp_path.iterdir())


def test_up_says_that_a_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("up", "--port", str(port))
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "Address already in use" in result.stderr


def test_up_says_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        result = run("up", "--port", "0", "--dir", str(directory))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith(f"riverport: mkdir {directory}: ")


def test_a_directory_has_one_user(tmp_path: Path) -> None:
    with process("up", "--json", "--port", "0", "--dir", str(tmp_path)) as up:
        assert up.stdout is not None
        assert up.stdout.readline()
        second = run("up", "--port", "0", "--dir", str(tmp_path))
    assert second.returncode == 1
    assert second.stderr == f"riverport: lock {tmp_path}/.lock: another process is using this directory\n"


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (("metadata.version", 99), "metadata.version is at level 99, this release has levels 7 to 33"),
        (("time.travel.version", 1), "time.travel.version is at level 1, this release has no such feature"),
    ],
)
def test_a_directory_of_a_newer_release_is_left_alone(tmp_path: Path, level: tuple[str, int], text: str) -> None:
    with process("up", "--json", "--port", "0", "--dir", str(tmp_path)) as up:
        assert up.stdout is not None
        assert up.stdout.readline()
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0
    (segment,) = (tmp_path / "__cluster_metadata-0").glob("*.log")
    raw = segment.read_bytes()
    last = list(iter_headers(raw))[-1]
    newer = build_batch([NewRecord(None, encode_record(m.FeatureLevelRecord(*level), 0), (), 0)])
    patch(newer, 0, last.next_offset, last.leader_epoch)
    segment.write_bytes(raw + newer)
    result = run("up", "--port", "0", "--dir", str(tmp_path))
    assert result.returncode == 1
    assert f"{text}: a newer one has used the directory" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--port", "65536"), "a port is a number from 0 to 65535"),
        (("--port", "x"), "invalid int value: 'x'"),
        (("--brokers", "0"), "--brokers 0: a cluster has 1 to 100"),
        (("--brokers", "3", "--port", "65534"), "a port is a number from 0 to 65533"),
        (("--colour",), "unrecognized arguments: --colour"),
    ],
)
def test_up_with_options_that_make_no_sense(words: tuple[str, ...], text: str) -> None:
    result = run("up", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert text in result.stderr


def test_every_wrong_setting_is_named_with_its_value_and_what_is_allowed(tmp_path: Path) -> None:
    file = properties(tmp_path, num__io__threads="-3", log__cleanup__policy="shred")
    for words in (("start", str(file)), ("format", "-t", CLUSTER_ID, "-c", str(file))):
        result = run("kafka", *words)
        assert (result.returncode, result.stdout) == (1, "")
        assert "Invalid value -3 for configuration num.io.threads: Value must be at least 1" in result.stderr
        assert "Invalid value shred for configuration log.cleanup.policy" in result.stderr
        assert "compact" in result.stderr


def test_a_file_that_is_no_properties_file(tmp_path: Path) -> None:
    missing = run("kafka", "start", str(tmp_path / "missing"))
    assert (missing.returncode, missing.stderr) == (1, f"riverport: {tmp_path}/missing: No such file or directory\n")
    (tmp_path / "broken").write_text("a=\\u12")
    broken = run("kafka", "start", str(tmp_path / "broken"))
    assert broken.returncode == 1
    assert f"{tmp_path}/broken: line 1" in broken.stderr


def test_formatting_then_starting_a_node(tmp_path: Path) -> None:
    file = properties(tmp_path)
    user = "SCRAM-SHA-256=[name=alice,password=secret]"
    formatted = run("kafka", "format", "-t", CLUSTER_ID, "-c", str(file), "-S", user)
    assert formatted.returncode == 0, formatted.stderr
    assert formatted.stdout == f"Formatting metadata directory {tmp_path}/data with metadata.version 4.3-IV0.\n"
    with process("kafka", "start", str(file), "--override", "num.partitions=3") as node:
        deadline = time.monotonic() + 20
        assert node.stderr is not None
        for line in node.stderr:
            if "started" in line:
                break
            assert time.monotonic() < deadline
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
    assert CLUSTER_ID in (tmp_path / "data" / "meta.properties").read_text()
    metadata = run("log", "dump", str(tmp_path / "data" / "__cluster_metadata-0"))
    assert "type=UserScramCredentialRecord" in metadata.stdout
    assert '"name":"alice"' in metadata.stdout


def test_formatting_twice_is_refused_unless_told(tmp_path: Path) -> None:
    words = ("kafka", "format", "-t", CLUSTER_ID, "-c", str(properties(tmp_path)))
    assert run(*words).returncode == 0
    again = run(*words)
    assert again.returncode == 1
    assert "is already formatted. Use --ignore-formatted" in again.stderr
    ignored = run(*words, "--ignore-formatted")
    assert ignored.returncode == 0
    assert ignored.stdout == "All of the log directories are already formatted.\n"


def test_starting_an_unformatted_node_is_refused(tmp_path: Path) -> None:
    result = run("kafka", "start", str(properties(tmp_path)))
    assert result.returncode == 1
    assert "not formatted" in result.stderr


def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    result = run("kafka", "start", str(properties(tmp_path, num__partitions="0")))
    assert result.returncode == 1
    assert "num.partitions" in result.stderr
    assert "0" in result.stderr
    assert "1" in result.stderr


def test_a_standalone_controller_has_a_dynamic_quorum(tmp_path: Path) -> None:
    port = free_port()
    file = properties(tmp_path, controller__quorum__bootstrap__servers=f"127.0.0.1:{port}")
    text = "".join(line for line in file.open() if not line.startswith("controller.quorum.voters"))
    file.write_text(text)
    without = run("kafka", "format", "-t", CLUSTER_ID, "-c", str(file))
    assert without.returncode == 1
    assert "--standalone, --initial-controllers, or --no-initial-controllers" in without.stderr
    formatted = run("kafka", "format", "-t", CLUSTER_ID, "-c", str(file), "--standalone")
    assert formatted.returncode == 0, formatted.stderr
    assert "dynamic metadata voter directory" in formatted.stdout
    assert (tmp_path / "data" / "__cluster_metadata-0" / f"{0:020d}-{0:010d}.checkpoint").exists()
    with process("kafka", "start", str(file)) as node:
        assert node.stderr is not None
        assert any("started" in line for line in node.stderr)
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0


def test_unknown_commands_name_the_nearest() -> None:
    result = run("topic")
    assert result.returncode == 2
    assert "did you mean 'topics'" in result.stderr
