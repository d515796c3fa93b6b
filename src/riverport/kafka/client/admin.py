"""What tools ask of a cluster: topics, configs, groups, offsets, nodes, features. Errors are raised, not returned."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from riverport.kafka.client.client import Client
from riverport.kafka.client.cluster import TopicView
from riverport.kafka.client.errors import Refused, check
from riverport.kafka.client.group import decode_assignment
from riverport.kafka.client.offsets import TopicPartition
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode, WireError

RESOURCE_TYPES = {"topic": 2, "broker": 4, "broker-logger": 8, "client-metrics": 16, "group": 32}
CONFIG_SOURCES = {
    1: "topic",
    2: "broker (dynamic)",
    3: "cluster (dynamic)",
    4: "server.properties",
    5: "default",
    6: "logger",
    7: "client-metrics",
    8: "group",
}
SET, DELETE, APPEND, SUBTRACT = range(4)


@dataclass(slots=True, frozen=True)
class ConfigEntry:
    name: str
    value: str | None  # None where it is sensitive
    source: str
    read_only: bool
    sensitive: bool
    documentation: str | None


@dataclass(slots=True, frozen=True)
class Group:
    id: str
    protocol_type: str
    state: str
    type: str


@dataclass(slots=True, frozen=True)
class GroupMemberView:
    id: str
    instance_id: str | None
    client_id: str
    host: str
    assigned: tuple[TopicPartition, ...]


@dataclass(slots=True, frozen=True)
class GroupView:
    """Members of a group of any type; those of groups that are no consumers' have no partitions here."""

    state: str
    assignor: str
    members: tuple[GroupMemberView, ...]


@dataclass(slots=True, frozen=True)
class LogDir:
    node: int
    path: str
    error: ErrorCode
    total_bytes: int
    usable_bytes: int
    partitions: Mapping[TopicPartition, tuple[int, int, bool]]  # size, offset lag, future


class Admin:
    """Every method is one request or one for each node concerned."""

    def __init__(self, client: Client) -> None:
        self.client = client

    # --- topics

    async def topics(self) -> dict[str, TopicView]:
        view = await self.client.retrying(lambda: self.client.refresh(None))
        return dict(view.topics)

    async def create_topic(
        self,
        name: str,
        *,
        partitions: int = -1,
        replication_factor: int = -1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None:
        """-1 takes the cluster's default."""
        request = m.CreateTopicsRequest(
            topics=[
                m.CreateTopicsRequest.CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=replication_factor,
                    configs=[
                        m.CreateTopicsRequest.CreatableTopicConfig(name=key, value=value)
                        for key, value in (configs or {}).items()
                    ],
                )
            ],
            timeout_ms=int(self.client.request_timeout_ms),
            validate_only=validate_only,
        )
        (result,) = (await self.client.ask(request)).topics
        check(result.error_code, f"creating topic {name!r}", result.error_message)
        self.client.forget_view()

    async def delete_topics(self, names: Sequence[str]) -> None:
        request = m.DeleteTopicsRequest(
            topics=[m.DeleteTopicsRequest.DeleteTopicState(name=name) for name in names],
            timeout_ms=int(self.client.request_timeout_ms),
        )
        self.client.forget_view()
        for result in (await self.client.ask(request)).responses:
            check(result.error_code, f"deleting topic {result.name!r}", result.error_message)

    async def create_partitions(self, name: str, count: int) -> None:
        request = m.CreatePartitionsRequest(
            topics=[m.CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=None)],
            timeout_ms=int(self.client.request_timeout_ms),
        )
        (result,) = (await self.client.ask(request)).results
        check(result.error_code, f"more partitions for topic {name!r}", result.error_message)
        self.client.forget_view()

    async def delete_records(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Delete what lies before each offset (-1: all of it); returns the new first offsets."""
        by_leader: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for (topic, partition), offset in offsets.items():
            await self.client.topic(topic)
            piece = m.DeleteRecordsRequest.DeleteRecordsPartition(partition_index=partition, offset=offset)
            by_leader[self._leader(topic, partition)][topic].append(piece)
        found = {}
        for leader, topics in by_leader.items():
            request = m.DeleteRecordsRequest(
                topics=[
                    m.DeleteRecordsRequest.DeleteRecordsTopic(name=name, partitions=pieces)
                    for name, pieces in topics.items()
                ],
                timeout_ms=int(self.client.request_timeout_ms),
            )
            for topic in (await self.client.ask(request, node=leader)).topics:
                for p in topic.partitions:
                    check(p.error_code, f"deleting records of {topic.name}-{p.partition_index}")
                    found[topic.name, p.partition_index] = p.low_watermark
        return found

    def _leader(self, topic: str, partition: int) -> int:
        leader = self.client.view.leader(topic, partition)
        if leader < 0:
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"partition {topic}-{partition}")
        return leader

    # --- configs

    async def configs(self, kind: str, name: str, keys: Sequence[str] | None = None) -> list[ConfigEntry]:
        """The settings of a resource; `kind` is one of RESOURCE_TYPES. A broker's are asked of itself."""
        resource = m.DescribeConfigsRequest.DescribeConfigsResource(
            resource_type=RESOURCE_TYPES[kind], resource_name=name, configuration_keys=list(keys) if keys else None
        )
        node = int(name) if kind.startswith("broker") and name else None
        answer = await self.client.ask(m.DescribeConfigsRequest(resources=[resource]), node=node)
        (result,) = answer.results
        check(result.error_code, f"settings of {kind} {name!r}", result.error_message)
        return sorted(
            (
                ConfigEntry(
                    entry.name,
                    entry.value,
                    CONFIG_SOURCES.get(entry.config_source, "unknown"),
                    entry.read_only,
                    entry.is_sensitive,
                    entry.documentation,
                )
                for entry in result.configs
            ),
            key=lambda entry: entry.name,
        )

    async def alter_configs(
        self, kind: str, name: str, changes: Iterable[tuple[str, int, str | None]], *, validate_only: bool = False
    ) -> None:
        """`changes` are (key, SET or DELETE or APPEND or SUBTRACT, value)."""
        configs = [
            m.IncrementalAlterConfigsRequest.AlterableConfig(name=key, config_operation=operation, value=value)
            for key, operation, value in changes
        ]
        resource = m.IncrementalAlterConfigsRequest.AlterConfigsResource(
            resource_type=RESOURCE_TYPES[kind], resource_name=name, configs=configs
        )
        request = m.IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate_only)
        node = int(name) if kind.startswith("broker") and name else None
        (result,) = (await self.client.ask(request, node=node)).responses
        check(result.error_code, f"settings of {kind} {name!r}", result.error_message)

    # --- groups

    async def groups(self) -> list[Group]:
        """The groups of every node."""
        found = {}
        for node in await self.client.nodes():
            answer = await self.client.ask(m.ListGroupsRequest(), node=node.id)
            check(answer.error_code, f"groups of node {node.id}")
            for group in answer.groups:
                kind = group.group_type or "classic"
                found[group.group_id] = Group(group.group_id, group.protocol_type, group.group_state, kind)
        return [found[group] for group in sorted(found)]

    async def describe_group(self, group: str) -> "m.DescribeGroupsResponse.DescribedGroup":
        """State and members of a classic group. A group that does not exist is described as `Dead`."""

        async def attempt() -> "m.DescribeGroupsResponse.DescribedGroup":
            answer = await self.client.ask_coordinator(group, m.DescribeGroupsRequest(groups=[group]), most=5)
            described: m.DescribeGroupsResponse.DescribedGroup = answer.groups[0]
            self.client.check_coordinator(group, described.error_code, f"group {group!r}")
            return described

        return await self.client.retrying(attempt)

    async def describe_members(self, group: str, kind: str) -> GroupView:
        """State and members of a group; `kind` is its type as `groups` tells it."""
        if kind == "consumer":
            return await self._describe_consumer_group(group)
        if kind != "classic":
            state = next((found.state for found in await self.groups() if found.id == group), "Dead")
            return GroupView(state, "", ())
        described = await self.describe_group(group)
        of_consumers = described.protocol_type == "consumer"
        members = tuple(
            GroupMemberView(
                member.member_id,
                member.group_instance_id,
                member.client_id,
                member.client_host,
                _assigned(member.member_assignment) if of_consumers else (),
            )
            for member in described.members
        )
        return GroupView(described.group_state, described.protocol_data, members)

    async def _describe_consumer_group(self, group: str) -> GroupView:
        """A group whose assignments the broker computes (KIP-848)."""

        async def attempt() -> "m.ConsumerGroupDescribeResponse.DescribedGroup":
            answer = await self.client.ask_coordinator(group, m.ConsumerGroupDescribeRequest(group_ids=[group]))
            described: m.ConsumerGroupDescribeResponse.DescribedGroup = answer.groups[0]
            self.client.check_coordinator(group, described.error_code, f"group {group!r}", described.error_message)
            return described

        described = await self.client.retrying(attempt)
        members = tuple(
            GroupMemberView(
                member.member_id,
                member.instance_id,
                member.client_id,
                member.client_host,
                tuple((t.topic_name, p) for t in member.assignment.topic_partitions for p in t.partitions),
            )
            for member in described.members
        )
        return GroupView(described.group_state, described.assignor_name, members)

    async def delete_group(self, group: str) -> None:
        async def attempt() -> None:
            answer = await self.client.ask_coordinator(group, m.DeleteGroupsRequest(groups_names=[group]))
            (result,) = answer.results
            self.client.check_coordinator(group, result.error_code, f"deleting group {group!r}", result.error_message)

        await self.client.retrying(attempt)

    async def delete_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        topics: dict[str, list[Any]] = defaultdict(list)
        for topic, partition in partitions:
            topics[topic].append(m.OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=partition))
        request = m.OffsetDeleteRequest(
            group_id=group,
            topics=[
                m.OffsetDeleteRequest.OffsetDeleteRequestTopic(name=name, partitions=ps) for name, ps in topics.items()
            ],
        )

        async def attempt() -> None:
            answer = await self.client.ask_coordinator(group, request)
            self.client.check_coordinator(group, answer.error_code, f"offsets of group {group!r}")
            for topic in answer.topics:
                for p in topic.partitions:
                    check(p.error_code, f"offset of group {group!r} in {topic.name}-{p.partition_index}")

        await self.client.retrying(attempt)

    # --- the cluster

    async def describe_cluster(self) -> "m.DescribeClusterResponse":
        """With fenced brokers, where the cluster tells of them."""
        answer: m.DescribeClusterResponse = await self.client.ask(m.DescribeClusterRequest(include_fenced_brokers=True))
        check(answer.error_code, "the cluster", answer.error_message)
        return answer

    async def quorum(self) -> "m.DescribeQuorumResponse.PartitionData":
        """Leader, voters and observers of the metadata quorum."""
        piece = m.DescribeQuorumRequest.PartitionData(partition_index=0)
        topic = m.DescribeQuorumRequest.TopicData(topic_name="__cluster_metadata", partitions=[piece])
        answer = await self.client.ask(m.DescribeQuorumRequest(topics=[topic]))
        check(answer.error_code, "the metadata quorum", answer.error_message)
        found: m.DescribeQuorumResponse.PartitionData = answer.topics[0].partitions[0]
        check(found.error_code, "the metadata quorum", found.error_message)
        return found

    async def features(self) -> "m.ApiVersionsResponse":
        """Supported and finalized features, as the broker says when a connection is opened."""
        connection = await self.client.any_connection()
        await connection.negotiate(self.client.request_timeout_ms)
        found: m.ApiVersionsResponse = connection.features
        return found

    async def update_feature(
        self, name: str, level: int, *, upgrade_type: int = 1, validate_only: bool = False
    ) -> None:
        """`upgrade_type` is 1 for an upgrade, 2 for a safe downgrade, 3 for an unsafe one."""
        update = m.UpdateFeaturesRequest.FeatureUpdateKey(
            feature=name, max_version_level=level, upgrade_type=upgrade_type
        )
        request = m.UpdateFeaturesRequest(
            timeout_ms=int(self.client.request_timeout_ms), feature_updates=[update], validate_only=validate_only
        )
        answer = await self.client.ask(request)
        check(answer.error_code, f"feature {name}", answer.error_message)
        for result in answer.results:
            check(result.error_code, f"feature {name}", result.error_message)

    async def log_dirs(self) -> list[LogDir]:
        """The log directories of every node."""
        found = []
        for node in await self.client.nodes():
            answer = await self.client.ask(m.DescribeLogDirsRequest(topics=None), node=node.id)
            check(answer.error_code, f"log directories of node {node.id}")
            for result in answer.results:
                partitions = {
                    (topic.name, p.partition_index): (p.partition_size, p.offset_lag, p.is_future_key)
                    for topic in result.topics
                    for p in topic.partitions
                }
                error = ErrorCode(result.error_code)
                found.append(
                    LogDir(node.id, result.log_dir, error, result.total_bytes, result.usable_bytes, partitions)
                )
        return found


def _assigned(assignment: bytes) -> tuple[TopicPartition, ...]:
    """What a member's assignment says; one that cannot be read (it is between clients) is taken for empty."""
    try:
        return tuple(decode_assignment(bytes(assignment)))
    except WireError:
        return ()
