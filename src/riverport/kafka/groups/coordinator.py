"""The coordinator of one partition of `__consumer_offsets`: its groups and their offsets.

    turn = coordinator.join(now, ...)           looks, decides; the turn has records, effects, a response
    the shell appends turn.records, then
    coordinator.appended(turn, first_offset)    replays them and finishes the turn
    coordinator.refused(turn, error)            where they could not be written
    and only then performs turn.effects and gives turn.response

Loading calls `replay` for each record of the partition, then `loaded`. Handlers raise ApiError for requests that are
refused as a whole, and have changed nothing then.
"""

from collections.abc import Callable, Mapping
from typing import Any

from riverport.base.logging import get_logger
from riverport.kafka.groups import commits, joining, membership, rebalance
from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.commits import Group, TopicCommit, WantedTopic
from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.joining import Join
from riverport.kafka.groups.offsets import OffsetStore
from riverport.kafka.groups.others import CONSUMER, KIND_OF_RECORD, OtherGroup
from riverport.kafka.groups.rebalance import UNKNOWN_MEMBER, join_refusal
from riverport.kafka.groups.records import GroupRecord, group_metadata
from riverport.kafka.groups.turn import NewAssignment, NewGroup, NewStaticMember, Now, Timer, TimerKind, Turn, Waiter
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.coordinator_records import decode_key, decode_value
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.kafka.wire.varint import Buffer

log = get_logger(__name__)

_LEGACY_OFFSET, _OFFSET, _GROUP = 0, 1, 2
_APPEND_ERRORS = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.INVALID_FETCH_SIZE: ErrorCode.UNKNOWN_SERVER_ERROR,
}


def client_error(error: ErrorCode) -> ErrorCode:
    """What clients of groups are told where an append failed: they know these codes, and do the right thing."""
    return _APPEND_ERRORS.get(error, error)


class Coordinator:
    """`new_id` gives the random part of a member id."""

    def __init__(self, config: GroupConfig, new_id: Callable[[], str]) -> None:
        self.config = config
        self.groups: dict[str, Group] = {}
        self.offsets = OffsetStore()
        self._new_id = new_id

    # --- members of classic groups

    def join(
        self, now: Now, request: m.JoinGroupRequest, version: int, client_id: str, client_host: str, waiter: Waiter
    ) -> Turn:
        """`waiter` gets the answer, at once or after a rebalance."""
        turn = Turn(self.config, now)
        code = self._join_problem(request)
        if code is None:
            group = self._group_to_join(turn, request, waiter)
            join = Join.of(request, version, client_id, client_host, self._new_id(), waiter)
            try:
                joining.join(turn, group, join)
            except ApiError as error:
                code = error.code
        if code is not None:
            turn.reply(waiter, join_refusal(code, request.member_id))
        return turn

    def _join_problem(self, request: m.JoinGroupRequest) -> ErrorCode | None:
        if request.group_id == "":
            return ErrorCode.INVALID_GROUP_ID
        config = self.config
        if not config.min_session_timeout_ms <= request.session_timeout_ms <= config.max_session_timeout_ms:
            return ErrorCode.INVALID_SESSION_TIMEOUT
        group = self.groups.get(request.group_id)
        if isinstance(group, OtherGroup):
            if group.kind != CONSUMER:
                return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
            group = None
        if group is None and request.member_id != UNKNOWN_MEMBER:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return None

    def _group_to_join(self, turn: Turn, request: m.JoinGroupRequest, waiter: Waiter) -> ClassicGroup:
        """The group, made known by a record of its own if it is new. An idle consumer group gives way to it."""
        known = self.groups.get(request.group_id)
        if isinstance(known, ClassicGroup):
            return known
        if known is not None:
            turn.records += known.tombstones()
        group = ClassicGroup(request.group_id, State.EMPTY, 0, turn.now.wall_ms)
        self.groups[request.group_id] = group
        turn.records.append(group_metadata(request.group_id, group.as_new_value()))
        turn.pending = NewGroup(request.group_id, waiter, known)
        return group

    def sync(self, now: Now, request: m.SyncGroupRequest, waiter: Waiter) -> Turn:
        """`waiter` gets the answer, at once or when the leader has assigned."""
        turn = Turn(self.config, now)
        try:
            membership.sync(turn, self._classic(request.group_id), request, waiter)
        except ApiError as error:
            turn.reply(waiter, m.SyncGroupResponse(error_code=error.code))
        return turn

    def heartbeat(self, now: Now, request: m.HeartbeatRequest) -> Turn:
        turn = Turn(self.config, now)
        membership.heartbeat(turn, self._classic(request.group_id), request)
        return turn

    def leave(self, now: Now, group_id: str, members: list[Any]) -> Turn:
        """`members` are MemberIdentity structs. A group that is not there answers for each of them."""
        turn = Turn(self.config, now)
        try:
            group = self._classic(group_id)
        except ApiError as error:
            if error.code is not ErrorCode.UNKNOWN_MEMBER_ID:
                raise
            answer = m.LeaveGroupResponse.MemberResponse
            answers = [answer(one.member_id, one.group_instance_id, ErrorCode.UNKNOWN_MEMBER_ID) for one in members]
            turn.response = m.LeaveGroupResponse(members=answers)
        else:
            membership.leave(turn, group, members)
        return turn

    def _classic(self, group_id: str) -> ClassicGroup:
        if group_id == "":
            raise ApiError(ErrorCode.INVALID_GROUP_ID)
        group = self.groups.get(group_id)
        if not isinstance(group, ClassicGroup):
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID, f"Group {group_id} not found.")
        return group

    def fired(self, now: Now, timer: Timer) -> Turn:
        """A timer that was set and not cancelled has run out."""
        turn = Turn(self.config, now)
        group = self.groups.get(timer.group_id)
        if not isinstance(group, ClassicGroup):
            return turn
        match timer.kind:
            case TimerKind.JOIN:
                rebalance.join_fired(turn, group)
            case TimerKind.SYNC:
                rebalance.sync_fired(turn, group)
            case TimerKind.SESSION:
                rebalance.session_fired(turn, group, timer.member_id)
        return turn

    # --- offsets

    def commit_offsets(
        self, now: Now, request: m.OffsetCommitRequest, version: int, topics: list[TopicCommit], response: Any
    ) -> Turn:
        """`response` is given once the commit stands; it already has the `answers` lists of the topics."""
        turn = Turn(self.config, now, response=response)
        commits.commit(turn, self.groups.get(request.group_id), request, version, topics)
        return turn

    def fetch_offsets(
        self, group_id: str, wanted: list[WantedTopic] | None, *, require_stable: bool
    ) -> list[tuple[str, list[Any]]]:
        return commits.fetch(self.offsets, group_id, wanted, require_stable=require_stable)

    def delete_offsets(self, now: Now, request: m.OffsetDeleteRequest) -> Turn:
        turn = Turn(self.config, now)
        if request.group_id == "":
            raise ApiError(ErrorCode.INVALID_GROUP_ID)
        commits.delete_offsets(turn, self.groups.get(request.group_id), self.offsets, request)
        return turn

    def expire(self, now: Now) -> Turn:
        """Forget what is past its retention."""
        turn = Turn(self.config, now, atomic=False)
        for group in self.groups.values():
            commits.expire(turn, group, self.offsets)
        return turn

    def forget_topics(self, now: Now, topics: Mapping[bytes, str]) -> Turn:
        """Topics, names by id, were deleted: so are their offsets."""
        turn = Turn(self.config, now, atomic=False)
        for topic_id, topic in topics.items():
            commits.forget_topic(turn, self.offsets, topic, topic_id)
        return turn

    # --- groups as administrators see them

    def delete_group(self, now: Now, group_id: str) -> Turn:
        """Raises ApiError GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP."""
        turn = Turn(self.config, now, response=m.DeleteGroupsResponse.DeletableGroupResult(group_id))
        commits.delete_group(turn, self.groups.get(group_id), self.offsets, group_id)
        return turn

    def describe(self, group_id: str) -> Any:
        """Raises ApiError GROUP_ID_NOT_FOUND."""
        group = self.groups.get(group_id)
        if group is None:
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
        if isinstance(group, OtherGroup):
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a classic group.")
        return group.described()

    def listed(self, states: set[str], kinds: set[str]) -> list[Any]:
        """Groups in one of the states and of one of the kinds, in lower case; an empty set means any."""
        entries = [group.listed() for group in self.groups.values()]
        return [
            entry
            for entry in entries
            if (not states or entry.group_state.lower() in states) and (not kinds or entry.group_type in kinds)
        ]

    # --- what became of a turn's records

    def appended(self, turn: Turn, first_offset: int) -> None:
        """The records are in the log, from this offset on: replay them, then finish what waited for them."""
        for at, record in enumerate(turn.records):
            self.replay(record, first_offset + at)
        pending = turn.pending
        group = None if pending is None else self.groups.get(pending.group_id)
        if not isinstance(group, ClassicGroup):
            return
        match pending:
            case NewAssignment():
                membership.assignment_stands(turn, group, pending)
            case NewStaticMember():
                joining.static_member_stands(turn, group, pending)

    def refused(self, turn: Turn, error: ErrorCode) -> None:
        """The records could not be written: take back what the handler did in the expectation that they would."""
        code = client_error(error)
        log.warning("a group's records could not be written", records=len(turn.records), error=error.name)
        pending = turn.pending
        group = None if pending is None else self.groups.get(pending.group_id)
        if not isinstance(group, ClassicGroup):
            return
        match pending:
            case NewGroup():
                self._take_back(turn, group, pending, code)
            case NewAssignment():
                membership.assignment_refused(turn, group, pending, code)
            case NewStaticMember():
                joining.static_member_refused(turn, group, pending, code)

    def _take_back(self, turn: Turn, group: ClassicGroup, new: NewGroup, code: ErrorCode) -> None:
        turn.effects.clear()
        if new.replaced is None:
            del self.groups[new.group_id]
        else:
            self.groups[new.group_id] = new.replaced
        turn.reply(new.waiter, join_refusal(code))

    # --- replay

    def replay_bytes(self, key: Buffer, value: Buffer | None, offset: int, producer_id: int = -1) -> None:
        """One record of the log. `producer_id` is that of a transactional batch, else -1. Raises WireError."""
        message = decode_key(key)
        if message is None:
            return  # a kind of record that is younger than this code stays in the log, untouched
        self.replay(GroupRecord(message, _value_of(message, value)), offset, producer_id)

    def replay_end(self, producer_id: int, *, committed: bool) -> None:
        """A transaction's marker."""
        self.offsets.replay_end(producer_id, committed=committed)

    def replay(self, record: GroupRecord, offset: int, producer_id: int = -1) -> None:
        """The only way in which offsets, assignments and the existence of groups change."""
        key, value = record.key, record.value
        kind: int = key._message.key
        if kind == _OFFSET:
            self.offsets.replay(key, value, offset, producer_id)
            if value is not None:
                self._know(key.group)
        elif kind == _GROUP:
            self._replay_group(key.group, value)
        elif kind == _LEGACY_OFFSET:
            self.offsets.replay_legacy(key, value, offset)
            if value is not None:
                self._know(key.group)
        else:
            self._replay_other(key, kind, is_tombstone=value is None)

    def _know(self, group_id: str) -> None:
        if group_id not in self.groups:
            self.groups[group_id] = ClassicGroup(group_id, State.EMPTY, 0, -1)

    def _replay_group(self, group_id: str, value: m.GroupMetadataValue | None) -> None:
        group = self.groups.get(group_id)
        if value is None:
            if isinstance(group, ClassicGroup):
                del self.groups[group_id]
        elif isinstance(group, ClassicGroup) and group.written is value:
            group.adopt(value)
        else:
            self.groups[group_id] = ClassicGroup.of_value(group_id, value)

    def _replay_other(self, key: Any, kind: int, *, is_tombstone: bool) -> None:
        group = self.groups.get(key.group_id)
        if not isinstance(group, OtherGroup):
            if is_tombstone:
                return
            group = self.groups[key.group_id] = OtherGroup(key.group_id, KIND_OF_RECORD[kind])
        if not group.replay(key, is_tombstone=is_tombstone):
            del self.groups[key.group_id]

    # --- taking over and giving up

    def loaded(self, now: Now) -> Turn:
        """Everything is replayed: from now on members have their session timeout to be heard of."""
        turn = Turn(self.config, now)
        for group in self.groups.values():
            if not isinstance(group, ClassicGroup):
                continue
            for member in list(group.members.values()):
                rebalance.touch(turn, group, member)
            if len(group.members) > self.config.max_size:
                rebalance.prepare(turn, group, f"the loaded group has more than {self.config.max_size} members")
        return turn

    def unload(self, now: Now) -> Turn:
        """Another broker leads from now on: whoever waits is sent there."""
        turn = Turn(self.config, now)
        for group in self.groups.values():
            if not isinstance(group, ClassicGroup):
                continue
            for member in group.members.values():
                code = ErrorCode.NOT_COORDINATOR
                if member.join_waiter is not None:
                    turn.reply(member.join_waiter, join_refusal(code, member.member_id))
                if member.sync_waiter is not None:
                    turn.reply(member.sync_waiter, m.SyncGroupResponse(error_code=code))
            rebalance.cancel_timers(turn, group)
        self.groups.clear()
        self.offsets = OffsetStore()
        return turn


def _value_of(key: Any, value: Buffer | None) -> Any:
    """The value's message; values that nothing here reads stay bytes."""
    if value is None:
        return None
    match key._message.key:
        case 1:
            return decode_value(m.OffsetCommitValue, value)
        case 2:
            return decode_value(m.GroupMetadataValue, value)
        case 0:
            return decode_value(m.LegacyOffsetCommitValue, value)
        case _:
            return value
