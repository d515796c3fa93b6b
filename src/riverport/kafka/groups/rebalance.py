"""Rebalances of classic groups: how one begins, when everybody has joined, and who is left out.

Every function changes the group at once and adds to the turn what follows from it; members' sessions are here too,
since who misses a heartbeat begins a rebalance.
"""

from math import inf
from typing import Any

from riverport.base.logging import get_logger
from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.member import Member
from riverport.kafka.groups.records import group_metadata
from riverport.kafka.groups.turn import Timer, TimerKind, Turn
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

log = get_logger(__name__)

UNKNOWN_MEMBER = ""
"""The member id of who has none yet."""


def join_refusal(code: ErrorCode, member_id: str = UNKNOWN_MEMBER) -> Any:
    """JoinGroup's answer to who is not let in, or has to ask again."""
    return m.JoinGroupResponse(error_code=code, protocol_name=None, member_id=member_id)


# --- sessions


def session_timer(group: ClassicGroup, member_id: str) -> Timer:
    return Timer(TimerKind.SESSION, group.group_id, member_id)


def touch(turn: Turn, group: ClassicGroup, member: Member, timeout_ms: float | None = None) -> None:
    """The member was heard of: its session, or `timeout_ms`, starts anew. Costs nothing while its timer runs."""
    member.deadline_ms = turn.now.mono_ms + (member.session_timeout_ms if timeout_ms is None else timeout_ms)
    if member.deadline_ms < member.timer_ms:
        _arm(turn, group, member)


def _arm(turn: Turn, group: ClassicGroup, member: Member) -> None:
    member.timer_ms = member.deadline_ms
    turn.set_timer(session_timer(group, member.member_id), member.deadline_ms - turn.now.mono_ms)


def session_fired(turn: Turn, group: ClassicGroup, member_id: str) -> None:
    """A session timer has run out: for an id that was never used, a member that was heard of since, or a lost one."""
    if member_id in group.pending_join:
        log.info("a member did not come back with the id it was given", group=group.group_id, member=member_id)
        group.remove(member_id)
        if group.state is State.PREPARING_REBALANCE and group.has_all_joined:
            complete_join(turn, group)
        return
    member = group.members.get(member_id)
    if member is None:
        return
    member.timer_ms = inf
    if turn.now.mono_ms < member.deadline_ms:
        _arm(turn, group, member)
    elif not member.satisfies_heartbeat:
        log.info("a member's session has ended", group=group.group_id, member=member_id)
        drop(turn, group, member)
        rebalance_without(turn, group, f"removing member {member_id} on heartbeat expiration")


def drop(turn: Turn, group: ClassicGroup, member: Member) -> None:
    """Remove a member. If a request of it is parked it is told to begin anew, should it still be there."""
    if member.join_waiter is not None:
        turn.reply(member.join_waiter, join_refusal(ErrorCode.UNKNOWN_MEMBER_ID))
    if member.sync_waiter is not None:
        turn.reply(member.sync_waiter, m.SyncGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID))
    turn.cancel_timer(session_timer(group, member.member_id))
    group.remove(member.member_id)


def rebalance_without(turn: Turn, group: ClassicGroup, reason: str) -> None:
    """What follows from members having gone."""
    if group.state in (State.STABLE, State.COMPLETING_REBALANCE):
        prepare(turn, group, reason)
    elif group.state is State.PREPARING_REBALANCE and group.has_all_joined:
        complete_join(turn, group)


# --- the phase of joining


def prepare_or_complete(turn: Turn, group: ClassicGroup, reason: str) -> None:
    """Begin a rebalance; where one is going on, see whether it can go on to the assignment."""
    if group.can_rebalance:
        prepare(turn, group, reason)
    else:
        maybe_complete_join(turn, group)


def prepare(turn: Turn, group: ClassicGroup, reason: str) -> None:
    """Begin a rebalance: everybody has to join again. An empty group waits a little for more members (KIP-134)."""
    if group.state is State.COMPLETING_REBALANCE:
        forget_assignments(turn, group, ErrorCode.REBALANCE_IN_PROGRESS)
    group.pending_sync.clear()
    turn.cancel_timer(Timer(TimerKind.SYNC, group.group_id))
    is_initial = group.is_empty
    group.transition(State.PREPARING_REBALANCE, turn.now.wall_ms)
    log.info("a group prepares to rebalance", group=group.group_id, generation=group.generation, reason=reason)
    if is_initial:
        delay_ms = turn.config.initial_rebalance_delay_ms
        group.initial_delay_ms = delay_ms
        group.initial_remaining_ms = max(group.rebalance_timeout_ms - delay_ms, 0)
        turn.set_timer(Timer(TimerKind.JOIN, group.group_id), delay_ms)
    elif group.has_all_joined:
        complete_join(turn, group)
    else:
        turn.set_timer(Timer(TimerKind.JOIN, group.group_id), group.rebalance_timeout_ms)


def join_fired(turn: Turn, group: ClassicGroup) -> None:
    """Time is up for joining; an initial delay is extended while new members come, up to the rebalance timeout."""
    if group.state is not State.PREPARING_REBALANCE:
        return
    is_initial = group.previous_state is State.EMPTY
    if is_initial and group.new_member_added and group.initial_remaining_ms:
        group.new_member_added = False
        last_delay_ms = group.initial_delay_ms
        group.initial_delay_ms = min(turn.config.initial_rebalance_delay_ms, group.initial_remaining_ms)
        group.initial_remaining_ms = max(group.initial_remaining_ms - last_delay_ms, 0)
        turn.set_timer(Timer(TimerKind.JOIN, group.group_id), group.initial_delay_ms)
        return
    complete_join(turn, group)


def maybe_complete_join(turn: Turn, group: ClassicGroup) -> None:
    """Go on to the assignment where everybody has joined; an initial rebalance always waits for its delay."""
    if group.state is State.PREPARING_REBALANCE and group.previous_state is not State.EMPTY and group.has_all_joined:
        complete_join(turn, group)


def complete_join(turn: Turn, group: ClassicGroup) -> None:
    """End the phase of joining: whoever has not joined is out, the rest are told their generation and leader.

    Static members may be late; their sessions decide about them. Where nobody has joined the phase goes on.
    """
    join_timer = Timer(TimerKind.JOIN, group.group_id)
    turn.cancel_timer(join_timer)
    late = [member for member in group.not_joined() if member.instance_id is None]
    for member in late:
        drop(turn, group, member)
    if late:
        log.info("members did not join in time", group=group.group_id, members=[one.member_id for one in late])
    if not group.elect_joined_leader() and group.members:
        log.warning("nobody joined, the rebalance goes on", group=group.group_id)
        turn.set_timer(join_timer, group.rebalance_timeout_ms)
        return
    group.next_generation(turn.now.wall_ms)
    group.new_member_added = False
    if group.is_empty:
        log.info("a group is empty now", group=group.group_id, generation=group.generation)
        turn.records.append(group_metadata(group.group_id, group.as_value({})))
        return
    log.info("a generation begins", group=group.group_id, generation=group.generation, members=len(group.members))
    for member in group.members.values():
        if member.join_waiter is not None:
            turn.reply(member.join_waiter, joined(group, member))
            group.park_join(member, None)
        member.is_new = False
        touch(turn, group, member)
        group.pending_sync[member.member_id] = None
    turn.set_timer(Timer(TimerKind.SYNC, group.group_id), group.rebalance_timeout_ms)


def joined(group: ClassicGroup, member: Member) -> Any:
    """The answer to a member that is in the group's generation; the leader gets what it needs to assign."""
    members = group.joined_members() if group.leader == member.member_id else []
    return m.JoinGroupResponse(
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        leader=group.leader or "",
        member_id=member.member_id,
        members=members,
    )


# --- the phase of assigning


def sync_fired(turn: Turn, group: ClassicGroup) -> None:
    """Members that have not asked for their assignment within the rebalance timeout are out."""
    if group.state not in (State.COMPLETING_REBALANCE, State.STABLE) or not group.pending_sync:
        return
    missing = list(group.pending_sync)
    for member_id in missing:
        drop(turn, group, group.members[member_id])
    prepare(turn, group, f"removing {', '.join(missing)} on pending sync request expiration")


def sync_received(turn: Turn, group: ClassicGroup, member_id: str) -> None:
    """A member asks for its assignment; the last one ends the wait for them."""
    if member_id in group.pending_sync:
        del group.pending_sync[member_id]
        if not group.pending_sync:
            turn.cancel_timer(Timer(TimerKind.SYNC, group.group_id))


def forget_assignments(turn: Turn, group: ClassicGroup, error: ErrorCode) -> None:
    """Assignments of an unfinished generation count for nothing: whoever waits for one is told `error`."""
    for member in group.members.values():
        member.assignment = b""
    answer_syncs(turn, group, error)


def answer_syncs(turn: Turn, group: ClassicGroup, error: ErrorCode = ErrorCode.NONE) -> None:
    """Give everybody who waits its assignment, or the error. Sessions start anew: they were ignored during the wait."""
    for member in group.members.values():
        if member.sync_waiter is None:
            continue
        response = assigned(group, member) if error is ErrorCode.NONE else m.SyncGroupResponse(error_code=error)
        turn.reply(member.sync_waiter, response)
        member.sync_waiter = None
        touch(turn, group, member)


def assigned(group: ClassicGroup, member: Member) -> Any:
    return m.SyncGroupResponse(
        protocol_type=group.protocol_type, protocol_name=group.protocol, assignment=member.assignment
    )


def cancel_timers(turn: Turn, group: ClassicGroup) -> None:
    """The group is gone from here."""
    turn.cancel_timer(Timer(TimerKind.JOIN, group.group_id))
    turn.cancel_timer(Timer(TimerKind.SYNC, group.group_id))
    for member_id in (*group.members, *group.pending_join):
        turn.cancel_timer(session_timer(group, member_id))
