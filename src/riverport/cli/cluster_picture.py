"""A cluster at one moment, from its brokers' answers: who leads what, who follows how closely, who decides."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from riverport.cli.terminal import table_lines

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client


@dataclass(slots=True)
class BrokerLine:
    id: int
    host: str
    port: int
    rack: str | None
    state: str  # "up", "fenced"
    role: str | None  # in the metadata quorum: "controller" is the active one
    leaders: int = 0
    replicas: int = 0
    behind: int = 0  # replicas of it that are not in sync
    lag: int | None = None  # records that its replicas have not got yet; None where it did not say


@dataclass(slots=True)
class PartitionLine:
    topic: str
    index: int
    leader: int | None
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    lags: dict[int, int] = field(default_factory=dict)  # by follower, of those that said


@dataclass(slots=True)
class Picture:
    cluster_id: str
    controller: int
    quorum_epoch: int
    metadata_offset: int
    brokers: list[BrokerLine]
    partitions: list[PartitionLine]

    @property
    def summary(self) -> str:
        leaderless = sum(partition.leader is None for partition in self.partitions)
        behind = sum(len(partition.isr) < len(partition.replicas) for partition in self.partitions)
        return (
            f"controller {self.controller}, epoch {self.quorum_epoch}, metadata offset {self.metadata_offset}; "
            f"{len(self.partitions)} partitions, {behind} under-replicated, {leaderless} without a leader"
        )


async def take_picture(client: "Client", *, internal: bool = False, topics: Iterable[str] | None = None) -> Picture:
    """Of all topics, or of these. A broker that does not answer is shown without what only it knows.

    Raises ClientError where none answers.
    """
    from asyncio import gather

    from riverport.kafka.client.admin import Admin

    admin = Admin(client)
    view, cluster, quorum = await gather(
        client.refresh(None if topics is None else list(topics)), admin.describe_cluster(), admin.quorum()
    )
    lags = await _lags(client, [broker.broker_id for broker in cluster.brokers if not broker.is_fenced])
    partitions = [
        PartitionLine(
            topic.name,
            partition.index,
            partition.leader if partition.leader >= 0 else None,
            partition.leader_epoch,
            partition.replicas,
            partition.isr,
            {
                id_: lags[id_][topic.name, partition.index]
                for id_ in partition.replicas
                if id_ in lags and id_ != partition.leader and (topic.name, partition.index) in lags[id_]
            },
        )
        for topic in sorted(view.topics.values(), key=lambda topic: topic.name)
        if internal or not topic.internal
        for partition in topic.partitions.values()
    ]
    voters = {state.replica_id for state in quorum.current_voters}
    brokers = [
        BrokerLine(
            broker.broker_id,
            broker.host,
            broker.port,
            broker.rack,
            "fenced" if broker.is_fenced else "up",
            "controller" if broker.broker_id == quorum.leader_id else "voter" if broker.broker_id in voters else None,
        )
        for broker in sorted(cluster.brokers, key=lambda broker: int(broker.broker_id))
    ]
    for line in brokers:
        _count(line, partitions, known=line.id in lags)
    return Picture(
        view.cluster_id or "?", quorum.leader_id, quorum.leader_epoch, quorum.high_watermark, brokers, partitions
    )


async def _lags(client: "Client", ids: list[int]) -> dict[int, dict[tuple[str, int], int]]:
    """How far behind each broker's replicas are, by its own word, of those brokers that answer."""
    from asyncio import gather

    from riverport.kafka.client.errors import ClientError
    from riverport.kafka.wire import messages as m

    async def lag(id_: int) -> dict[tuple[str, int], int] | None:
        try:
            answer: Any = await client.ask(m.DescribeLogDirsRequest(topics=None), node=id_)
        except ClientError:
            return None
        return {
            (topic.name, partition.partition_index): partition.offset_lag
            for result in answer.results
            for topic in result.topics
            for partition in topic.partitions
            if not partition.is_future_key
        }

    answers = await gather(*(lag(id_) for id_ in ids))
    return {id_: answer for id_, answer in zip(ids, answers) if answer is not None}


def _count(line: BrokerLine, partitions: list[PartitionLine], *, known: bool) -> None:
    for partition in partitions:
        if line.id in partition.replicas:
            line.replicas += 1
            line.leaders += partition.leader == line.id
            line.behind += line.id not in partition.isr
    if known:
        line.lag = sum(max(0, partition.lags.get(line.id, 0)) for partition in partitions)


def broker_lines(brokers: Iterable[BrokerLine]) -> list[str]:
    heads = ["BROKER", "HOST", "PORT", "RACK", "STATE", "ROLE", "LEADERS", "REPLICAS", "BEHIND", "LAG"]
    rows = [(b.id, b.host, b.port, b.rack, b.state, b.role, b.leaders, b.replicas, b.behind, b.lag) for b in brokers]
    return table_lines(heads, rows)


def partition_lines(partitions: Iterable[PartitionLine]) -> list[str]:
    heads = ["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "LAG"]
    rows = [
        (p.topic, p.index, p.leader, p.leader_epoch, p.replicas, p.isr, max(p.lags.values(), default=None))
        for p in partitions
    ]
    return table_lines(heads, rows)
