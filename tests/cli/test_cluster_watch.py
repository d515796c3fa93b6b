"""`riverport cluster`: brokers and partitions of a cluster, once or as they change."""

import json
import signal
from collections.abc import Iterator

import pytest
from tests.cli.kit import Cli
from tests.cli.test_up_cluster import until

from riverport.testing import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(node_config={2: {"broker.rack": "b"}}) as running:
        running.create_topic("orders", assignment=[[1, 2], [2, 3], [3, 1]])
        running.wait_in_sync("orders")
        yield running


def test_brokers_are_shown_with_what_they_lead_and_what_they_lag(cluster: Cluster) -> None:
    cli = Cli(cluster.bootstrap)
    found = cli.json("cluster", "brokers", "partitions")
    assert found["controller"] == cluster.controller
    assert [(b["id"], b["leaders"], b["replicas"], b["behind"], b["lag"]) for b in found["brokers"]] == [
        (id_, 1, 2, 0, 0) for id_ in (1, 2, 3)
    ]
    assert [b["rack"] for b in found["brokers"]] == [None, "b", None]
    assert [b["id"] for b in found["brokers"] if b["role"] == "controller"] == [cluster.controller]
    assert [(p["index"], p["leader"], p["replicas"], p["isr"]) for p in found["partitions"]] == [
        (0, 1, [1, 2], [1, 2]),
        (1, 2, [2, 3], [2, 3]),
        (2, 3, [3, 1], [3, 1]),
    ]
    text = cli.ok("cluster", "partitions")
    assert "TOPIC   PARTITION  LEADER  EPOCH  REPLICAS  ISR  LAG" in text
    assert "orders          2       3      0  3,1       3,1    0" in text
    assert "TOPIC" not in cli.ok("cluster")


def test_a_dead_broker_is_fenced_and_its_partitions_are_under_replicated(cluster: Cluster) -> None:
    victim = next(id_ for id_ in (1, 2, 3) if id_ != cluster.controller)
    cluster.kill(victim)
    cluster.wait_until(lambda: all(image.brokers[victim].fenced for image in cluster._images()), "the fence")
    found = Cli(cluster.bootstrap).json("cluster", "brokers", "partitions")
    line = next(broker for broker in found["brokers"] if broker["id"] == victim)
    assert (line["fenced"], line["leaders"], line["behind"], line["lag"]) == (True, 0, 2, None)
    assert all(victim not in partition["isr"] for partition in found["partitions"])


def test_watching_goes_on_when_nobody_answers_until_it_is_ended() -> None:
    with Cluster(brokers=1) as cluster:
        cluster.create_topic("orders")
        watching = Cli(cluster.bootstrap).start("cluster", "--watch", "0.1")
        try:
            assert watching.stdout is not None
            seen = iter(watching.stdout)
            until(lambda: "orders" in next(seen))
            cluster.kill(1)
            until(lambda: next(seen).startswith("no answer: "))
            cluster.start(1)
            until(lambda: "1 partitions, 0 under-replicated, 0 without a leader" in next(seen))
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=20)
        finally:
            if watching.poll() is None:
                watching.kill()
        assert watching.returncode == 130


def test_a_watch_in_json_is_a_document_each_time(cluster: Cluster) -> None:
    watching = Cli(cluster.bootstrap).start("cluster", "--watch", "0.1", "--json")
    try:
        assert watching.stdout is not None
        for _ in range(2):
            picture = json.loads(watching.stdout.readline())
            assert len(picture["partitions"]) == 3
    finally:
        watching.terminate()
        watching.communicate(timeout=20)


def test_a_watch_that_makes_no_sense_is_refused(cluster: Cluster) -> None:
    assert Cli(cluster.bootstrap)("cluster", "--watch", "0").returncode == 2
