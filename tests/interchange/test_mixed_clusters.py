"""One cluster of nodes of both kinds: they register, replicate, elect and vote with each other."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kafka_tools import Tools
from tests.system.cluster import Cluster
from tests.system.conftest import compiled, kafka_tools, make_clients, make_cluster, software
from tests.system.delivery import wait_and_check_delivery
from tests.system.processes import Software
from tests.system.workload import Clients

__all__ = ["compiled", "kafka_tools", "make_clients", "make_cluster", "software"]

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
KINDS: list[Software] = ["apache", "riverport"]


def other(kind: Software) -> Software:
    return "riverport" if kind == "apache" else "apache"


@pytest.mark.parametrize("controller", KINDS)
def test_brokers_of_both_kinds_replicate_to_each_other(
    controller: Software, make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    """Two of the other kind than the controller, and one of its own; each leads a partition, each once is killed."""
    kinds = {101: controller, 1: other(controller), 2: other(controller), 3: controller}
    cluster = make_cluster(brokers=3, controllers=1, software_of=kinds).start()
    cluster.create_topic(TOPIC, assignment=[[1, 3, 2], [2, 1, 3], [3, 2, 1]], config={"min.insync.replicas": 2})
    clients = make_clients(cluster)
    producer = clients.producer(TOPIC, keys=100, properties={"compression.type": "lz4"})
    consumer = clients.consumer(TOPIC)
    consumer.wait_read(100)
    for killed in (1, 3):
        cluster.kill(killed)
        cluster.wait_until(lambda killed=killed: gone(cluster, killed), f"others to lead what {killed} led")
        producer.wait_acked(200)
        cluster.start(killed)
        cluster.wait_in_sync(TOPIC)
    cluster.restart(2)
    cluster.wait_in_sync(TOPIC)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]
    cluster.stop()
    for partition in range(3):
        logs = [log_of(cluster, id_, partition) for id_ in (1, 2, 3)]
        assert logs[0] == logs[1] == logs[2], f"partition {partition}"


def gone(cluster: Cluster, broker: int) -> bool:
    partitions = cluster.topic(TOPIC).values()
    return all(p.leader not in (broker, -1) and broker not in p.isr for p in partitions)


def log_of(cluster: Cluster, broker: int, partition: int) -> bytes:
    (folder,) = cluster.nodes[broker].dir.glob(f"data*/{TOPIC}-{partition}")
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.log")))


@pytest.mark.parametrize("majority", KINDS)
def test_voters_of_both_kinds_elect_each_other(
    majority: Software,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
    kafka_tools: Tools,
) -> None:
    """Each voter leads once: the active one is stopped until the one whose turn it is has been elected."""
    kinds = {101: other(majority), 102: majority, 103: majority, 1: majority, 2: other(majority)}
    cluster = make_cluster(brokers=2, controllers=3, software_of=kinds).start()
    cluster.create_topic(TOPIC, partitions=4, replication_factor=2)
    clients = make_clients(cluster)
    producer, consumer = clients.producer(TOPIC), clients.consumer(TOPIC)
    consumer.wait_read(5)
    led: set[Software] = set()
    for turn in range(8):
        leader = cluster.quorum().leader
        led.add(kinds[leader])
        cluster.create_topic(f"made-{turn}", partitions=2, replication_factor=2)
        if len(led) == 2:
            break
        cluster.stop(leader)
        cluster.wait_until(lambda leader=leader: cluster.quorum().leader not in (leader, -1), "another leader")
        cluster.start(leader)
    assert led == set(KINDS)
    wait_and_check_delivery(producer, consumer)
    assert not producer.errors, producer.errors[:3]

    kafka_tools.bootstrap = cluster.bootstrap
    cluster.wait_until(lambda: lag(kafka_tools) == 0, "every voter to have everything")
    logs = [metadata(kafka_tools, cluster.nodes[id_].metadata_dir) for id_ in (101, 102, 103)]
    last = min(max(log) for log in logs)
    assert last > 20
    known = [{offset: record for offset, record in log.items() if offset <= last} for log in logs]
    assert known[0] == known[1] == known[2]


def lag(tools: Tools) -> int:
    (found,) = re.findall(r"MaxFollowerLag: +(\d+)", tools("kafka-metadata-quorum", "describe", "--status").out)
    return int(found)


def metadata(tools: Tools, folder: Path) -> dict[int, str]:
    """The records of a metadata log by offset, as Kafka's tool reads them."""
    files = ",".join(map(str, sorted(folder.glob("*.log"))))
    said = tools.run("kafka-dump-log", "--cluster-metadata-decoder", "--files", files)
    assert said.status == 0, said.err
    lines = (line for line in said.lines if line.startswith("| offset:"))
    return {int(line.split()[2]): line.split("payload: ")[-1] for line in lines}
