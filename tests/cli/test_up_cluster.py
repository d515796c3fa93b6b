"""`riverport up --brokers N` as a user runs it: a supervisor and its nodes."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.cli.kit import Cli

from riverport.base.ports import steady_ports

pytestmark = pytest.mark.slow


class Up:
    """A running `riverport up --json`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        self.bootstrap: str = line["bootstrap"]
        self.nodes: dict[int, dict[str, int]] = {node["id"]: node for node in line["nodes"]}
        self.cli = Cli(self.bootstrap)

    def status(self) -> dict[int, dict[str, Any]]:
        return {node["id"]: node for node in self.cli.json("chaos", "status")["nodes"]}

    def stop(self) -> str:
        """A clean stop; what was said on standard error."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return str(err)


@contextmanager
def up(*words: str, brokers: int = 3) -> Iterator[Up]:
    process = Cli().start("up", "--brokers", str(brokers), "--port", "0", "--json", *words)
    try:
        yield Up(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def produce(bootstrap: str, topic: str, value: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": 1})
    errors: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None]


def test_each_broker_is_a_process_and_all_are_one_cluster() -> None:
    with up() as cluster:
        assert list(cluster.nodes) == [1, 2, 3]
        pids = {node["pid"] for node in cluster.nodes.values()}
        assert len(pids | {cluster.process.pid}) == 4
        assert cluster.bootstrap == ",".join(f"127.0.0.1:{node['port']}" for node in cluster.nodes.values())
        brokers = cluster.cli.json("cluster", "brokers")["brokers"]
        assert [broker["id"] for broker in brokers] == [1, 2, 3]
        produce(cluster.bootstrap, "lines", "first")
        said = cluster.stop()
        assert all(f"[{id_}] " in said for id_ in cluster.nodes)
        assert "Traceback" not in said
        assert all(map(is_gone, pids))


def test_who_is_killed_is_started_again_on_its_port_with_its_data(tmp_path: Path) -> None:
    with up("--dir", str(tmp_path), "--override", "broker.session.timeout.ms=600", brokers=2) as cluster:
        os.kill(cluster.nodes[2]["pid"], signal.SIGKILL)
        until(lambda: (now := cluster.status()[2])["restarts"] == 1 and now["state"] == "running")
        after = cluster.status()[2]
        assert after["pid"] != cluster.nodes[2]["pid"]
        assert after["port"] == cluster.nodes[2]["port"]
        with socket.create_connection(("127.0.0.1", after["port"]), 5):
            pass
        assert "node 2 was ended by SIGKILL, it is started again" in cluster.stop()


def test_a_clean_stop_marks_every_directory_and_a_start_goes_on(tmp_path: Path) -> None:
    with up("--dir", str(tmp_path), brokers=2) as cluster:
        cluster.cli.ok("topics", "create", "kept", "--replication-factor", "1")
        produce(cluster.bootstrap, "kept", "first")
        first = cluster.cli.json("cluster", "brokers")["cluster_id"]
        cluster.stop()
    for id_ in (1, 2):
        assert (tmp_path / f"node-{id_}" / ".kafka_cleanshutdown").exists()
    with up("--dir", str(tmp_path), brokers=2) as cluster:
        assert cluster.cli.json("cluster", "brokers")["cluster_id"] == first
        assert cluster.cli.ok("consume", "kept", "--from-beginning", "--max", "1") == "first\n"
    result = Cli()("up", "--dir", str(tmp_path), "--port", "0")
    assert result.returncode == 1
    assert "holds a cluster of several brokers" in result.stderr


def test_nothing_is_left_behind_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with up(brokers=2) as cluster:
        assert list(tmp_path.iterdir())
        cluster.stop()
    assert not list(tmp_path.iterdir())


def test_nodes_stop_when_their_supervisor_is_killed() -> None:
    with up(brokers=2) as cluster:
        cluster.process.kill()
        cluster.process.wait(10)
        # Nobody is there to reap them but the system, which does.
        until(lambda: all(is_gone(node["pid"]) for node in cluster.nodes.values()))


def test_a_node_that_cannot_start_ends_the_others() -> None:
    (port,) = steady_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        result = Cli()("up", "--brokers", "2", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("[1] riverport: ")]
    assert f"127.0.0.1:{port}" in line
    assert "Address already in use" in line
    assert "node 1 ended with exit code 1, it is given up: it could not start" in result.stderr


@pytest.mark.slow
def test_a_node_that_cannot_come_back_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    with up("--dir", str(tmp_path)) as cluster:
        identity = tmp_path / "node-2" / "meta.properties"
        kept = identity.read_text()
        identity.write_text(kept.replace("node.id=2", "node.id=7"))
        os.kill(cluster.nodes[2]["pid"], signal.SIGKILL)
        until(lambda: cluster.status()[2]["state"] == "failed")
        assert {id_: node["state"] for id_, node in cluster.status().items()} == {
            1: "running",
            2: "failed",
            3: "running",
        }
        identity.write_text(kept)
        assert cluster.cli("chaos", "start", "2").returncode == 0
        assert cluster.status()[2]["state"] == "running"
        said = cluster.stop()
        assert "it was formatted for node 7, but node.id is 2" in said
        assert "it is given up: it ended 4 times in a row before it answered" in said


def test_wrong_settings_are_said_once_for_each_node() -> None:
    result = Cli()("up", "--brokers", "2", "--port", "0", "--override", "num.partitions=none")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Invalid value none for configuration num.partitions" in result.stderr
