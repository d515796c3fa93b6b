"""SyncGroup v0-5, Heartbeat v0-4 and LeaveGroup v0-5 for members of classic groups.

KIP-345 (static members may be removed by their instance ids), KIP-559 (protocol in SyncGroup), KIP-800 (reasons).
"""

from typing import Any

from riverport.base.logging import get_logger
from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.rebalance import (
    UNKNOWN_MEMBER,
    answer_syncs,
    assigned,
    drop,
    forget_assignments,
    maybe_complete_join,
    prepare_or_complete,
    session_timer,
    sync_received,
    touch,
)
from riverport.kafka.groups.records import group_metadata
from riverport.kafka.groups.turn import NewAssignment, Turn, Waiter
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

log = get_logger(__name__)


def sync(turn: Turn, group: ClassicGroup, request: m.SyncGroupRequest, waiter: Waiter) -> None:
    """Answer or park the request; the leader's brings the assignment. Raises ApiError."""
    member = group.member_of(request.member_id, request.group_instance_id)
    if request.generation_id != group.generation:
        raise ApiError(ErrorCode.ILLEGAL_GENERATION)
    if _differs(request.protocol_type, group.protocol_type) or _differs(request.protocol_name, group.protocol):
        raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    match group.state:
        case State.PREPARING_REBALANCE:
            raise ApiError(ErrorCode.REBALANCE_IN_PROGRESS)
        case State.COMPLETING_REBALANCE:
            member.sync_waiter = waiter
            sync_received(turn, group, member.member_id)
            if group.leader == member.member_id:
                _assign(turn, group, request)
        case State.STABLE:
            sync_received(turn, group, member.member_id)
            turn.reply(waiter, assigned(group, member))
        case _:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)


def _differs(given: str | None, known: str | None) -> bool:
    return given is not None and given != known


def _assign(turn: Turn, group: ClassicGroup, request: m.SyncGroupRequest) -> None:
    """Write what the leader has assigned; members that it forgot get nothing."""
    given = {one.member_id: bytes(one.assignment) for one in request.assignments}
    value = group.as_value({member_id: given.get(member_id, b"") for member_id in group.members})
    turn.records.append(group_metadata(group.group_id, value))
    turn.pending = NewAssignment(group.group_id, group.generation, request.member_id)


def assignment_stands(turn: Turn, group: ClassicGroup, change: NewAssignment) -> None:
    """The assignment is written: the group is stable, and who waited for it gets it."""
    if group.state is not State.COMPLETING_REBALANCE or group.generation != change.generation:
        return
    group.transition(State.STABLE, turn.now.wall_ms)
    answer_syncs(turn, group)


def assignment_refused(turn: Turn, group: ClassicGroup, change: NewAssignment, error: ErrorCode) -> None:
    """The assignment could not be written: nobody gets one, everybody joins again."""
    group.written = None
    if group.state is not State.COMPLETING_REBALANCE or group.generation != change.generation:
        return
    forget_assignments(turn, group, error)
    prepare_or_complete(turn, group, f"error {error.name} when storing the assignment of leader {change.leader}")


def heartbeat(turn: Turn, group: ClassicGroup, request: m.HeartbeatRequest) -> None:
    """Raises ApiError; REBALANCE_IN_PROGRESS tells the member to join again."""
    member = group.member_of(request.member_id, request.group_instance_id)
    if request.generation_id != group.generation:
        raise ApiError(ErrorCode.ILLEGAL_GENERATION)
    touch(turn, group, member)
    code = ErrorCode.REBALANCE_IN_PROGRESS if group.state is State.PREPARING_REBALANCE else ErrorCode.NONE
    turn.response = m.HeartbeatResponse(0, code)


def leave(turn: Turn, group: ClassicGroup, members: list[Any]) -> None:
    """Remove members, by member id or (as administrators do) by instance id; each gets an answer of its own."""
    answers = []
    for leaving in members:
        code = _leave_one(turn, group, leaving)
        answers.append(m.LeaveGroupResponse.MemberResponse(leaving.member_id, leaving.group_instance_id, code))
    gone = [str(answer.member_id or answer.group_instance_id) for answer in answers if not answer.error_code]
    if gone:
        if group.state in (State.STABLE, State.COMPLETING_REBALANCE):
            prepare_or_complete(turn, group, f"explicit `LeaveGroup` request for ({', '.join(gone)}) members.")
        else:
            maybe_complete_join(turn, group)
    turn.response = m.LeaveGroupResponse(members=answers)


def _leave_one(turn: Turn, group: ClassicGroup, leaving: Any) -> ErrorCode:
    member_id = leaving.member_id
    if member_id == UNKNOWN_MEMBER:
        # By instance id alone: an administrator removes a static member whose id only the coordinator knows.
        member_id = group.static.get(leaving.group_instance_id)
        if member_id is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
    elif member_id in group.pending_join:
        group.remove(member_id)
        turn.cancel_timer(session_timer(group, member_id))
        return ErrorCode.NONE
    try:
        member = group.member_of(member_id, leaving.group_instance_id)
    except ApiError as error:
        return error.code
    reason = leaving.reason or "not provided"
    log.info("a member leaves", group=group.group_id, member=member_id, reason=reason)
    drop(turn, group, member)
    return ErrorCode.NONE
