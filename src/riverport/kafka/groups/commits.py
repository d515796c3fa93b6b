"""OffsetCommit v2-10, OffsetFetch v1-10, OffsetDelete v0 and the expiry of offsets (KIP-211).

Whether a topic exists is for the caller to know: it hands over what does, and answers for the rest itself.
"""

from dataclasses import dataclass
from typing import Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.offsets import CommittedOffset, OffsetStore
from riverport.kafka.groups.others import SHARE, OtherGroup
from riverport.kafka.groups.rebalance import UNKNOWN_MEMBER, touch
from riverport.kafka.groups.records import group_metadata, offset_commit, offset_tombstone
from riverport.kafka.groups.turn import Turn
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

Group = ClassicGroup | OtherGroup

GROUP_ID_NOT_FOUND_SINCE = 9
"""The version of OffsetCommit from which on an unknown group is named as such."""
NO_RETENTION = -1

WantedTopic = tuple[str, bytes, list[int]]
"""A topic's name, its id (zero where the client gave none), and the partitions whose offsets are wanted."""

_Committed = m.OffsetCommitResponse.OffsetCommitResponsePartition
_Fetched = m.OffsetFetchResponse.OffsetFetchResponsePartitions


@dataclass(slots=True)
class TopicCommit:
    """What a commit says about one topic that exists; answers are added to `answers`, which is the response's list."""

    topic: str
    topic_id: bytes
    partitions: list[Any]  # OffsetCommitRequestPartition
    answers: list[Any]


def commit(
    turn: Turn, group: Group | None, request: m.OffsetCommitRequest, version: int, topics: list[TopicCommit]
) -> None:
    """Raises ApiError for who may not commit at all; a single offset may still be refused in its answer."""
    if group is None:
        # Without a generation it is an administrator, or a consumer that has no members: a group that only has offsets.
        if request.generation_id_or_member_epoch >= 0:
            known = version >= GROUP_ID_NOT_FOUND_SINCE
            raise ApiError(
                ErrorCode.GROUP_ID_NOT_FOUND if known else ErrorCode.ILLEGAL_GENERATION,
                f"Group {request.group_id} not found.",
            )
    elif isinstance(group, ClassicGroup):
        _check_member(turn, group, request)
    elif request.generation_id_or_member_epoch >= 0:
        raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
    now_ms = turn.now.wall_ms
    expire_ms = -1 if request.retention_time_ms == NO_RETENTION else now_ms + request.retention_time_ms
    limit = turn.config.offset_metadata_max_bytes
    for topic in topics:
        for one in topic.partitions:
            metadata = one.committed_metadata or ""
            if len(metadata) > limit:
                topic.answers.append(_Committed(one.partition_index, ErrorCode.OFFSET_METADATA_TOO_LARGE))
                continue
            topic.answers.append(_Committed(one.partition_index, 0))
            turn.records.append(
                offset_commit(
                    request.group_id,
                    topic.topic,
                    topic.topic_id,
                    one.partition_index,
                    one.committed_offset,
                    one.committed_leader_epoch,
                    metadata,
                    now_ms,
                    expire_ms,
                )
            )


def _check_member(turn: Turn, group: ClassicGroup, request: m.OffsetCommitRequest) -> None:
    generation, member_id = request.generation_id_or_member_epoch, request.member_id
    if generation < 0 and group.state is State.EMPTY:
        return
    if generation < 0 and member_id == UNKNOWN_MEMBER and request.group_instance_id is None:
        # Nobody may move the offsets of live members from outside.
        raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
    member = group.member_of(member_id, request.group_instance_id)
    if generation != group.generation:
        raise ApiError(ErrorCode.ILLEGAL_GENERATION)
    if group.state is State.COMPLETING_REBALANCE:
        # It knows the generation, so it has joined, and it can have consumed nothing in it yet.
        raise ApiError(ErrorCode.REBALANCE_IN_PROGRESS)
    touch(turn, group, member)


def fetch(
    offsets: OffsetStore, group_id: str, wanted: list[WantedTopic] | None, *, require_stable: bool
) -> list[tuple[str, list[Any]]]:
    """(topic, answers) for what is wanted, or for everything that the group has committed.

    No offset is -1 and no error; so is one of another topic than the one whose id is asked for. Where an open
    transaction has an offset, `require_stable` asks the client to wait for its end (KIP-447).
    """
    topics = offsets.of_group(group_id)
    if wanted is None:
        wanted = [(topic, ZERO_UUID, list(partitions)) for topic, partitions in topics.items()]
    found = []
    for topic, topic_id, partitions in wanted:
        known = topics.get(topic, {})
        answers = []
        for index in partitions:
            if require_stable and offsets.is_pending(group_id, topic, index):
                answers.append(no_offset(index, ErrorCode.UNSTABLE_OFFSET_COMMIT))
            elif (committed := known.get(index)) is not None and _may_be_of(committed, topic_id):
                answers.append(_Fetched(index, committed.offset, committed.leader_epoch, committed.metadata, 0))
            else:
                answers.append(no_offset(index))
        found.append((topic, answers))
    return found


def _may_be_of(committed: CommittedOffset, topic_id: bytes) -> bool:
    """False where both ids are known and differ: the offset is of a topic that had the name before."""
    return ZERO_UUID in (committed.topic_id, topic_id) or committed.topic_id == topic_id


def no_offset(partition: int, error: ErrorCode = ErrorCode.NONE) -> Any:
    return _Fetched(partition, -1, -1, "", error)


def delete_offsets(turn: Turn, group: Group | None, offsets: OffsetStore, request: m.OffsetDeleteRequest) -> None:
    """OffsetDelete: for topics that nobody in the group consumes. Raises ApiError."""
    if group is None:
        raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {request.group_id} not found.")
    if isinstance(group, ClassicGroup) and not group.is_empty and not group.is_consumer_group:
        # What members of another protocol consume cannot be known.
        raise ApiError(ErrorCode.NON_EMPTY_GROUP)
    known = set(offsets.partitions_of(request.group_id))
    topics = []
    for topic in request.topics:
        subscribed = group.is_subscribed_to(topic.name)
        code = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if subscribed else ErrorCode.NONE
        answers = []
        for one in topic.partitions:
            answers.append(m.OffsetDeleteResponse.OffsetDeleteResponsePartition(one.partition_index, code))
            if not subscribed and (topic.name, one.partition_index) in known:
                turn.records.append(offset_tombstone(request.group_id, topic.name, one.partition_index))
        topics.append(m.OffsetDeleteResponse.OffsetDeleteResponseTopic(topic.name, answers))
    turn.response = m.OffsetDeleteResponse(topics=topics)


def delete_group(turn: Turn, group: Group | None, offsets: OffsetStore, group_id: str) -> None:
    """Tombstones for everything that the group has. Raises ApiError GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP."""
    if group is None:
        raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
    if not group.is_empty:
        raise ApiError(ErrorCode.NON_EMPTY_GROUP)
    turn.records += [offset_tombstone(group_id, topic, index) for topic, index in offsets.partitions_of(group_id)]
    turn.records += group.tombstones() if isinstance(group, OtherGroup) else [group_metadata(group_id, None)]


def expire(turn: Turn, group: Group, offsets: OffsetStore) -> None:
    """Tombstones for the group's offsets that are past their retention, and for the group when nothing is left of it.

    Nothing expires while members consume it: of an empty group the time since it became empty counts, of a group that
    only commits the time since each commit, and of a stable consumer group that time for topics it has given up.
    Groups of other kinds have no live members here, so only the time since each commit counts; share groups stay.
    """
    if isinstance(group, OtherGroup) and group.kind == SHARE:
        return
    everything = True
    for topic, partitions in offsets.of_group(group.group_id).items():
        subscribed = group.is_subscribed_to(topic)
        for index, committed in partitions.items():
            expired = (
                not subscribed
                and _is_expired(group, committed, turn.now.wall_ms, turn.config.offsets_retention_ms)
                and not offsets.is_pending(group.group_id, topic, index)
            )
            if expired:
                turn.records.append(offset_tombstone(group.group_id, topic, index))
            everything = everything and expired
    if everything and not offsets.has_open_transactions(group.group_id):
        if isinstance(group, OtherGroup):
            turn.records += group.tombstones()
        elif group.is_empty and not group.pending_join:
            turn.records.append(group_metadata(group.group_id, None))


def _is_expired(group: Group, committed: CommittedOffset, now_ms: int, retention_ms: int) -> bool:
    since_ms = committed.commit_ms
    if isinstance(group, ClassicGroup) and group.protocol_type is not None:
        if group.is_empty:
            # Old records do not say since when; the commit is the next best.
            since_ms = group.state_since_ms if group.state_since_ms >= 0 else committed.commit_ms
        elif not (group.is_consumer_group and group.subscribed_topics is not None and group.state is State.STABLE):
            return False
    if committed.expire_ms >= 0:
        return now_ms >= committed.expire_ms
    return now_ms - since_ms >= retention_ms


def forget_topic(turn: Turn, offsets: OffsetStore, topic: str, topic_id: bytes) -> None:
    """The topic is gone: its offsets would be wrong for the next topic of that name, whose own stay."""
    turn.records += [
        offset_tombstone(group, topic, index) for group, index in offsets.partitions_of_topic(topic, topic_id)
    ]
