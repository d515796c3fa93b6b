"""A coordinator with a log, a clock and timers that stand still: what a broker is around it, without the waiting."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.coordinator import Coordinator, client_error
from riverport.kafka.groups.loading import replay_batches
from riverport.kafka.groups.others import OtherGroup
from riverport.kafka.groups.turn import CancelTimer, Now, Reply, SetTimer, Timer, Turn
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

GROUP = "g"
RANGE = {"range": b"any"}
SESSION_MS, REBALANCE_MS = 10_000, 60_000
START_MS = 1_700_000_000_000
LATEST_JOIN = 9

Protocols = dict[str, bytes]


@dataclass(eq=False)
class Asked:
    """One request that a coordinator may keep waiting; `answer` is None while it does."""

    answer: Any = None

    @property
    def code(self) -> ErrorCode:
        assert self.answer is not None, "nobody has answered"
        return ErrorCode(self.answer.error_code)


@dataclass(eq=False)
class Member:
    """A member as its client sees it: what it was told last."""

    id: str
    generation: int
    asked: Asked
    instance_id: str | None = None
    answer: Any = None


@dataclass
class Desk:
    config: GroupConfig = field(default_factory=lambda: GroupConfig(initial_rebalance_delay_ms=0))

    def __post_init__(self) -> None:
        self._ids = count(1)
        self.coordinator = self._new()
        self.elapsed_ms = 0.0
        self.timers: dict[Timer, float] = {}
        self.batches: list[bytes] = []
        self.end_offset = 0
        self.append_error: ErrorCode | None = None
        """What befalls the next appends."""
        self._refused_at = -1

    def _new(self) -> Coordinator:
        return Coordinator(self.config, lambda: f"{next(self._ids):04}")

    # --- time

    @property
    def now(self) -> Now:
        return Now(START_MS + int(self.elapsed_ms), self.elapsed_ms)

    def advance(self, ms: float) -> None:
        """Let time pass; what is due meanwhile happens in its order."""
        until = self.elapsed_ms + ms
        while due := [(at, timer) for timer, at in self.timers.items() if at <= until]:
            at, timer = min(due)
            del self.timers[timer]
            self.elapsed_ms = max(self.elapsed_ms, at)
            self.perform(self.coordinator.fired(self.now, timer))
        self.elapsed_ms = until

    # --- turns

    def perform(self, turn: Turn) -> Any:
        """Append, replay, and only then let anything out. Raises ApiError as the shard does."""
        if turn.records:
            if self.append_error is not None:
                self._refused_at = self.end_offset
                self.coordinator.refused(turn, self.append_error)
                self._effects(turn)
                if turn.response is not None:
                    raise ApiError(client_error(self.append_error))
                return None
            records = [NewRecord(*one.encode(), timestamp=turn.now.wall_ms) for one in turn.records]
            self.write(build_batch(records, base_offset=self.end_offset), len(records))
            self.coordinator.appended(turn, self.end_offset - len(records))
        self._effects(turn)
        return turn.response

    def write(self, batch: bytes, records: int) -> None:
        self.batches.append(bytes(batch))
        self.end_offset += records

    def _effects(self, turn: Turn) -> None:
        for effect in turn.effects:
            match effect:
                case Reply(waiter, response):
                    assert waiter.answer is None, f"answered twice: {waiter.answer}, then {response}"
                    waiter.answer = response
                case SetTimer(timer, delay_ms):
                    assert delay_ms >= 0
                    self.timers[timer] = self.elapsed_ms + delay_ms
                case CancelTimer(timer):
                    self.timers.pop(timer, None)

    @property
    def is_behind(self) -> bool:
        """Whether the last thing that should have been written was not."""
        return self._refused_at == self.end_offset

    def replayed(self) -> Coordinator:
        """Another coordinator that has read the log."""
        found = self._new()
        assert replay_batches(found, b"".join(self.batches), 0) == self.end_offset
        return found

    def restart(self) -> None:
        """The broker dies and comes back: what is in the log is all that is left."""
        self.coordinator = self.replayed()
        self._refused_at = -1
        self.timers.clear()
        self.perform(self.coordinator.loaded(self.now))

    # --- requests

    def ask_join(
        self,
        member_id: str = "",
        *,
        group: str = GROUP,
        instance_id: str | None = None,
        protocols: Protocols = RANGE,
        protocol_type: str = "consumer",
        session_ms: int = SESSION_MS,
        rebalance_ms: int = REBALANCE_MS,
        version: int = LATEST_JOIN,
    ) -> Asked:
        of = m.JoinGroupRequest
        entries = [of.JoinGroupRequestProtocol(name, metadata) for name, metadata in protocols.items()]
        request = of(group, session_ms, rebalance_ms, member_id, instance_id, protocol_type, entries)
        asked = Asked()
        self.perform(self.coordinator.join(self.now, request, version, "client", "/127.0.0.1", asked))
        return asked

    def join(self, **given: Any) -> Member:
        """Join as a client does: come back with the id if there has to be one first."""
        asked = self.ask_join(**given)
        if asked.answer is not None and asked.code is ErrorCode.MEMBER_ID_REQUIRED:
            asked = self.ask_join(asked.answer.member_id, **given)
        member = Member("", -1, asked, given.get("instance_id"))
        return self.told(member) if asked.answer is not None else member

    def rejoin(self, member: Member, **given: Any) -> Member:
        member.asked = self.ask_join(member.id, instance_id=member.instance_id, **given)
        return self.told(member) if member.asked.answer is not None else member

    def told(self, member: Member) -> Member:
        """Take over the answer to the member's JoinGroup."""
        assert member.asked.code is ErrorCode.NONE, member.asked.answer
        member.answer = member.asked.answer
        member.id, member.generation = member.answer.member_id, member.answer.generation_id
        return member

    def ask_sync(self, member: Member, assignments: dict[str, bytes] | None = None, **given: Any) -> Asked:
        of = m.SyncGroupRequest
        entries = [of.SyncGroupRequestAssignment(id_, data) for id_, data in (assignments or {}).items()]
        fields = {
            "group_id": GROUP, "generation_id": member.generation, "member_id": member.id,
            "group_instance_id": member.instance_id, **given,
        }  # fmt: skip
        asked = Asked()
        self.perform(self.coordinator.sync(self.now, of(**fields, assignments=entries), asked))
        return asked

    def heartbeat(self, member: Member, **given: Any) -> ErrorCode:
        fields = {
            "group_id": GROUP, "generation_id": member.generation, "member_id": member.id,
            "group_instance_id": member.instance_id, **given,
        }  # fmt: skip
        try:
            answer = self.perform(self.coordinator.heartbeat(self.now, m.HeartbeatRequest(**fields)))
        except ApiError as error:
            return error.code
        return ErrorCode(answer.error_code)

    def leave(self, *members: tuple[str, str | None], group: str = GROUP) -> list[ErrorCode]:
        entries = [m.LeaveGroupRequest.MemberIdentity(id_, instance_id) for id_, instance_id in members]
        answer = self.perform(self.coordinator.leave(self.now, group, entries))
        return [ErrorCode(one.error_code) for one in answer.members]

    # --- whole stories

    def stable(self, members: int = 1, **given: Any) -> list[Member]:
        """A group in which everybody has an assignment."""
        first = self.join(**given)
        if first.asked.answer is None:
            self.advance(self.config.initial_rebalance_delay_ms)
            self.told(first)
        found = [first]
        for _ in range(members - 1):
            found.append(self.join(**given))
            for one in found[:-1]:
                self.rejoin(one, **{key: given[key] for key in given if key != "instance_id"})
            for one in found:
                self.told(one)
        self.assign(found)
        return found

    def assign(self, members: list[Member]) -> None:
        """Everybody asks for its assignment, the leader last."""
        leader = next(one for one in members if one.id == one.answer.leader)
        asked = [self.ask_sync(one) for one in members if one is not leader]
        asked.append(self.ask_sync(leader, {one.id: f"for {one.id}".encode() for one in members}))
        assert {one.code for one in asked} == {ErrorCode.NONE}

    def group(self, group_id: str = GROUP) -> ClassicGroup:
        found = self.coordinator.groups[group_id]
        assert isinstance(found, ClassicGroup)
        return found

    @property
    def state(self) -> State:
        return self.group().state


def durable(coordinator: Coordinator) -> dict[str, Any]:
    """What a restart may not change: groups, and of those with nothing under way everything that a record says."""
    found: dict[str, Any] = {}
    for group_id, group in coordinator.groups.items():
        offsets = {
            (topic, index): committed
            for topic, partitions in coordinator.offsets.of_group(group_id).items()
            for index, committed in partitions.items()
        }
        pending = [key for key in coordinator.offsets.partitions_of(group_id) if key not in offsets]
        found[group_id] = (offsets, pending, _settled(group))
    return found


def _settled(group: ClassicGroup | OtherGroup) -> Any:
    if isinstance(group, OtherGroup):
        return group.kind
    if group.state not in (State.STABLE, State.EMPTY):
        return None
    members = {
        one.member_id: (one.instance_id, one.client_id, one.client_host, one.session_timeout_ms,
                        one.rebalance_timeout_ms, one.metadata(group.protocol), bytes(one.assignment))
        for one in group.members.values()
    }  # fmt: skip
    # A stable group's record was written before it became stable; of an empty one the time counts for expiry.
    since_ms = group.state_since_ms if group.is_empty else None
    identity = (group.state, group.generation, group.protocol_type, group.protocol, group.leader, since_ms)
    return identity, group.static, members, group.subscribed_topics
