"""What Metadata answers say about a cluster, as values: replaced by the next answer, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.wire.errors import ErrorCode


@dataclass(slots=True, frozen=True)
class Node:
    id: int
    host: str
    port: int
    rack: str | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(slots=True, frozen=True)
class PartitionView:
    index: int
    leader: int  # node id, -1 = none
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    offline: tuple[int, ...]
    error: ErrorCode = ErrorCode.NONE


@dataclass(slots=True, frozen=True)
class TopicView:
    name: str
    id: bytes
    internal: bool
    partitions: Mapping[int, PartitionView]  # in order of their indexes


@dataclass(slots=True, frozen=True)
class ClusterView:
    """The nodes, and the topics that were asked for; `failed` has the error of each topic that has one."""

    cluster_id: str | None = None
    controller: int = -1
    nodes: Mapping[int, Node] = field(default_factory=dict)
    topics: Mapping[str, TopicView] = field(default_factory=dict)
    failed: Mapping[str, ErrorCode] = field(default_factory=dict)

    def leader(self, topic: str, partition: int) -> int:
        """The leader's node id, -1 where there is none or the partition is not known."""
        view = self.topics.get(topic)
        found = view.partitions.get(partition) if view else None
        return found.leader if found else -1

    def leader_epoch(self, topic: str, partition: int) -> int:
        """The epoch of that leader (KIP-320), -1 where it is not known."""
        view = self.topics.get(topic)
        found = view.partitions.get(partition) if view else None
        return found.leader_epoch if found else -1

    def topic_id(self, topic: str) -> bytes:
        view = self.topics.get(topic)
        return view.id if view else ZERO_UUID

    def name_of(self, topic_id: bytes) -> str | None:
        return next((view.name for view in self.topics.values() if view.id == topic_id), None)

    def merged(self, newer: "ClusterView") -> "ClusterView":
        """`newer`, with the topics that it does not speak of kept."""
        kept = {name: view for name, view in self.topics.items() if name not in newer.failed}
        newer = self.corrected(newer)
        return ClusterView(newer.cluster_id, newer.controller, newer.nodes, {**kept, **newer.topics}, newer.failed)

    def corrected(self, newer: "ClusterView") -> "ClusterView":
        """`newer`, without leaders that have gone: a broker that is cut off tells of the past (KIP-320)."""
        topics = {name: _not_older(self.topics.get(name), view) for name, view in newer.topics.items()}
        return ClusterView(newer.cluster_id, newer.controller, newer.nodes, topics, newer.failed)


def _not_older(known: TopicView | None, told: TopicView) -> TopicView:
    """What was told of a topic, with what is known of partitions that were led in a later epoch before."""
    if known is None or known.id != told.id:
        return told
    partitions = {}
    for index, partition in told.partitions.items():
        before = known.partitions.get(index)
        is_past = before is not None and 0 <= partition.leader_epoch < before.leader_epoch
        partitions[index] = before if before is not None and is_past else partition
    return TopicView(told.name, told.id, told.internal, partitions)


def read_metadata(answer: Any) -> ClusterView:
    """A MetadataResponse as a view."""
    topics: dict[str, TopicView] = {}
    failed: dict[str, ErrorCode] = {}
    for topic in answer.topics:
        if topic.error_code:
            failed[topic.name or ""] = ErrorCode(topic.error_code)
            continue
        partitions = {
            p.partition_index: PartitionView(
                p.partition_index,
                p.leader_id,
                p.leader_epoch,
                tuple(p.replica_nodes),
                tuple(p.isr_nodes),
                tuple(p.offline_replicas),
                ErrorCode(p.error_code),
            )
            for p in sorted(topic.partitions, key=lambda p: p.partition_index)
        }
        topics[topic.name] = TopicView(topic.name, topic.topic_id, topic.is_internal, partitions)
    nodes = {node.node_id: Node(node.node_id, node.host, node.port, node.rack) for node in answer.brokers}
    return ClusterView(answer.cluster_id, answer.controller_id, nodes, dict(sorted(topics.items())), failed)
