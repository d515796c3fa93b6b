"""Records make the round trip while the network and a broker misbehave (after kafkatest's round_trip_fault_test).

kafkatest's network_degrade_test shows that its tool degrades a network; here the rate is held, and a workload runs.
"""

import time
from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.network import CLIENTS, Network
from tests.system.workload import Client, Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "round-trips"
SECONDS = 3.0
RECORDS = 8000


def nothing(_: Cluster, __: Network) -> None:
    pass


def a_broker_is_cut_off(_: Cluster, network: Network) -> None:
    """For good, as far as the workload is concerned."""
    network.cut("n1")


def a_broker_stands_still(cluster: Cluster, _: Network) -> None:
    cluster.pause(1)
    time.sleep(SECONDS)
    cluster.resume(1)


def the_clients_are_cut_off(_: Cluster, network: Network) -> None:
    network.cut(CLIENTS)
    time.sleep(SECONDS)
    network.mend(CLIENTS)


def the_network_is_slow(cluster: Cluster, network: Network) -> None:
    for id_ in cluster.nodes:
        network.slow(f"n{id_}", kbit=3000)


FAULTS = [nothing, a_broker_is_cut_off, a_broker_stands_still, the_clients_are_cut_off, the_network_is_slow]


@pytest.mark.parametrize("client", ["java", "librdkafka"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_records_make_the_round_trip(
    fault: Callable[[Cluster, Network], None],
    client: Client,
    network: Network,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., Clients],
) -> None:
    cluster = make_cluster(brokers=4, controllers=1, network=network).start()
    cluster.create_topic(TOPIC, assignment=[[1, 2, 3]])
    clients = make_clients(cluster, client)
    # Who is cut off from a broker learns it by its own patience alone.
    patience = {"request.timeout.ms": 5000} if client == "java" else {"socket.timeout.ms": 5000}
    producer = clients.producer(TOPIC, throughput=2000, max_messages=RECORDS, properties=patience)
    consumer = clients.consumer(TOPIC, properties=patience)
    consumer.wait_read(5)
    fault(cluster, network)
    producer.wait_until(lambda: len(producer.acked) == RECORDS or bool(producer.errors), "every record")
    assert not producer.errors, producer.errors[:3]
    wait_and_check_delivery(producer, consumer)
