"""`riverport chaos`: nodes of a cluster that are killed, stopped, paused, cut off and slowed down, and healed."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from tests.cli.kit import Cli
from tests.cli.test_up_cluster import Up, until, up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Up]:
    with up(
        "--override", "broker.session.timeout.ms=1000", "--override", "broker.heartbeat.interval.ms=200"
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def whole_again(cluster: Up) -> Iterator[None]:
    yield
    cluster.cli.ok("chaos", "heal")
    until(lambda: all(node["state"] == "running" for node in cluster.status().values()))


def answers(cluster: Up, id_: int, patience: float = 20) -> bool:
    """Whether a node accepts a connection and answers an ApiVersions request."""
    try:
        with socket.create_connection(("127.0.0.1", cluster.nodes[id_]["port"]), patience) as peer:
            peer.sendall(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff")
            return bool(peer.recv(4))
    except OSError:
        return False


def is_silent(cluster: Up, id_: int) -> bool:
    return not answers(cluster, id_, 0.5)


def fenced(cluster: Up) -> list[int] | None:
    """The brokers that are; None where nobody can say, while the controllers find another leader."""
    told = cluster.cli("cluster", "brokers", "--json")
    if told.returncode:
        return None
    return [broker["id"] for broker in json.loads(told.stdout)["brokers"] if broker["fenced"]]


def test_killed_node_comes_back_by_itself(cluster: Up) -> None:
    before = cluster.status()[2]
    after = {node["id"]: node for node in cluster.cli.json("chaos", "kill", "2")["nodes"]}[2]
    assert after["state"] == "running"
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]


def test_stopped_node_stays_stopped_until_it_is_started(cluster: Up) -> None:
    stopped = {node["id"]: node for node in cluster.cli.json("chaos", "stop", "3")["nodes"]}[3]
    assert (stopped["state"], stopped["pid"]) == ("stopped", None)
    assert is_silent(cluster, 3)
    refused = cluster.cli("chaos", "pause", "3")
    assert (refused.returncode, refused.stderr) == (1, "riverport: node 3 does not run, it is stopped\n")
    cluster.cli.ok("chaos", "start", "3")
    assert answers(cluster, 3)
    assert "node 3 runs" in cluster.cli("chaos", "start", "3").stderr


def test_all_of_them_may_be_stopped_and_started(cluster: Up) -> None:
    cluster.cli.ok("chaos", "stop", "1", "2", "3")
    assert {node["state"] for node in cluster.status().values()} == {"stopped"}
    cluster.cli.ok("chaos", "start", "1", "2", "3")
    assert {node["state"] for node in cluster.status().values()} == {"running"}
    assert all(answers(cluster, id_) for id_ in (1, 2, 3))


def test_paused_node_accepts_and_does_not_answer(cluster: Up) -> None:
    cluster.cli.ok("chaos", "pause", "2")
    assert cluster.status()[2]["faults"] == ["paused"]
    assert is_silent(cluster, 2)
    cluster.cli.ok("chaos", "resume", "2")
    until(lambda: answers(cluster, 2))


def test_node_that_is_cut_off_hears_nothing_until_it_is_healed(cluster: Up) -> None:
    cluster.cli.ok("chaos", "cut", "3")
    assert is_silent(cluster, 3)
    assert answers(cluster, 1)
    # Its heartbeats reach the controller no more, so it is fenced.
    until(lambda: fenced(cluster) == [3])
    cluster.cli.ok("chaos", "heal", "3")
    until(lambda: answers(cluster, 3))
    until(lambda: fenced(cluster) == [])


def test_slow_node_answers_later(cluster: Up) -> None:
    cluster.cli.ok("chaos", "slow", "2", "--ms", "300")
    began = time.monotonic()
    assert answers(cluster, 2)
    assert time.monotonic() - began >= 0.3


def test_fault_for_some_time_is_undone(cluster: Up) -> None:
    cluster.cli.ok("chaos", "pause", "2", "--for", "0.2")
    assert cluster.status()[2]["faults"] == []
    assert answers(cluster, 2)


def test_what_makes_no_sense_is_refused(cluster: Up) -> None:
    unknown = cluster.cli("chaos", "kill", "9")
    assert (unknown.returncode, unknown.stderr) == (1, "riverport: there is no node 9: the nodes are 1, 2, 3\n")
    assert cluster.cli("chaos", "pause", "1", "--for", "0").returncode == 2
    nowhere = Cli("127.0.0.1:1")("chaos", "status")
    assert nowhere.returncode == 1
    assert "no cluster of `riverport up --brokers N` runs at 127.0.0.1:1" in nowhere.stderr
