"""A cluster inside the test process: each node is the one that `riverport kafka start` runs.

All of them share one event loop in a thread of its own and meet over the loopback interface, by Kafka's protocol alone.
Every method here may be called from any other thread.
"""

import asyncio
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from riverport.base.ids import SystemIds, uuid_text
from riverport.base.ports import steady_ports
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing.broker import CALL_SECONDS, START_SECONDS, STOP_SECONDS, BrokerError, as_text
from riverport.testing.faults import Faults
from riverport.testing.hosted_node import HostedNode
from riverport.testing.log_records import LogRecord, records_of
from riverport.testing.loop_thread import LoopThread

DEFAULTS: dict[str, object] = {
    # Nobody waits for more members of a group, nor for fifty partitions of an internal topic to be made.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 100,
    "offsets.topic.num.partitions": 4,
}
"""What differs from Kafka's own defaults; `config` may change all of it."""
FIRST_CONTROLLER = 101
"""The id of the first controller that is no broker."""
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.01

Result = TypeVar("Result")


class ClusterNode:
    """One node of a cluster: what is put on its wire, and whether it runs."""

    def __init__(self, id: int, properties: Mapping[str, str], cluster_id: str) -> None:
        self.id = id
        self.faults = Faults()
        roles = properties["process.roles"].split(",")
        self.is_broker = "broker" in roles
        self.is_controller = "controller" in roles
        self.host = HostedNode(properties, self.faults, cluster_id)

    @property
    def is_running(self) -> bool:
        return self.host.node is not None

    @property
    def bootstrap(self) -> str:
        """host:port of the node's first listener."""
        host, port = self.host.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __repr__(self) -> str:
        return f"<node {self.id}, {'running' if self.is_running else 'stopped'}>"


class Cluster:
    """Made stopped; `with Cluster() as cluster`, `async with`, or `start` and `stop`.

    Brokers are numbered from 1. The quorum has as many voters as there are `controllers`: three where there are so many
    brokers, else one. They are the first of the brokers, or nodes of their own, numbered from 101, where `combined` is
    false or there are more of them than brokers. `config` takes the keys of server.properties for every node,
    `node_config` those for single ones, by id. `dir` keeps the data there, a directory for each node; without it the
    data goes with the cluster.
    """

    def __init__(
        self,
        brokers: int = 3,
        controllers: int | None = None,
        *,
        combined: bool | None = None,
        config: Mapping[str, object] | None = None,
        node_config: Mapping[int, Mapping[str, object]] | None = None,
        dir: "str | os.PathLike[str] | None" = None,
    ) -> None:
        """Raises ConfigError as `Broker` does."""
        self.dir = tempfile.mkdtemp(prefix="riverport-") if dir is None else os.path.abspath(dir)
        self._is_temporary = dir is None
        if dir is None:
            weakref.finalize(self, shutil.rmtree, self.dir, ignore_errors=True)
        cluster_id = uuid_text(SystemIds().uuid())
        voters = controllers or (3 if brokers >= 3 else 1)
        shared = voters <= brokers if combined is None else combined
        plan = self._plan(brokers, voters, shared, config or {}, node_config or {})
        self.nodes = {id_: ClusterNode(id_, properties, cluster_id) for id_, properties in plan.items()}
        self._thread: LoopThread | None = None

    def _plan(
        self,
        brokers: int,
        controllers: int,
        combined: bool,
        config: Mapping[str, object],
        node_config: Mapping[int, Mapping[str, object]],
    ) -> dict[int, dict[str, str]]:
        """The properties of each node."""
        first = 1 if combined else FIRST_CONTROLLER
        voters, members = range(first, first + controllers), range(1, brokers + 1)
        ids = sorted({*voters, *members})
        if strangers := sorted(set(node_config).difference(ids)):
            raise ValueError(f"node_config[{strangers[0]}]: the nodes are {', '.join(map(str, ids))}")
        ports = iter(steady_ports(len(voters) + len(members)))
        addresses = {id_: f"127.0.0.1:{next(ports)}" for id_ in voters}
        plan = {}
        for id_ in ids:
            listeners = {"PLAINTEXT": f"127.0.0.1:{next(ports)}"} if id_ in members else {}
            if id_ in voters:
                listeners["CONTROLLER"] = addresses[id_]
            properties = {
                **DEFAULTS,
                "process.roles": ",".join(["broker"] * (id_ in members) + ["controller"] * (id_ in voters)),
                "node.id": id_,
                "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
                "controller.listener.names": "CONTROLLER",
                "controller.quorum.voters": ",".join(f"{voter}@{address}" for voter, address in addresses.items()),
                "offsets.topic.replication.factor": min(3, brokers),
                "log.dirs": os.path.join(self.dir, f"node-{id_}"),
                **config,
                **node_config.get(id_, {}),
            }
            plan[id_] = {key: as_text(value) for key, value in properties.items()}
        return plan

    # --- life

    def start(self, *ids: int) -> "Cluster":
        """Start these nodes, or all that do not run. Returns once they answer; raises what kept one from starting.

        A broker cannot start without a quorum, nor a voter without a majority: start them together.
        """
        started = self._thread is not None
        if self._thread is None:
            self._thread = LoopThread("riverport-cluster")
        hosts = [node.host for node in self._chosen(ids) if not node.is_running]
        try:
            self._thread.run(lambda: _all(host.start() for host in hosts), START_SECONDS)
        except BaseException:
            if not started:
                self._close()
            raise
        return self

    def stop(self, *ids: int) -> None:
        """A clean stop of these nodes, one after the other; without any, of the whole cluster.

        The end of the whole cluster raises BrokerError for what went wrong in it while it ran.
        """
        for node in self._chosen(ids) if ids else ():
            self._in_thread(self._running(node).stop, STOP_SECONDS)
        if not ids and self._thread is not None:
            thread = self._thread
            self._close()
            _raise_if_any(thread.take_failures())

    def kill(self, *ids: int) -> None:
        """Stop nodes as killed processes do: connections break, nobody is told, the logs are left as they lie."""
        for node in self._chosen(ids or self.running):
            self._in_thread(self._running(node).kill, STOP_SECONDS)

    def restart(self, *ids: int, clean: bool = True) -> None:
        """Stop (or kill) nodes, or all of them, and start them on the same ports with their data."""
        chosen = ids or self.running
        if not clean:
            self.kill(*chosen)
        elif ids:
            self.stop(*ids)
        else:
            self._in_thread(self._stop_running, STOP_SECONDS)
        self.start(*chosen)

    @property
    def running(self) -> tuple[int, ...]:
        """The ids of the nodes that run."""
        return tuple(node.id for node in self.nodes.values() if node.is_running)

    def check(self) -> None:
        """Raise BrokerError if something went wrong in the cluster's thread since the last check."""
        _raise_if_any(self._thread.take_failures() if self._thread is not None else [])

    def __enter__(self) -> "Cluster":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        except BrokerError as failure:
            if error is None:
                raise
            error.add_note(f"{failure}")

    async def __aenter__(self) -> "Cluster":
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, at)

    # --- what a test asks of it

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for a client: every broker, whether it runs or not."""
        return ",".join(node.bootstrap for node in self.nodes.values() if node.is_broker)

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replication_factor: int = -1,
        assignment: Sequence[Sequence[int]] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> str:
        """Make a topic, and name it; returns once every running broker knows it. Raises BrokerError.

        Without a replication factor it has as many replicas as `default.replication.factor` says. `assignment` gives
        the brokers of each partition instead, the preferred leader first.
        """
        of = m.CreateTopicsRequest
        configs = [of.CreatableTopicConfig(key, as_text(value)) for key, value in (config or {}).items()]
        topic = of.CreatableTopic(name, partitions, replication_factor, configs=configs)
        if assignment is not None:
            topic.num_partitions = topic.replication_factor = -1
            topic.assignments = [of.CreatableReplicaAssignment(i, list(ids)) for i, ids in enumerate(assignment)]
        request = of([topic], timeout_ms=int(CALL_SECONDS * 1000))
        (result,) = self.run(self._any_broker(), lambda node: node.channel.send(request)).topics
        if result.error_code:
            raise BrokerError(f"topic {name}: {ErrorCode(result.error_code).name}: {result.error_message}")
        self.wait_until(lambda: all(name in image.topics for image in self._images()), f"brokers that know {name}")
        return name

    def partition(self, topic: str, partition: int = 0) -> PartitionRegistration:
        """Leader, leader epoch, replicas and in-sync replicas, as the node says that knows most."""
        return self._call(lambda: self._partition(topic, partition))

    def leader_of(self, topic: str, partition: int = 0) -> int:
        """The id of the leader, -1 while there is none."""
        return self.partition(topic, partition).leader

    @property
    def controller(self) -> int:
        """The id of the active controller, -1 while there is none."""
        return self._call(self._controller)

    def wait_in_sync(self, *topics: str, timeout: float = WAIT_SECONDS) -> None:
        """Until every replica of these topics (of all) is in sync and every broker knows it. Raises TimeoutError."""

        def in_sync() -> bool:
            images = self._images()
            if any(topic not in image.topics for topic in topics for image in images):
                return False
            found = (t.partitions for image in images for t in image.topics.values() if not topics or t.name in topics)
            return all(set(p.isr) == set(p.replicas) and p.leader >= 0 for table in found for p in table.values())

        self.wait_until(in_sync, f"replicas of {', '.join(topics) or 'every topic'} in sync", timeout)

    def wait_for_leader(self, topic: str, partition: int = 0, *, other_than: int = -1) -> int:
        """Until every running broker knows one leader, a running one and not `other_than`. Raises TimeoutError."""
        found = -1

        def led() -> bool:
            nonlocal found
            leaders = {
                i.topics[topic].partitions[partition].leader if topic in i.topics else -1 for i in self._images()
            }
            found = leaders.pop() if len(leaders) == 1 else -1
            return found not in (-1, other_than) and self.nodes[found].is_running

        self.wait_until(led, f"a leader of {topic}-{partition}")
        return found

    def wait_until(self, condition: Callable[[], bool], what: str = "", timeout: float = WAIT_SECONDS) -> None:
        """Ask `condition` in the cluster's thread until it holds. Raises TimeoutError that names `what`."""
        deadline = time.monotonic() + timeout
        while not self._call(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:g} s in vain for {what or condition}")
            time.sleep(POLL_SECONDS)

    def records(self, topic: str, partition: int = 0, *, node: int | None = None) -> list[LogRecord]:
        """What lies in the partition's log on its leader, or on another node, committed or not; control records too."""
        at = self.leader_of(topic, partition) if node is None else node

        async def read(server: Node) -> list[LogRecord]:
            held = server.partitions.get((topic, partition))
            if held is None or held.log is None:
                raise BrokerError(f"{topic}-{partition}: node {at} does not have it")
            return list(records_of(held.log))

        return self.run(at, read)

    def run(self, id: int, work: Callable[[Node], Awaitable[Result]]) -> Result:
        """Await something in the cluster's thread, with the server of one node: for what has no method here."""
        (node,) = self._chosen([id])

        async def done() -> Result:
            server = self._running(node).node
            assert server is not None
            return await work(server)

        return self._in_thread(done, CALL_SECONDS)

    # --- in the cluster's thread

    def _images(self) -> list[MetadataImage]:
        """What each running broker knows."""
        return [n.host.node.metadata.image for n in self.nodes.values() if n.is_broker and n.host.node is not None]

    def _partition(self, topic: str, partition: int) -> PartitionRegistration:
        images = self._images()
        known = max(images, key=lambda image: image.offset).topics if images else {}
        if topic not in known or partition not in known[topic].partitions:
            raise BrokerError(f"{topic}-{partition}: there is no such partition")
        return known[topic].partitions[partition]

    def _controller(self) -> int:
        servers = [node.host.node for node in self.nodes.values() if node.host.node is not None]
        active = [server for server in servers if server.controller is not None and server.controller.is_active]
        # One that is cut off may not know yet that it leads no more.
        return max(active, key=lambda server: server.metadata.epoch).node_id if active else -1

    async def _stop_running(self) -> None:
        """Everything at once: nobody is left of whom to take leave."""
        await _all(node.host.stop(take_leave=False) for node in self.nodes.values() if node.is_running)

    # --- helpers

    def _chosen(self, ids: Iterable[int]) -> list[ClusterNode]:
        """These nodes, or all. Raises BrokerError for one that there is not."""
        if strangers := [id_ for id_ in ids if id_ not in self.nodes]:
            raise BrokerError(f"there is no node {strangers[0]}: the nodes are {', '.join(map(str, self.nodes))}")
        return [self.nodes[id_] for id_ in (ids or self.nodes)]

    def _running(self, node: ClusterNode) -> HostedNode:
        if not node.is_running:
            raise BrokerError(f"node {node.id} is not running")
        return node.host

    def _any_broker(self) -> int:
        found = next((node.id for node in self.nodes.values() if node.is_broker and node.is_running), None)
        if found is None:
            raise BrokerError("no broker is running")
        return found

    def _call(self, work: Callable[[], Result]) -> Result:
        if self._thread is None:
            raise BrokerError("the cluster is not running")
        return self._thread.call(work, CALL_SECONDS)

    def _in_thread(self, work: Callable[[], Coroutine[None, None, Result]], timeout: float) -> Result:
        if self._thread is None:
            raise BrokerError("the cluster is not running")
        return self._thread.run(work, timeout)

    def _close(self) -> None:
        """Stop what runs, then the thread."""
        thread = self._thread
        assert thread is not None
        try:
            thread.run(self._stop_running, STOP_SECONDS)
        finally:
            thread.stop()
            self._thread = None
            if self._is_temporary:
                shutil.rmtree(self.dir, ignore_errors=True)


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Everything at once; raises the first failure when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _raise_if_any(failures: list[str]) -> None:
    if failures:
        raise BrokerError("in the cluster's thread: " + "; ".join(failures))
