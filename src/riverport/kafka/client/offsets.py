"""Offsets by time, and the committed offsets of a group."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import Refused, check
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3

TopicPartition = tuple[str, int]


@dataclass(slots=True, frozen=True)
class FoundOffset:
    offset: int  # -1 where no record is as late as was asked for
    timestamp: int
    leader_epoch: int


@dataclass(slots=True, frozen=True)
class CommittedOffset:
    offset: int
    leader_epoch: int = -1
    metadata: str | None = ""


async def list_offsets(
    client: Client, times: Mapping[TopicPartition, int], *, read_committed: bool = False
) -> dict[TopicPartition, FoundOffset]:
    """The first offset at or after each time (ms), or LATEST, EARLIEST, MAX_TIMESTAMP. Raises Refused."""

    async def attempt() -> dict[TopicPartition, FoundOffset]:
        view = await client.metadata(dict.fromkeys(topic for topic, _ in times))
        by_leader: dict[int, dict[TopicPartition, int]] = defaultdict(dict)
        for (topic, partition), time_ms in times.items():
            if topic in view.failed:
                raise Refused(view.failed[topic], f"topic {topic!r}")
            if partition not in view.topics[topic].partitions:
                raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"partition {topic}-{partition}")
            by_leader[view.leader(topic, partition)][topic, partition] = time_ms
        found: dict[TopicPartition, FoundOffset] = {}
        for leader, part in by_leader.items():
            if leader < 0:
                raise Refused(ErrorCode.LEADER_NOT_AVAILABLE, ", ".join(f"{t}-{p}" for t, p in part))
            found.update(await _list_at(client, leader, part, read_committed))
        return found

    return await client.retrying(attempt)


async def _list_at(
    client: Client, leader: int, times: Mapping[TopicPartition, int], read_committed: bool
) -> dict[TopicPartition, FoundOffset]:
    topics: dict[str, list[m.ListOffsetsRequest.ListOffsetsPartition]] = defaultdict(list)
    for (topic, partition), time_ms in times.items():
        topics[topic].append(m.ListOffsetsRequest.ListOffsetsPartition(partition_index=partition, timestamp=time_ms))
    request = m.ListOffsetsRequest(
        replica_id=-1,
        isolation_level=int(read_committed),
        topics=[m.ListOffsetsRequest.ListOffsetsTopic(name=name, partitions=ps) for name, ps in topics.items()],
        timeout_ms=int(client.request_timeout_ms),
    )
    answer = await client.ask(request, node=leader)
    found = {}
    for topic in answer.topics:
        for p in topic.partitions:
            check(p.error_code, f"offsets of {topic.name}-{p.partition_index}")
            found[topic.name, p.partition_index] = FoundOffset(p.offset, p.timestamp, p.leader_epoch)
    return found


async def committed_offsets(
    client: Client, group: str, partitions: Iterable[TopicPartition] | None = None, *, require_stable: bool = False
) -> dict[TopicPartition, CommittedOffset]:
    """What a group has committed: of these partitions, or with None of all; those without a commit are left out."""
    topics: dict[str, list[int]] | None = None
    if partitions is not None:
        topics = defaultdict(list)
        for topic, partition in partitions:
            topics[topic].append(partition)
    of_group = m.OffsetFetchRequest.OffsetFetchRequestGroup(
        group_id=group,
        topics=None
        if topics is None
        else [
            m.OffsetFetchRequest.OffsetFetchRequestTopics(name=name, partition_indexes=indexes)
            for name, indexes in topics.items()
        ],
    )
    request = m.OffsetFetchRequest(groups=[of_group], require_stable=require_stable)

    async def attempt() -> dict[TopicPartition, CommittedOffset]:
        # Version 10 knows topics by their ids only; a group may have committed for topics that are gone.
        (answer,) = (await client.ask_coordinator(group, request, most=9)).groups
        client.check_coordinator(group, answer.error_code, f"committed offsets of group {group!r}")
        found = {}
        for topic in answer.topics:
            for p in topic.partitions:
                check(p.error_code, f"committed offset of group {group!r} in {topic.name}-{p.partition_index}")
                if p.committed_offset >= 0:
                    at = CommittedOffset(p.committed_offset, p.committed_leader_epoch, p.metadata)
                    found[topic.name, p.partition_index] = at
        return found

    return await client.retrying(attempt)


async def commit_offsets(
    client: Client,
    group: str,
    offsets: Mapping[TopicPartition, CommittedOffset],
    *,
    generation: int = -1,
    member_id: str = "",
    instance_id: str | None = None,
) -> None:
    """Commit as a member of the group, or with the defaults as an administrator of an empty one."""
    topics: dict[str, list[m.OffsetCommitRequest.OffsetCommitRequestPartition]] = defaultdict(list)
    for (topic, partition), at in offsets.items():
        topics[topic].append(
            m.OffsetCommitRequest.OffsetCommitRequestPartition(
                partition_index=partition,
                committed_offset=at.offset,
                committed_leader_epoch=at.leader_epoch,
                committed_metadata=at.metadata,
            )
        )
    by_topic = [m.OffsetCommitRequest.OffsetCommitRequestTopic(name=name, partitions=ps) for name, ps in topics.items()]
    request = m.OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        group_instance_id=instance_id,
        topics=by_topic,
    )

    async def attempt() -> None:
        answer = await client.ask_coordinator(group, request, most=9)
        for topic in answer.topics:
            for p in topic.partitions:
                what = f"commit of group {group!r} for {topic.name}-{p.partition_index}"
                client.check_coordinator(group, p.error_code, what)

    if offsets:
        await client.retrying(attempt)
