"""Where figures are measured: the nodes (or clusters) of a run, and the load client sent against them."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.clusters import Cluster
from benchmarks.nodes import Node, Product

Subject = Node | Cluster
"""What is measured: one broker, or several as one."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. Records per run, rounds per figure."""

    rounds: int  # of every figure on the nodes that live through the run
    fresh_rounds: int  # of the figures that start nodes of their own
    warm_ups: int
    small_records: int  # of 100 B
    large_records: int  # of 1 KB
    single_requests: int
    latency_requests: int
    topics: int  # of the figures with many partitions
    partitions: int  # of each of the topics
    settle_seconds: float  # from a start to the reading of idle memory


FULL = Scale(5, 2, 3, 3_000_000, 400_000, 30_000, 20_000, 200, 10, 3.0)
FAST = Scale(3, 2, 2, 2_000_000, 250_000, 15_000, 10_000, 200, 10, 2.0)
CLUSTER_FULL = Scale(5, 3, 2, 1_000_000, 150_000, 3_000, 5_000, 1_000, 10, 3.0)
CLUSTER_FAST = Scale(3, 1, 1, 500_000, 75_000, 2_000, 3_000, 1_000, 10, 2.0)
QUICK = Scale(1, 1, 0, 2_000, 1_000, 200, 200, 4, 2, 0.1)
"""Shows that everything works; its numbers mean nothing."""


@dataclass(slots=True)
class Run:
    """What one run of the client found, and the CPU time that the broker needed for it."""

    found: dict[str, float]
    broker_cpu_s: float

    def __getitem__(self, name: str) -> float:
        return self.found[name]

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.found["records"] / self.found["seconds"]

    @property
    def megabytes(self) -> float:
        return self.found["bytes"] / 1e6


class Stage:
    """One run's nodes. A context: leaving it stops every node and removes its directory."""

    def __init__(
        self,
        products: list[Product],
        scale: Scale,
        client: Path,
        work: Path,
        make: Callable[[Product, Path], Subject] = Node,
        replicas: int = 1,
    ) -> None:
        """`replicas` of every topic that is made here."""
        self.products = products
        self.scale = scale
        self.replicas = replicas
        self._make = make
        self._client = client
        self._work = work
        self._numbers = itertools.count(1)
        self._nodes: dict[str, Subject] = {}

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._nodes.values():
            node.remove()

    # --- nodes

    def node(self, product: Product) -> Subject:
        """The product's node that lives through the run; started when it is first asked for."""
        node = self._nodes.get(product.key)
        if node is None:
            node = self._nodes[product.key] = self._new_node(product)
            node.start()
            self.client(node, "ready", partitions=0, in_sync=self.replicas, seconds=120)
        node.check_alive()
        return node

    @contextmanager
    def fresh_node(self, product: Product) -> Iterator[Subject]:
        """A node of its own: formatted, not started."""
        node = self._new_node(product)
        try:
            yield node
        finally:
            node.remove()

    def _new_node(self, product: Product) -> Subject:
        node = self._make(product, self._work / f"{product.key}-{next(self._numbers)}")
        node.format()
        return node

    # --- load

    def client(
        self, node: Subject, mode: str, properties: Mapping[str, object] | None = None, **options: object
    ) -> Run:
        """Run the client to its end, on a disk that has nothing left to write. Raises LoadFailed, NodeFailed."""
        os.sync()
        before = node.cpu_seconds()
        found = load.finish(self.begin_client(node, mode, properties, **options), node.check_alive)
        return Run(found, node.cpu_seconds() - before)

    def begin_client(
        self, node: Subject, mode: str, properties: Mapping[str, object] | None = None, **options: object
    ) -> load.Client:
        return load.begin(load.command_line(self._client, mode, node.bootstrap, options, dict(properties or {})))

    @contextmanager
    def topic(self, node: Subject, partitions: int) -> Iterator[str]:
        """A topic for one measurement; deleted afterwards, so that no run pays for another's data."""
        name = f"bench-{next(self._numbers)}"
        self.create(node, topic=name, topics=1, partitions=partitions)
        yield name
        self.client(node, "delete", topic=name, topics=1)

    def create(self, node: Subject, **options: object) -> Run:
        """Make topics; done when all replicas of all their partitions are in sync."""
        return self.client(node, "create", replicas=self.replicas, in_sync=self.replicas, **options)

    def time_start(self, node: Subject, mode: str, **options: object) -> float:
        """Seconds from the start of the node's process to what the client waits for; the client tries already then."""
        os.sync()
        client = self.begin_client(node, mode, **options)
        time.sleep(0.3)
        started = node.start()
        return load.finish(client, node.check_alive)["at_s"] - started
