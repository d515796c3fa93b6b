"""A cluster of processes from `server.properties`: the same files for either software, and for one of each kind."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.system.network import Network
from tests.system.processes import NodeProcess, Software, free_ports

from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
FIRST_CONTROLLER = 101
"""The id of the first controller that is no broker."""
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05
ASK_MS = 5000

DEFAULTS = {
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What Metadata says of a partition."""

    leader: int  # -1: none
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QuorumState:
    """What DescribeQuorum says."""

    leader: int
    leader_epoch: int
    voters: tuple[int, ...]
    observers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Node:
    """One node of a cluster and where it listens."""

    def __init__(self, id: int, process: NodeProcess, broker: Address | None, controller: Address | None) -> None:
        self.id, self.process, self.broker, self.controller = id, process, broker, controller
        self.dir = process.properties.parent

    @property
    def metadata_dir(self) -> Path:
        return self.dir / "data0" / "__cluster_metadata-0"


class Cluster:
    """Brokers are numbered from 1, controllers from 101, or from 1 where `combined`.

    `software` is what every node runs but those that `software_of` names. `config` takes the keys of server.properties
    for every node, `node_config` those for single ones. With `dynamic` the quorum begins with the first controller
    alone, and others may be added to it. `dirs` is the number of log directories of a node.
    """

    def __init__(
        self,
        root: Path,
        jars: str,
        *,
        brokers: int = 3,
        controllers: int = 1,
        combined: bool = False,
        dynamic: bool = False,
        dirs: int = 1,
        software: Software = "riverport",
        software_of: Mapping[int, Software] | None = None,
        config: Mapping[str, object] | None = None,
        node_config: Mapping[int, Mapping[str, object]] | None = None,
        network: Network | None = None,
    ) -> None:
        self.root, self.dynamic, self.network = root, dynamic, network
        first = 1 if combined else FIRST_CONTROLLER
        voters, members = range(first, first + controllers), range(1, brokers + 1)
        ids = sorted({*voters, *members})
        hosts = {id_: network.add_host(f"n{id_}") if network else "127.0.0.1" for id_ in ids}
        ports = iter(free_ports(len(voters) + len(members)))
        controllers_at = {id_: Address(hosts[id_], next(ports)) for id_ in voters}
        self.nodes: dict[int, Node] = {}
        for id_ in ids:
            folder = root / f"node-{id_}"
            folder.mkdir()
            broker = Address(hosts[id_], next(ports)) if id_ in members else None
            listeners = [f"PLAINTEXT://{broker}"] if broker else []
            listeners += [f"CONTROLLER://{controllers_at[id_]}"] if id_ in voters else []
            properties = {
                **DEFAULTS,
                **quorum_properties(controllers_at, dynamic),
                "process.roles": ",".join(["broker"] * (id_ in members) + ["controller"] * (id_ in voters)),
                "node.id": id_,
                "listeners": ",".join(listeners),
                "log.dirs": ",".join(str(folder / f"data{i}") for i in range(dirs)),
                "offsets.topic.replication.factor": min(3, brokers),
                **(config or {}),
                **(node_config or {}).get(id_, {}),
            }
            file = folder / "server.properties"
            file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
            prefix = network.prefix(f"n{id_}") if network else []
            process = NodeProcess(file, (software_of or {}).get(id_, software), jars, prefix)
            self.nodes[id_] = Node(id_, process, broker, controllers_at.get(id_))

    # --- life

    def start(self, *ids: int) -> "Cluster":
        """Start these nodes, or all that do not run; returns once the brokers among them answer and are not fenced."""
        started = [node for node in self._chosen(ids) if not node.process.is_running]
        for node in started:
            if not (node.dir / "data0" / "meta.properties").exists():
                node.process.format(CLUSTER_ID, *self._format_words(node))
            node.process.start()
        for node in started:
            self.wait_until(lambda node=node: self._is_up(node), f"node {node.id} to be up")
        return self

    def stop(self, *ids: int) -> None:
        """A clean stop of these nodes, one after the other; of all, brokers first, where none is named."""
        for node in self._chosen(ids):
            node.process.stop()

    def kill(self, *ids: int) -> None:
        for node in self._chosen(ids):
            node.process.kill()

    def restart(self, id: int, *, clean: bool = True) -> None:
        (self.stop if clean else self.kill)(id)
        self.start(id)

    def wipe(self, id: int) -> None:
        """Everything that a stopped node has on its disks is gone."""
        for folder in self.nodes[id].dir.glob("data*"):
            shutil.rmtree(folder)

    def pause(self, id: int) -> None:
        self.nodes[id].process.pause()

    def resume(self, id: int) -> None:
        self.nodes[id].process.resume()

    @property
    def running_brokers(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.broker and node.process.is_running]

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers`: every broker, whether it runs or not."""
        return ",".join(str(node.broker) for node in self.nodes.values() if node.broker)

    @property
    def controllers_bootstrap(self) -> str:
        """`bootstrap.controllers`, likewise."""
        return ",".join(str(node.controller) for node in self.nodes.values() if node.controller)

    # --- what a test asks of it

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replication_factor: int = 3,
        assignment: Sequence[Sequence[int]] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> str:
        """Make a topic and name it; returns once every running broker knows leaders of all partitions."""
        of = m.CreateTopicsRequest
        configs = [of.CreatableTopicConfig(key, str(value)) for key, value in (config or {}).items()]
        topic = of.CreatableTopic(name, partitions, replication_factor, configs=configs)
        if assignment is not None:
            topic.num_partitions = topic.replication_factor = -1
            topic.assignments = [of.CreatableReplicaAssignment(i, list(ids)) for i, ids in enumerate(assignment)]
        (result,) = self.ask(of([topic], timeout_ms=30_000)).topics
        code = ErrorCode(result.error_code)
        assert code in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS), f"{code.name}: {result.error_message}"
        self.wait_until(lambda: all(self._leads(name, node) for node in self.running_brokers), f"leaders of {name}")
        return name

    def topic(self, name: str, *, asked: int | None = None) -> dict[int, PartitionState]:
        """The partitions of a topic, as a running broker knows them."""
        of = m.MetadataRequest
        answer = self.ask(of([of.MetadataRequestTopic(name=name)], allow_auto_topic_creation=False), asked=asked)
        return {
            p.partition_index: PartitionState(p.leader_id, p.leader_epoch, tuple(p.replica_nodes), tuple(p.isr_nodes))
            for p in answer.topics[0].partitions
        }

    def leader(self, topic: str, partition: int = 0) -> int:
        """The leader, once every running broker knows the same one and that it runs."""
        found: set[int] = set()

        def agreed() -> bool:
            found.clear()
            found.update(self.topic(topic, asked=node.id)[partition].leader for node in self.running_brokers)
            return len(found) == 1 and found <= {node.id for node in self.running_brokers}

        self.wait_until(agreed, f"a leader of {topic}-{partition}")
        return found.pop()

    def quorum(self, asked: Address | None = None) -> QuorumState:
        of = m.DescribeQuorumRequest
        request = of([of.TopicData("__cluster_metadata", [of.PartitionData(0)])])
        answer = self.ask_at(asked, request) if asked else self.ask(request)
        (partition,) = answer.topics[0].partitions
        return QuorumState(
            partition.leader_id,
            partition.leader_epoch,
            tuple(sorted(v.replica_id for v in partition.current_voters)),
            tuple(sorted(o.replica_id for o in partition.observers)),
        )

    def wait_in_sync(self, *topics: str) -> None:
        def in_sync() -> bool:
            known = [self.topic(t, asked=node.id).values() for t in topics for node in self.running_brokers]
            return all(set(p.isr) == set(p.replicas) and p.leader >= 0 for partitions in known for p in partitions)

        self.wait_until(in_sync, f"replicas of {', '.join(topics)} in sync")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = WAIT_SECONDS) -> None:
        """Ask until it holds. A node that does not answer counts as no; one that ended by itself fails the test."""
        deadline = time.monotonic() + timeout
        problem: object = None
        while True:
            for node in self.nodes.values():
                node.process.check()
            try:
                if condition():
                    return
                problem = None
            except (ClientError, OSError) as error:
                problem = error
            assert time.monotonic() < deadline, f"waited {timeout:g} s in vain for {what} ({problem})"
            time.sleep(POLL_SECONDS)

    def ask(self, request: Any, *, asked: int | None = None) -> Any:
        """The answer of one broker, or of the first one that gives any. Raises ClientError."""
        error: ClientError | None = None
        for node in [self.nodes[asked]] if asked is not None else self.running_brokers:
            assert node.broker is not None
            try:
                return self.ask_at(node.broker, request)
            except ClientError as failed:
                error = failed
        assert error is not None, "no broker runs"
        raise error

    def ask_at(self, address: Address, request: Any) -> Any:
        async def asked() -> Any:
            async with await Connection.open(address.host, address.port, timeout_ms=ASK_MS) as connection:
                return await connection.request(request, timeout_ms=ASK_MS * 4)

        return self._from_outside(asked)

    def speaks(self, address: Address) -> bool:
        """Whether a node there says which versions it has. Raises ClientError."""

        async def asked() -> bool:
            async with await Connection.open(address.host, address.port, timeout_ms=ASK_MS) as connection:
                return bool(connection.versions)

        return self._from_outside(asked)

    # --- helpers

    def _from_outside(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            return await work()

        return self.network.call(lambda: asyncio.run(run())) if self.network else asyncio.run(run())

    def _chosen(self, ids: Sequence[int]) -> list[Node]:
        return [self.nodes[id_] for id_ in ids] if ids else list(self.nodes.values())

    def _format_words(self, node: Node) -> list[str]:
        if not self.dynamic or node.controller is None:
            return []
        first = min(n.id for n in self.nodes.values() if n.controller)
        return ["--standalone"] if node.id == first else ["--no-initial-controllers"]

    def _is_up(self, node: Node) -> bool:
        if node.broker is None:
            assert node.controller is not None
            return self.speaks(node.controller)
        answer = self.ask_at(node.broker, m.MetadataRequest([], allow_auto_topic_creation=False))
        return any(broker.node_id == node.id for broker in answer.brokers)

    def _leads(self, topic: str, node: Node) -> bool:
        partitions = self.topic(topic, asked=node.id)
        return bool(partitions) and all(p.leader >= 0 for p in partitions.values())


def quorum_properties(controllers: Mapping[int, Address], dynamic: bool) -> dict[str, str]:
    if dynamic:
        return {"controller.quorum.bootstrap.servers": ",".join(str(address) for address in controllers.values())}
    return {"controller.quorum.voters": ",".join(f"{id_}@{address}" for id_, address in controllers.items())}
