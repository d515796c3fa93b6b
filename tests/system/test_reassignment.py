"""Replicas move under load, and are held to a rate (after kafkatest's reassign_partitions_test, throttling_test)."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kafka_tools import Tools
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
BROKERS, PARTITIONS = 4, 8
REASSIGN = "kafka-reassign-partitions"


def replicas(partition: int, shift: int = 0) -> list[int]:
    return [1 + (partition + shift + i) % BROKERS for i in range(3)]


def plan(file: Path, replicas: dict[int, list[int]]) -> list[str]:
    """The words that name a plan: where the replicas of each partition are to be."""
    partitions = [{"topic": TOPIC, "partition": p, "replicas": wanted} for p, wanted in replicas.items()]
    file.write_text(json.dumps({"version": 1, "partitions": partitions}))
    return ["--reassignment-json-file", str(file)]


def wait_complete(cluster: Cluster, tools: Tools, words: list[str]) -> None:
    def complete() -> bool:
        told = tools(REASSIGN, "--verify", *words).out
        return "still in progress" not in told and told.count("is completed") >= 1

    cluster.wait_until(complete, "the reassignment to be complete")


@pytest.mark.parametrize("bounce", [False, True], ids=["undisturbed", "bounced"])
@pytest.mark.parametrize("trimmed", [False, True], ids=["from-zero", "from-later"])
def test_every_replica_moves_under_load(
    bounce: bool,
    trimmed: bool,
    tmp_path: Path,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
    kafka_tools: Tools,
) -> None:
    cluster = make_cluster(brokers=BROKERS, controllers=1).start()
    kafka_tools.bootstrap = cluster.bootstrap
    cluster.create_topic(TOPIC, assignment=[replicas(p) for p in range(PARTITIONS)], config={"min.insync.replicas": 3})
    clients = make_clients(cluster)
    if trimmed:
        trim(cluster, clients, kafka_tools, tmp_path)
    producer, consumer = clients.producer(TOPIC, keys=100), clients.consumer(TOPIC)
    consumer.wait_until(lambda: len({p.partition for p in producer.acked.values()}) == PARTITIONS, "all to have data")
    wanted = {p: replicas(p, shift=1 + p % 3) for p in range(PARTITIONS)}
    words = plan(tmp_path / "plan.json", wanted)
    kafka_tools(REASSIGN, "--execute", *words)
    if bounce:
        for id_ in (1, 3):
            cluster.restart(id_)
    wait_complete(cluster, kafka_tools, words)
    cluster.wait_in_sync(TOPIC)
    assert {p: list(state.replicas) for p, state in cluster.topic(TOPIC).items()} == wanted
    cluster.wait_until(lambda: folders(cluster) == wanted_folders(wanted), "what moved away to be deleted")
    producer.wait_acked(500)
    wait_and_check_delivery(producer, consumer)


def trim(cluster: Cluster, clients: Clients, tools: Tools, tmp_path: Path) -> None:
    """The partitions begin at offset 20."""
    old = clients.producer(TOPIC, keys=100, max_messages=4000, throughput=-1)
    old.wait_until(lambda: len(old.acked) == 4000, "the records that go")
    old.stop()
    offsets = [{"topic": TOPIC, "partition": p, "offset": 20} for p in range(PARTITIONS)]
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps({"version": 1, "partitions": offsets}))
    tools("kafka-delete-records", "--offset-json-file", str(file))


def folders(cluster: Cluster) -> set[tuple[int, str]]:
    """Those of replicas; what is about to be deleted has another name."""
    return {
        (node.id, folder.name)
        for node in cluster.nodes.values()
        for folder in node.dir.glob(f"data*/{TOPIC}-*")
        if "." not in folder.name
    }


def wanted_folders(wanted: dict[int, list[int]]) -> set[tuple[int, str]]:
    return {(id_, f"{TOPIC}-{partition}") for partition, ids in wanted.items() for id_ in ids}


def test_a_throttled_move_takes_its_time(
    tmp_path: Path,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
    kafka_tools: Tools,
) -> None:
    cluster = make_cluster(brokers=BROKERS, controllers=1).start()
    kafka_tools.bootstrap = cluster.bootstrap
    cluster.create_topic(TOPIC, assignment=[[1, 2]])
    kafka_tools.run("kafka-producer-perf-test", "--topic", TOPIC, "--num-records", "4000", "--record-size", "2000",
                    "--throughput", "-1", "--bootstrap-server", cluster.bootstrap)  # fmt: skip
    held = 1_000_000  # bytes a second, of eight million
    words = plan(tmp_path / "plan.json", {0: [3, 2]})
    clients = make_clients(cluster)
    began = time.monotonic()
    said = kafka_tools(REASSIGN, "--execute", *words, "--throttle", str(held))
    assert "The inter-broker throttle limit was set to 1000000 B/s" in said.out
    producer = clients.producer(TOPIC, throughput=200)
    consumer = clients.consumer(TOPIC, reset="latest", verify_offsets=False)
    assert set(cluster.topic(TOPIC)[0].replicas) >= {1, 2}, "it can't be done yet"
    wait_complete(cluster, kafka_tools, words)
    took = time.monotonic() - began
    # The first second's allowance is there at once, and as much again may be under way.
    assert took > 8_000_000 / held - 3, f"{took:.1f} s"
    assert cluster.topic(TOPIC)[0].replicas == (3, 2)
    configs = kafka_tools("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", TOPIC).out
    assert "throttled" not in configs, "--verify takes the throttle away"
    consumer.stop()
    producer.wait_acked(200)
    producer.stop()
    assert not producer.errors, producer.errors[:3]
