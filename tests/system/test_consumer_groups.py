"""Groups through bounces of brokers and members, static members and fencing (after kafkatest's consumer_test)."""

from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.delivery import wait_and_check_delivery
from tests.system.workload import Clients, Consumer, Producer

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
PARTITIONS = 6


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = make_cluster(brokers=2, controllers=1).start()
    cluster.create_topic("__consumer_offsets", partitions=3, replication_factor=2, config={"cleanup.policy": "compact"})
    return cluster


@pytest.fixture
def clients(cluster: Cluster, make_clients: Callable[..., Clients]) -> Clients:
    return make_clients(cluster)


def wait_spread(consumers: list[Consumer], partitions: int = PARTITIONS) -> None:
    """Until each partition belongs to one of these, and to one alone."""

    def spread() -> bool:
        assigned = [partition for consumer in consumers for partition in consumer.assigned]
        return all(c.joined for c in consumers) and sorted(assigned) == list(range(partitions))

    consumers[0].wait_until(spread, f"{[c.assigned for c in consumers]} to be all {partitions}")


def owner(consumers: list[Consumer]) -> Consumer:
    """Who reads a topic of one partition."""
    (found,) = [consumer for consumer in consumers if consumer.assigned]
    return found


def started(clients: Clients, count: int, **options: object) -> tuple[Producer, list[Consumer]]:
    producer = clients.producer(TOPIC, throughput=500)
    return producer, [clients.consumer(TOPIC, **options) for _ in range(count)]


def test_no_rebalance_when_brokers_are_restarted_in_turn(cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    # The session outlives the restart of a coordinator. A Java client that knows one broker only, as the other was down
    # when it last asked, forgets its topics when that one goes (KIP-899) and joins anew: no broker can help that.
    patient = {"metadata.recovery.strategy": "none"}
    producer, consumers = started(clients, 2, session_timeout_ms=30_000, properties=patient)
    wait_spread(consumers, 1)
    rebalances = [consumer.rebalances for consumer in consumers]
    for _ in range(2):
        for id_ in (1, 2):
            cluster.restart(id_)
            cluster.wait_in_sync(TOPIC, "__consumer_offsets")
            owner(consumers).wait_read(10)
    assert [consumer.rebalances for consumer in consumers] == rebalances
    wait_and_check_delivery(producer, *consumers)


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "commit"])
def test_no_rebalance_when_a_broker_fails(clean: bool, autocommit: bool, cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    producer, consumers = started(clients, 2, session_timeout_ms=30_000, autocommit=autocommit)
    wait_spread(consumers, 1)
    reader = owner(consumers)
    reader.wait_read(10)
    rebalances = [consumer.rebalances for consumer in consumers]
    (cluster.stop if clean else cluster.kill)(1)
    reader.wait_read(1000)
    assert [consumer.rebalances for consumer in consumers] == rebalances
    wait_and_check_delivery(producer, *consumers)
    assert sum(len(consumer.read) for consumer in consumers) == reader.last_positions[0], "nothing is read twice"
    if not autocommit:
        assert reader.committed == reader.last_positions


@pytest.mark.parametrize("mode", ["all", "rolling"])
def test_members_bounce(mode: str, cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=PARTITIONS, replication_factor=2)
    producer, consumers = started(clients, 2)
    wait_spread(consumers)
    for bounced in [consumers] if mode == "all" else [[consumer] for consumer in consumers]:
        for consumer in bounced:
            consumer.stop()
        for consumer in bounced:
            consumer.start()
        wait_spread(consumers)
        consumers[0].wait_read(10)
    wait_and_check_delivery(producer, *consumers)
    total = sum(len(consumer.read) for consumer in consumers)
    assert total == len(producer.acked), "a clean stop commits: nothing is read twice"


@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_a_static_member_returns_without_a_rebalance(static: bool, cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=PARTITIONS, replication_factor=2)
    producer = clients.producer(TOPIC, throughput=500)
    consumers = [
        clients.consumer(TOPIC, session_timeout_ms=30_000, instance=f"member-{i}" if static else None,
                         assignor="RangeAssignor") for i in range(2)
    ]  # fmt: skip
    wait_spread(consumers)
    before = consumers[0].revocations
    consumers[1].stop()
    consumers[1].start()
    wait_spread(consumers)
    consumers[1].wait_read(10)
    assert (consumers[0].revocations == before) == static
    wait_and_check_delivery(producer, *consumers)


def test_a_static_member_is_known_to_the_next_coordinator(cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    producer, (consumer,) = started(clients, 1, session_timeout_ms=30_000, instance="member")
    consumer.wait_read(10)
    consumer.stop()
    consumer.start()  # and so it has another member id
    consumer.wait_read(10)
    for id_ in (1, 2):
        cluster.restart(id_)
        cluster.wait_in_sync(TOPIC, "__consumer_offsets")
        consumer.wait_read(10)
    wait_and_check_delivery(producer, consumer)


def test_the_later_of_two_members_of_one_name_stays(cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    producer, (first,) = started(clients, 1, session_timeout_ms=30_000, instance="member")
    first.wait_read(10)
    second = clients.consumer(TOPIC, session_timeout_ms=30_000, instance="member")
    second.wait_read(10)
    second.wait_until(lambda: not first.is_alive, "the first to be fenced")
    first.ended()
    wait_and_check_delivery(producer, second, first)


def test_a_group_grows_and_shrinks_and_always_reads(cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    producer, consumers = started(clients, 1)
    for _ in range(2):
        wait_spread(consumers, 1)
        owner(consumers).wait_read(10)
        consumers.append(clients.consumer(TOPIC))
    everybody = list(consumers)
    while len(consumers) > 1:
        wait_spread(consumers, 1)
        owner(consumers).wait_read(10)
        consumers.pop(0).stop()
    wait_spread(consumers, 1)
    wait_and_check_delivery(producer, *consumers, *everybody[:-1])
    assert sum(len(consumer.read) for consumer in everybody) == len(producer.acked)


def test_a_member_that_is_killed_is_replaced(cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=1, replication_factor=2)
    producer, consumers = started(clients, 2, session_timeout_ms=6000)
    wait_spread(consumers, 1)
    killed = owner(consumers)
    killed.wait_read(10)
    killed.kill()
    (left,) = (consumer for consumer in consumers if consumer is not killed)
    left.wait_read(1000)
    wait_and_check_delivery(producer, left, killed)


ASSIGNORS = ["RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"]


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_each_partition_has_one_reader(assignor: str, cluster: Cluster, clients: Clients) -> None:
    cluster.create_topic(TOPIC, partitions=PARTITIONS, replication_factor=1)
    consumers: list[Consumer] = []
    for _ in range(3):
        consumers.append(clients.consumer(TOPIC, assignor=assignor))
        wait_spread(consumers)
