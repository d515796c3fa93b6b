"""A classic group: its members, what they are waiting for, and the state it is in. Bookkeeping, no decisions.

Two kinds of state live here. What a record says (generation, protocol, leader, members with their assignments, the time
of the last change) is taken over by `adopt` when the record is replayed. What no record says (who has joined again, who
is pending, which requests are parked) ends with this coordinator, and members notice by having to join again.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any

from riverport.kafka.groups.member import Member, Protocols
from riverport.kafka.groups.subscription import topics_of
from riverport.kafka.groups.turn import Waiter
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

CONSUMER_PROTOCOL = "consumer"
"""The protocol type of consumers, whose metadata the coordinator can read."""


class State(Enum):
    """The package docstring has the diagram. Values are what clients are shown."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


_MAY_FOLLOW = {
    State.EMPTY: {State.PREPARING_REBALANCE},
    State.PREPARING_REBALANCE: {State.STABLE, State.COMPLETING_REBALANCE, State.EMPTY},
    State.COMPLETING_REBALANCE: {State.PREPARING_REBALANCE},
    State.STABLE: {State.COMPLETING_REBALANCE},
    State.DEAD: {State.EMPTY, State.PREPARING_REBALANCE, State.COMPLETING_REBALANCE, State.STABLE},
}
"""For each state those that may come before it."""


class ClassicGroup:
    """Invariants: the leader is a member, or None; every member supports some protocol that all support;
    `static` maps exactly the instance ids of the members; a pending id belongs to no member."""

    kind = "classic"

    def __init__(self, group_id: str, state: State, generation: int, state_since_ms: int) -> None:
        self.group_id = group_id
        self.state = state
        self.previous_state = State.DEAD
        self.generation = generation
        self.state_since_ms = state_since_ms  # -1 where an old record did not say
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.static: dict[str, str] = {}  # instance id: member id
        self.pending_join: dict[str, None] = {}  # ids that were handed out and have not come back (KIP-394)
        self.pending_sync: dict[str, None] = {}  # members of this generation that have not asked for their assignment
        self.subscribed_topics: frozenset[str] | None = None  # None where they cannot be known
        self.new_member_added = False  # since the initial delay was last extended
        self.initial_delay_ms = 0
        self.initial_remaining_ms = 0
        self.written: m.GroupMetadataValue | None = None  # the value that is on its way to the log
        self._supported: dict[str, int] = {}  # protocol: how many members can do it
        self._joined = 0  # members with a parked JoinGroup

    @property
    def is_empty(self) -> bool:
        return self.state is State.EMPTY

    @property
    def is_simple(self) -> bool:
        """Only commits offsets, has no members and never had."""
        return self.protocol_type is None and self.is_empty and not self.pending_join

    @property
    def is_consumer_group(self) -> bool:
        return self.protocol_type == CONSUMER_PROTOCOL

    @property
    def can_rebalance(self) -> bool:
        return self.state in _MAY_FOLLOW[State.PREPARING_REBALANCE]

    @property
    def joined_count(self) -> int:
        return self._joined

    @property
    def has_all_joined(self) -> bool:
        return self._joined == len(self.members) and not self.pending_join

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def transition(self, state: State, now_ms: int) -> None:
        assert self.state in _MAY_FOLLOW[state], f"group {self.group_id}: {self.state} cannot become {state}"
        self.previous_state, self.state, self.state_since_ms = self.state, state, now_ms

    # --- members

    def member_of(self, member_id: str, instance_id: str | None) -> Member:
        """Who a request comes from. Raises ApiError UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID (KIP-345)."""
        if instance_id is not None:
            known = self.static.get(instance_id)
            if known is None:
                raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
            if known != member_id:
                raise ApiError(ErrorCode.FENCED_INSTANCE_ID)
        member = self.members.get(member_id)
        if member is None:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        return member

    def add(self, member: Member, protocol_type: str, waiter: Waiter | None = None) -> None:
        if member.instance_id is not None:
            assert member.instance_id not in self.static, f"{member.instance_id} is in group {self.group_id} already"
            self.static[member.instance_id] = member.member_id
        if not self.members:
            self.protocol_type = protocol_type
        if self.leader is None:
            self.leader = member.member_id
        self.members[member.member_id] = member
        self._count(member, 1)
        self.park_join(member, waiter)
        self.pending_join.pop(member.member_id, None)

    def remove(self, member_id: str) -> None:
        """Forget a member, or an id that was handed out; the next member in order leads where the leader goes."""
        member = self.members.pop(member_id, None)
        if member is not None:
            self._count(member, -1)
            self.park_join(member, None)
            if member.instance_id is not None:
                self.static.pop(member.instance_id, None)
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)
        self.pending_join.pop(member_id, None)
        self.pending_sync.pop(member_id, None)

    def update(self, member: Member, protocols: Protocols, rebalance_timeout_ms: int, session_timeout_ms: int) -> None:
        self._count(member, -1)
        member.protocols = protocols
        self._count(member, 1)
        member.rebalance_timeout_ms = rebalance_timeout_ms
        member.session_timeout_ms = session_timeout_ms

    def replace_static(self, instance_id: str, member_id: str) -> Member:
        """A new member with all that the one of this instance had; no request of it is parked."""
        previous_id = self.static[instance_id]
        previous = self.members[previous_id]
        member = Member(
            member_id,
            instance_id,
            previous.client_id,
            previous.client_host,
            previous.rebalance_timeout_ms,
            previous.session_timeout_ms,
            previous.protocols,
            previous.assignment,
        )
        self.park_join(previous, None)
        # The order of members decides who leads next, so the new one gets the old one's place.
        self.members = {(member_id if k == previous_id else k): (member if k == previous_id else v)
                        for k, v in self.members.items()}  # fmt: skip
        if self.leader == previous_id:
            self.leader = member_id
        self.static[instance_id] = member_id
        if previous_id in self.pending_sync:
            del self.pending_sync[previous_id]
        return member

    def park_join(self, member: Member, waiter: Waiter | None) -> None:
        """Note which JoinGroup of a member waits now, None for no one."""
        self._joined += (waiter is not None) - (member.join_waiter is not None)
        member.join_waiter = waiter

    def not_joined(self) -> list[Member]:
        return [member for member in self.members.values() if member.join_waiter is None]

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is one that has joined; False where nobody has."""
        if self.leader is None:
            return False
        if self.members[self.leader].join_waiter is not None:
            return True
        joined = next((member for member in self.members.values() if member.join_waiter is not None), None)
        if joined is not None:
            self.leader = joined.member_id
        return joined is not None

    # --- protocols

    def _count(self, member: Member, by: int) -> None:
        for name, _ in member.protocols:
            self._supported[name] = self._supported.get(name, 0) + by

    def supports(self, protocol_type: str, names: Iterable[str]) -> bool:
        """Whether a member with these protocols could be in the group beside those that are."""
        if self.is_empty:
            return bool(protocol_type) and any(True for _ in names)
        count = len(self.members)
        return protocol_type == self.protocol_type and any(self._supported.get(name, 0) == count for name in names)

    def select_protocol(self) -> str:
        """The protocol that most members prefer among those that all of them can do."""
        candidates = {name for name, count in self._supported.items() if count == len(self.members)}
        votes: dict[str, int] = {}
        for member in self.members.values():
            choice = member.vote(candidates)
            votes[choice] = votes.get(choice, 0) + 1
        return max(votes, key=lambda name: votes[name])

    def find_subscriptions(self) -> None:
        """Read from the members' metadata which topics the group consumes."""
        self.subscribed_topics = None
        if not self.is_consumer_group:
            return
        if not self.members:
            self.subscribed_topics = frozenset()
        elif self.protocol is not None:
            self.subscribed_topics = topics_of(member.metadata(self.protocol) for member in self.members.values())

    def is_subscribed_to(self, topic: str) -> bool:
        """True also where it cannot be known: nobody may take a consumer's offsets away."""
        if self.subscribed_topics is None:
            return self.is_consumer_group
        return topic in self.subscribed_topics

    # --- generations and records

    def next_generation(self, now_ms: int) -> None:
        self.generation += 1
        self.protocol = self.select_protocol() if self.members else None
        self.find_subscriptions()
        self.pending_sync.clear()
        self.transition(State.COMPLETING_REBALANCE if self.members else State.EMPTY, now_ms)

    def as_value(self, assignments: dict[str, bytes]) -> m.GroupMetadataValue:
        """The group as its record says it; `written` until it is replayed."""
        self.written = m.GroupMetadataValue(
            self.protocol_type or "",
            self.generation,
            self.protocol,
            self.leader,
            self.state_since_ms,
            [member.as_record(self.protocol, assignments[id_]) for id_, member in self.members.items()],
        )
        return self.written

    def as_new_value(self) -> m.GroupMetadataValue:
        """The record that makes a new group known before it has a generation."""
        self.written = m.GroupMetadataValue("", 0, None, None, self.state_since_ms, [])
        return self.written

    def adopt(self, value: m.GroupMetadataValue) -> None:
        """Replay of the record that this group has written: its assignments count from now on."""
        assert value is self.written, f"group {self.group_id} did not write {value}"
        self.written = None
        for record in value.members:
            if (member := self.members.get(record.member_id)) is not None:
                member.assignment = record.assignment

    @classmethod
    def of_value(cls, group_id: str, value: m.GroupMetadataValue) -> "ClassicGroup":
        """The group as a record left it that another coordinator wrote, or this one before a restart."""
        group = cls(group_id, State.STABLE if value.members else State.EMPTY, value.generation, -1)
        group.state_since_ms = value.current_state_timestamp
        for record in value.members:
            group.add(Member.of_record(record, value.protocol), value.protocol_type)
        group.protocol_type = value.protocol_type or None
        group.protocol = value.protocol
        if value.leader in group.members or not group.members:
            group.leader = value.leader
        group.find_subscriptions()
        return group

    # --- as clients see it

    def listed(self) -> Any:
        return m.ListGroupsResponse.ListedGroup(self.group_id, self.protocol_type or "", self.state.value, self.kind)

    def joined_members(self) -> list[Any]:
        """Every member with its metadata, for the leader to assign."""
        return [
            m.JoinGroupResponse.JoinGroupResponseMember(
                member.member_id, member.instance_id, member.metadata(self.protocol)
            )
            for member in self.members.values()
        ]

    def described(self) -> Any:
        stable = self.state is State.STABLE
        members = [
            m.DescribeGroupsResponse.DescribedGroupMember(
                member.member_id,
                member.instance_id,
                member.client_id,
                member.client_host,
                member.metadata(self.protocol) if stable else b"",
                member.assignment,
            )
            for member in self.members.values()
        ]
        protocol = (self.protocol if stable else None) or ""
        return m.DescribeGroupsResponse.DescribedGroup(
            0, None, self.group_id, self.state.value, self.protocol_type or "", protocol, members
        )
