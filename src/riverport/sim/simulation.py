"""A simulated cluster in the hands of a test: it says when what goes wrong, and what its own client does meanwhile.

    with Simulation(seed=1) as cluster:
        cluster.create_topic("orders", partitions=3)
        done = cluster.begin(place_orders(cluster.client()))
        cluster.kill(2)
        cluster.wait(done)

Whatever of a program runs on asyncio alone runs here: connections, streams, timeouts, locks. Time passes only in `run`,
`wait` and `sleep`, as fast as the processor can; `asyncio.sleep(3600)` takes no time at all.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client
from riverport.sim.checkers import Violation, Watch
from riverport.sim.cluster import SimCluster
from riverport.sim.plan import Fault, Kind, Plan, Shape
from riverport.sim.process import SimClient
from riverport.sim.run import collect

START_S = 30.0
LOOK_S = 0.05
Result = TypeVar("Result")


class Simulation:
    """Three nodes that are brokers and controllers, and as many clients as wanted, from one seed.

    What nodes must never do is checked after each of their events; `Violation` is raised where they did.
    """

    def __init__(
        self, seed: int = 1, *, shape: Shape = Shape.COMBINED, settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings` are added to every node's."""
        nodes = 3 + (shape is Shape.SEPARATE)
        plan = Plan(seed, shape, 3, 1, 0, 0, 0, 0, 0, (0.0,) * nodes, (1.0,) * nodes, ())
        self.trace: list[tuple[float, str]] = []
        self._cluster = SimCluster(plan, lambda line: self.trace.append((self.now, line)), settings or {})
        self._client = self._cluster.new_client()

    def __enter__(self) -> "Simulation":
        self._cluster.world.watch = Watch(self._cluster).look
        for number in self._cluster.nodes:
            self._cluster.start(number)
        self._until(lambda: not self._cluster.starting, START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.end()
        collect()

    # --- time and the test's own client

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._cluster.world.now

    @property
    def bootstrap(self) -> list[str]:
        return self._cluster.bootstrap

    def client(self, **options: Any) -> Client:
        """A client of ours for coroutines that run in this simulation."""
        return self._client.client(self.bootstrap, **options)

    def begin(self, work: Coroutine[Any, Any, Result], process: SimClient | None = None) -> "asyncio.Task[Result]":
        """Let a coroutine run while time passes; in a process of its own if one is given, else in the test's."""
        return (process or self._client).run(work)

    def new_process(self) -> SimClient:
        """Another process for clients, on a host of its own."""
        return self._cluster.new_client()

    def wait(self, task: "asyncio.Task[Result]", seconds: float = 300.0) -> Result:
        """The task's result, once it has one. Raises TimeoutError when simulated time is up."""
        self._until(task.done, seconds)
        return task.result()

    def run(self, work: Coroutine[Any, Any, Result], seconds: float = 300.0) -> Result:
        return self.wait(self.begin(work), seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self._cluster.world.run(min(self.now + LOOK_S, until))
            self._look_around()

    def _until(self, true: Any, seconds: float) -> None:
        until = self.now + seconds
        while not true():
            if self.now >= until:
                raise TimeoutError(f"not done after {seconds:.0f} simulated seconds; {self._cluster.lagging()}")
            self._cluster.world.run(self.now + LOOK_S, true)
            self._look_around()

    def _look_around(self) -> None:
        self._cluster.supervise()
        if (found := self._cluster.unforeseen()) is not None:
            raise Violation("nothing fails unforeseen", found)

    # --- the cluster

    def create_topic(self, name: str, *, partitions: int = 1, replication_factor: int = 3) -> None:
        self.run(self._create_topic(name, partitions, replication_factor))

    async def _create_topic(self, name: str, partitions: int, replication_factor: int) -> None:
        async with self.client() as client:
            await client.retrying(
                lambda: Admin(client).create_topic(name, partitions=partitions, replication_factor=replication_factor)
            )

    def wait_in_sync(self, seconds: float = 120.0) -> None:
        """Until every broker is in service and every replica in sync."""
        self._until(lambda: self._cluster.lagging() is None, seconds)

    def connections(self) -> list[tuple[tuple[str, int], tuple[str, int]]]:
        """Both addresses of every connection that is open, seen from either side."""
        return self._cluster.network.connections()

    @property
    def controller(self) -> int:
        """The node that acts as the controller; -1 while there is none."""
        nodes = self._cluster.nodes.items()
        active = (number for number, node in nodes if node.broker is not None and node.broker.metadata.is_active)
        return next(active, -1)

    def kill(self, node: int) -> None:
        """kill -9; it stays down until `start`."""
        self._cluster.note(f"node {node}: killed")
        self._cluster.kill(node)

    def start(self, node: int) -> None:
        self._cluster.start(node)

    def pause(self, node: int, seconds: float) -> None:
        self.strike(Fault(0.0, Kind.PAUSE, node, for_s=seconds))

    def cut(self, node: int, other: int, seconds: float) -> None:
        """Nothing passes between two nodes for a while."""
        self.strike(Fault(0.0, Kind.CUT, node, other, for_s=seconds))

    def isolate(self, node: int, seconds: float) -> None:
        """Nothing passes between a node and all others, clients too, for a while."""
        self.strike(Fault(0.0, Kind.ISOLATE, node, for_s=seconds))

    def strike(self, fault: Fault) -> None:
        """Let anything go wrong that a plan can have, now; `at_s` does not matter."""
        self._cluster.strike(replace(fault, at_s=0.0))

    def heal(self) -> None:
        """Repair everything, and start what is down."""
        self._cluster.heal()
        self._cluster.is_healed = False
