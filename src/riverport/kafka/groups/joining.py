"""JoinGroup v0-9: who becomes a member, who has to come back with an id, who takes the place of a static member.

KIP-394 (an id first, from v4), KIP-345 (static members), KIP-389 (group.max.size), KIP-800 (reasons), KIP-814
(a replaced static leader need not assign again, from v9).
"""

from dataclasses import dataclass
from typing import Any

from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.config import NEW_MEMBER_JOIN_TIMEOUT_MS
from riverport.kafka.groups.member import Member, Protocols
from riverport.kafka.groups.rebalance import (
    UNKNOWN_MEMBER,
    join_refusal,
    joined,
    maybe_complete_join,
    prepare,
    prepare_or_complete,
    session_timer,
    touch,
)
from riverport.kafka.groups.records import group_metadata
from riverport.kafka.groups.turn import NewStaticMember, Turn, Waiter
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

KNOWN_MEMBER_ID_SINCE = 4
SKIP_ASSIGNMENT_SINCE = 9


@dataclass(slots=True)
class Join:
    """One JoinGroup request; `new_member_id` is the id that its member gets if it has none."""

    group_id: str
    member_id: str
    instance_id: str | None
    protocol_type: str
    protocols: Protocols
    session_timeout_ms: int
    rebalance_timeout_ms: int
    reason: str
    client_id: str
    client_host: str
    api_version: int
    new_member_id: str
    waiter: Waiter

    @classmethod
    def of(
        cls, request: m.JoinGroupRequest, version: int, client_id: str, client_host: str, uuid: str, waiter: Waiter
    ) -> "Join":
        return cls(
            request.group_id,
            request.member_id,
            request.group_instance_id,
            request.protocol_type,
            tuple((one.name, bytes(one.metadata)) for one in request.protocols),
            request.session_timeout_ms,
            request.session_timeout_ms if version == 0 else request.rebalance_timeout_ms,
            request.reason or "not provided",
            client_id,
            client_host,
            version,
            f"{client_id if request.group_instance_id is None else request.group_instance_id}-{uuid}",
            waiter,
        )

    @property
    def protocol_names(self) -> list[str]:
        return [name for name, _ in self.protocols]


def join(turn: Turn, group: ClassicGroup, request: Join) -> None:
    """Raises ApiError for who is not let in; else the request is answered or parked."""
    if not _has_room(turn, group, request.member_id):
        group.remove(request.member_id)
        turn.cancel_timer(session_timer(group, request.member_id))
        turn.reply(request.waiter, join_refusal(ErrorCode.GROUP_MAX_SIZE_REACHED))
        return
    if not group.supports(request.protocol_type, request.protocol_names):
        raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    if request.member_id != UNKNOWN_MEMBER:
        _join_with_id(turn, group, request)
    elif request.instance_id is not None and request.instance_id in group.static:
        _replace_static(turn, group, request)
    elif request.instance_id is not None or request.api_version < KNOWN_MEMBER_ID_SINCE:
        _add(turn, group, request, request.new_member_id)
    else:
        # The member has to come back with its id: a client that lost its connection leaves no member behind.
        group.pending_join[request.new_member_id] = None
        turn.set_timer(session_timer(group, request.new_member_id), request.session_timeout_ms)
        turn.reply(request.waiter, join_refusal(ErrorCode.MEMBER_ID_REQUIRED, request.new_member_id))


def _has_room(turn: Turn, group: ClassicGroup, member_id: str) -> bool:
    match group.state:
        case State.PREPARING_REBALANCE:
            # Counted are those that have joined: a group that is too big loses who comes last, old members or new.
            member = group.members.get(member_id)
            waits = member is not None and member.join_waiter is not None
            return waits or group.joined_count < turn.config.max_size
        case State.COMPLETING_REBALANCE | State.STABLE:
            return member_id in group.members or len(group.members) < turn.config.max_size
        case _:
            return True


def _join_with_id(turn: Turn, group: ClassicGroup, request: Join) -> None:
    if request.member_id in group.pending_join and request.instance_id is None:
        _add(turn, group, request, request.member_id)
        return
    member = group.member_of(request.member_id, request.instance_id)
    same = member.protocols == request.protocols
    match group.state:
        case State.PREPARING_REBALANCE:
            why = f"member {member.member_id} is joining during {group.state.value}"
        case State.COMPLETING_REBALANCE if same:
            # Its first answer must have got lost: it is told the generation that it is in.
            turn.reply(request.waiter, joined(group, member))
            return
        case State.STABLE if same and group.leader != member.member_id:
            turn.reply(request.waiter, joined(group, member))
            return
        case State.STABLE if same:
            # A leader joins again to have a rebalance, for changes that no member's metadata shows: new partitions.
            why = f"leader {member.member_id} is joining again"
        case State.STABLE | State.COMPLETING_REBALANCE:
            why = f"metadata of member {member.member_id} changes during {group.state.value}"
        case _:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
    _update(group, member, request)
    prepare_or_complete(turn, group, f"{why}; client reason: {request.reason}")


def _update(group: ClassicGroup, member: Member, request: Join) -> None:
    group.update(member, request.protocols, request.rebalance_timeout_ms, request.session_timeout_ms)
    group.park_join(member, request.waiter)


def _add(turn: Turn, group: ClassicGroup, request: Join, member_id: str) -> None:
    member = Member(
        member_id,
        request.instance_id,
        request.client_id,
        request.client_host,
        request.rebalance_timeout_ms,
        request.session_timeout_ms,
        request.protocols,
    )
    member.is_new = True
    if group.state is State.PREPARING_REBALANCE and group.previous_state is State.EMPTY:
        group.new_member_added = True
    group.add(member, request.protocol_type, request.waiter)
    touch(turn, group, member, NEW_MEMBER_JOIN_TIMEOUT_MS)
    prepare_or_complete(
        turn,
        group,
        f"adding new member {member_id} with group instance id {request.instance_id}; client reason: {request.reason}",
    )


def _replace_static(turn: Turn, group: ClassicGroup, request: Join) -> None:
    """A static member is back under a new id: it takes over the assignment, and who still has the old id is fenced."""
    assert request.instance_id is not None
    previous = group.members[group.static[request.instance_id]]
    previous_leader = group.leader
    _fence(turn, previous)
    turn.cancel_timer(session_timer(group, previous.member_id))
    member = group.replace_static(request.instance_id, request.new_member_id)
    touch(turn, group, member)
    _update(group, member, request)
    reason = f"static member {member.member_id} with instance id {request.instance_id}; client reason: {request.reason}"
    if group.state is State.COMPLETING_REBALANCE:
        # The leader may be assigning to the old id now; its answer would leave the new one without partitions.
        prepare(turn, group, f"updating metadata of {reason}")
    elif group.state is State.STABLE:
        if group.select_protocol() != group.protocol:
            prepare_or_complete(turn, group, f"the group's protocol changes with {reason}")
            return
        value = group.as_value({id_: one.assignment for id_, one in group.members.items()})
        turn.records.append(group_metadata(group.group_id, value))
        turn.pending = NewStaticMember(
            group.group_id, request.instance_id, member.member_id, previous, previous_leader, request.api_version
        )
    else:
        maybe_complete_join(turn, group)


def _fence(turn: Turn, previous: Member) -> None:
    code = ErrorCode.FENCED_INSTANCE_ID
    if previous.join_waiter is not None:
        turn.reply(previous.join_waiter, join_refusal(code, previous.member_id))
    if previous.sync_waiter is not None:
        turn.reply(previous.sync_waiter, m.SyncGroupResponse(error_code=code))
        previous.sync_waiter = None


def static_member_stands(turn: Turn, group: ClassicGroup, change: NewStaticMember) -> None:
    """The record of a replaced static member is written: tell it the generation it is in, without a rebalance.

    A leader of before v9 is told the old leader id, so that it does not assign; later ones are told to skip it.
    """
    member = group.members.get(change.member_id)
    if member is None or member.join_waiter is None:
        return
    response = joined(group, member)
    if change.api_version >= SKIP_ASSIGNMENT_SINCE:
        response.skip_assignment = group.leader == member.member_id
    else:
        response.leader, response.members = change.previous_leader or "", []
    turn.reply(member.join_waiter, response)
    group.park_join(member, None)


def static_member_refused(turn: Turn, group: ClassicGroup, change: NewStaticMember, error: ErrorCode) -> None:
    """The record could not be written: the old member id has its place again."""
    group.written = None
    member = group.members[change.member_id]
    if member.join_waiter is not None:
        turn.reply(member.join_waiter, _refusal(group, change, error))
        group.park_join(member, None)
    turn.cancel_timer(session_timer(group, member.member_id))
    old: Member = change.previous
    group.update(member, old.protocols, old.rebalance_timeout_ms, old.session_timeout_ms)
    restored = group.replace_static(change.instance_id, old.member_id)
    touch(turn, group, restored)


def _refusal(group: ClassicGroup, change: NewStaticMember, error: ErrorCode) -> Any:
    return m.JoinGroupResponse(
        error_code=error,
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        leader=change.previous_leader or "",
    )
