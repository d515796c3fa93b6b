"""The nodes of a cluster on one machine: who has which role, port, directory and settings.

Each node's settings lie in the cluster's directory as `node-ID.properties`, so that one can see them, and start that
node alone with `riverport kafka start`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from riverport.base import properties
from riverport.base.ports import steady_ports
from riverport.cli.command import Problem
from riverport.cli.embedded import HOST

VOTERS = 3
"""Voters of the metadata quorum."""
REPLICAS = 3
"""Replicas of topics that do not say how many, where there are so many brokers."""
OWN_TO_EACH = (
    "node.id",
    "broker.id",
    "process.roles",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
    "controller.quorum.voters",
    "log.dirs",
    "log.dir",
    "metadata.log.dir",
)
"""Settings that cannot be the same for every node."""


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    cluster_id: str
    nodes: dict[int, dict[str, str]]  # the properties of each node, by id
    ports: dict[int, int]  # the clients' port of each node

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in self.ports.values())


def plan_cluster(
    directory: str, brokers: int, port: int, racks: Sequence[str], overrides: Mapping[str, str]
) -> ClusterPlan:
    """Brokers 1 to `brokers`, on `port` and those behind it, or on free ones where it is 0.

    A cluster that the directory holds already goes on, with more brokers where that is asked for. Raises Problem where
    that cannot be, and for a setting that each node has its own of; StorageError for a directory that cannot be read.
    """
    if taken := [key for key in OWN_TO_EACH if key in overrides]:
        raise Problem(f"--override {taken[0]}: with several brokers each has its own")
    directory = os.path.abspath(directory)
    known = _nodes_of(directory)
    _check(directory, known, brokers)
    cluster_id = _cluster_id(directory, known)
    voters = _voters_of(directory) or range(1, min(VOTERS, brokers) + 1)
    free = iter(steady_ports(len(voters) + (brokers if port == 0 else 0)))
    controllers = {id_: f"{HOST}:{next(free)}" for id_ in voters}
    ports = {id_: next(free) if port == 0 else port + id_ - 1 for id_ in range(1, brokers + 1)}
    replicas = str(min(REPLICAS, brokers))
    nodes = {}
    for id_, own_port in ports.items():
        is_voter = id_ in controllers
        listeners = f"PLAINTEXT://{HOST}:{own_port}" + (f",CONTROLLER://{controllers[id_]}" if is_voter else "")
        nodes[id_] = {
            "process.roles": "broker,controller" if is_voter else "broker",
            "node.id": str(id_),
            "listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(f"{voter}@{address}" for voter, address in controllers.items()),
            # Topics are made by controllers, this one at the wish of brokers.
            **({"default.replication.factor": replicas} if is_voter else {}),
            "offsets.topic.replication.factor": replicas,
            "group.initial.rebalance.delay.ms": "0",
            "log.dirs": node_directory(directory, id_),
            **({"broker.rack": racks[(id_ - 1) % len(racks)]} if racks else {}),
            **overrides,
        }
    return ClusterPlan(cluster_id, nodes, ports)


def write_plan(directory: str, plan: ClusterPlan) -> None:
    """Leave each node's settings in the cluster's directory. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    for id_, entries in plan.nodes.items():
        with open(_file_of(directory, id_), "w", encoding="ascii") as file:
            file.write(properties.dumps(entries))


def node_directory(directory: str, id_: int) -> str:
    return os.path.join(directory, f"node-{id_}")


def _file_of(directory: str, id_: int) -> str:
    return os.path.join(directory, f"node-{id_}.properties")


def _nodes_of(directory: str) -> list[int]:
    """The ids of the nodes that have their data here."""
    if not os.path.isdir(directory):
        return []
    names = (name.removeprefix("node-") for name in os.listdir(directory) if name.startswith("node-"))
    return sorted(int(name) for name in names if name.isdecimal())


def _check(directory: str, known: list[int], brokers: int) -> None:
    if os.path.exists(os.path.join(directory, "meta.properties")):
        raise Problem(
            f"{directory} holds the data of a single broker",
            "without --brokers it goes on; a cluster takes another --dir",
        )
    if known and max(known) > brokers:
        raise Problem(
            f"{directory} holds a cluster of {max(known)} brokers", f"start it with --brokers {max(known)}, or more"
        )


def _cluster_id(directory: str, known: list[int]) -> str:
    """Of the cluster that is here, or a new one."""
    from riverport.base.files import OsFiles
    from riverport.base.ids import SystemIds, uuid_text
    from riverport.kafka.server.identity import read_identity

    found = (read_identity(OsFiles(), node_directory(directory, id_)) for id_ in known)
    identity = next((identity for identity in found if identity is not None), None)
    return uuid_text(SystemIds().uuid()) if identity is None else identity.cluster_id


def _voters_of(directory: str) -> list[int]:
    """Who votes in the cluster that is here: that does not change when brokers are added."""
    try:
        with open(_file_of(directory, 1), "rb") as file:
            voters = properties.load_bytes(file.read()).get("controller.quorum.voters", "")
        return [int(voter.split("@")[0]) for voter in voters.split(",")]
    except (OSError, ValueError):
        return []
