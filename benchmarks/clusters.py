"""Several brokers of one kind that are measured as one: each is broker and controller, on one machine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.nodes import SETTINGS, Memory, Node, Product, free_places, new_cluster_id

SIZE = 3

CLUSTER_SETTINGS = {
    **SETTINGS,
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}
"""What every node is told; everything else has Apache Kafka's default."""


class Cluster:
    """Started and stopped as one; a node of it may be killed, and started again."""

    def __init__(self, product: Product, root: Path) -> None:
        self.product = product
        self.root = root
        places = free_places(SIZE)
        self.nodes = {
            place.node_id: Node(product, root / str(place.node_id), places, place.node_id, CLUSTER_SETTINGS)
            for place in places
        }
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes.values())

    def format(self) -> None:
        """Raises NodeFailed."""
        cluster_id = new_cluster_id()
        self._each(lambda node: node.format(cluster_id))

    def start(self) -> float:
        """Start all processes; returns the time of the first on CLOCK_MONOTONIC."""
        return min(node.start() for node in self.nodes.values())

    def stop(self) -> None:
        """A clean stop of all at once. Raises NodeFailed for one that does not come to an end."""
        for node in self.nodes.values():
            node.ask_to_stop()
        self._each(Node.stop)

    def kill(self) -> None:
        self._each(Node.kill)

    def remove(self) -> None:
        self._each(Node.remove)

    def check_alive(self) -> None:
        """Raises NodeFailed with what a node said that has ended by itself."""
        for node in self.nodes.values():
            node.check_alive()

    def cpu_seconds(self) -> float:
        """Of the nodes that are running, together."""
        return sum(node.cpu_seconds() for node in self.nodes.values() if node.is_running)

    def memory(self) -> Memory:
        """Of all nodes together."""
        found = [node.memory() for node in self.nodes.values()]
        return Memory(sum(memory.rss for memory in found), sum(memory.pss for memory in found))

    def _each(self, act: Callable[[Node], None]) -> None:
        with ThreadPoolExecutor(SIZE) as threads:
            list(threads.map(act, self.nodes.values()))  # raises what one of them has raised
