"""Clusters of real processes under real clients, as Apache Kafka's own system tests have them.

RIVERPORT_TEST_SOFTWARE=apache runs the same scenarios against Apache Kafka itself.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.clients.conftest import compiled, jars
from tests.kafka_tools import Tools
from tests.system.cluster import Cluster
from tests.system.network import Network, available
from tests.system.processes import Software
from tests.system.workload import Client, Clients

__all__ = ["compiled", "jars"]

MakeCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def software() -> Software:
    named = os.environ.get("RIVERPORT_TEST_SOFTWARE", "riverport")
    assert named in ("apache", "riverport"), f"RIVERPORT_TEST_SOFTWARE={named}"
    return cast(Software, named)


@pytest.fixture
def make_cluster(tmp_path: Path, jars: Callable[[str], str], software: Software) -> Iterator[MakeCluster]:
    """Makes a cluster of the software under test, `make_cluster(brokers=3)`; what runs at the end is killed."""
    made: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        root = tmp_path / f"cluster-{len(made)}"
        root.mkdir()
        made.append(Cluster(root, jars("broker"), **{"software": software, **options}))
        return made[-1]

    yield make
    for cluster in made:
        for node in cluster.nodes.values():
            node.process.kill()


@pytest.fixture
def make_clients(tmp_path: Path, jars: Callable[[str], str]) -> Iterator[Callable[..., Clients]]:
    """Clients of a cluster: `make_clients(cluster)`, on librdkafka `make_clients(cluster, "librdkafka")`."""
    made: list[Clients] = []

    def make(cluster: Cluster, client: Client = "java") -> Clients:
        root = tmp_path / f"clients-{len(made)}"
        root.mkdir()
        prefix = cluster.network.prefix() if cluster.network else []
        made.append(Clients(root, jars("broker"), cluster.bootstrap, client, prefix))
        return made[-1]

    yield make
    for clients in made:
        clients.close()


@pytest.fixture(scope="session")
def kafka_tools(compiled: Callable[[str, str], list[str]]) -> Iterator[Tools]:
    """Kafka's tools, in one JVM for all tests; `kafka_tools.bootstrap` is set by who has a cluster."""
    tools = Tools(compiled("Tools", "broker"))
    yield tools
    tools.close()


@pytest.fixture
def network() -> Iterator[Network]:
    if problem := available():
        pytest.skip(problem)
    network = Network()
    yield network
    network.close()
