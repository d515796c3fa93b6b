"""Processes of a simulation: nodes of the production code on simulated disks, and clients of the production code."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from random import Random
from typing import Any, TypeVar

from riverport.base.files import Buffer
from riverport.base.ids import SeededIds
from riverport.kafka.client.client import Client
from riverport.kafka.server.broker import Broker
from riverport.kafka.server.settings import load
from riverport.kafka.server.storage_format import format_storage
from riverport.sim.disk import SimDisk
from riverport.sim.loop import EPOCH_S, SimClock, SimLoop, World
from riverport.sim.network import Network, SimSocket

MadeClient = TypeVar("MadeClient", bound=Client)


class InlineExecutor(Executor):
    """Stands where a pool of threads does: `SimLoop.run_in_executor` does not ask it, and `map` runs in place."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("jobs of a simulated process go through its loop")

    def map(
        self, fn: Any, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        return map(fn, *iterables)


class SimMachine:
    """What a node takes of its machine."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._executor = InlineExecutor()

    def executor(self, threads: int, name: str) -> Executor:
        return self._executor

    def bind(self, host: str, port: int) -> SimSocket:
        return self._loop.network.bind(self._loop, host, port)


class NodeDisk(SimDisk):
    """A disk that tells of files that were replaced as a whole: a node's promises are in such files."""

    def __init__(self) -> None:
        super().__init__()
        self.after_replace: Callable[[str, Buffer], None] | None = None

    def replace(self, path: str, content: Buffer, *, mode: int = 0o644) -> None:
        super().replace(path, content, mode=mode)
        if self.after_replace is not None:
            self.after_replace(path, content)


class SimNode:
    """One node of a cluster: its disk stays, its process comes and goes."""

    def __init__(
        self, world: World, network: Network, number: int, host: str, config: Mapping[str, str], seed: int
    ) -> None:
        self.number = number
        self.host = host
        self.disk = NodeDisk()
        self.broker: Broker | None = None
        self.loop: SimLoop | None = None
        self.lives = 0
        self.failures: list[tuple[str, BaseException | None]] = []
        self.skew_s = 0.0
        self.rate = 1.0
        self._world = world
        self._network = network
        self._config = config
        self._rng = Random(seed)
        self._dead: list[Any] = []

    def format(self, cluster_id: str) -> None:
        ids = SeededIds(self._rng.randrange(2**63))
        format_storage(self.disk, ids, load(self._config), cluster_id, now_ms=EPOCH_S * 1000)

    @property
    def is_up(self) -> bool:
        return self.loop is not None and self.loop.alive

    def start(self) -> "asyncio.Task[None]":
        """A new process; done when the node has started, which may fail."""
        assert not self.is_up
        self._network.power_on(self.host)
        self.lives += 1
        loop = self.loop = SimLoop(self._world, self._network, self.host, Random(self._rng.random()), self.number)
        loop.skew_s, loop.rate = self.skew_s, self.rate
        loop.failures = self.failures
        seed = self._rng.randrange(2**63)
        self.broker = Broker(
            load(self._config), loop, self.disk, SimClock(loop), SeededIds(seed), Random(seed + 1), SimMachine(loop)
        )
        return loop.create_task(self.broker.start())

    def kill(self) -> None:
        """kill -9: what was written stays."""
        self._end()
        self._network.process_died(self._dead[-1][0])
        self.disk.kill()

    def lose_power(self) -> None:
        """What was not synced is lost or torn, and the other side of no connection is told."""
        self._end()
        self._network.power_off(self._dead[-1][0])
        self.disk.crash(self._rng)

    def _end(self) -> None:
        assert self.loop is not None
        self.loop.kill()
        self._dead.append((self.loop, self.broker))
        self.loop = self.broker = None


class SimClient:
    """A process that is no node: runs coroutines, with a client of the production code."""

    def __init__(self, world: World, network: Network, number: int, host: str, seed: int) -> None:
        self.loop = SimLoop(world, network, host, Random(seed), number)
        self._rng = Random(seed + 1)

    def client(self, bootstrap: list[str], **settings: Any) -> Client:
        return self.client_as(Client, bootstrap, **settings)

    def client_as(self, made: type[MadeClient], bootstrap: list[str], **settings: Any) -> MadeClient:
        return made(bootstrap, clock=SimClock(self.loop), rng=Random(self._rng.random()), **settings)

    def run(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self.loop.create_task(work)
