"""One group with several members, some of them static, in any order of requests, losses, write errors and restarts.

Members do what real ones may do, in good and in bad order. What holds after every step:

* a generation never falls, and a new one has one leader, who is one of its members;
* a member has an assignment only of the generation that it is in, and the one that its leader gave it;
* every member and every id that was handed out has a timer or a parked request that ends, and nothing else has one;
* nobody who asked is forgotten: a request is answered, or parked with a member that is there;
* what the log says is what the coordinator knows (`durable`), at every moment.
"""

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.kafka.groups.desk import GROUP, Asked, Desk, Member, durable

from riverport.kafka.groups.classic import ClassicGroup, State
from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.turn import Timer, TimerKind
from riverport.kafka.wire.errors import ApiError, ErrorCode

SLOTS = 4
"""Clients; the last two are static members."""


FATAL = {
    ErrorCode.UNKNOWN_MEMBER_ID,
    ErrorCode.FENCED_INSTANCE_ID,
    ErrorCode.GROUP_MAX_SIZE_REACHED,
    # After a restart only the chosen protocol of each member is known.
    ErrorCode.INCONSISTENT_GROUP_PROTOCOL,
}
"""After these a client begins anew."""


class Client:
    """One consumer process: what it was told, and what it waits for."""

    def __init__(self, instance_id: str | None) -> None:
        self.instance_id = instance_id
        self.begin_anew()

    def begin_anew(self) -> None:
        self.id = ""
        self.generation = -1
        self.leads = False
        self.members: list[str] = []
        self.assignment: bytes | None = None
        self.joining: Asked | None = None
        self.syncing: Asked | None = None


class Groups(RuleBasedStateMachine):
    @initialize(delay_ms=st.sampled_from([0, 3_000]), max_size=st.sampled_from([2, 100]))
    def begin(self, delay_ms: int, max_size: int) -> None:
        self.desk = Desk(GroupConfig(initial_rebalance_delay_ms=delay_ms, max_size=max_size))
        self.clients = [Client(None if slot < 2 else f"i{slot}") for slot in range(SLOTS)]
        self.generation = 0
        self.leaders: dict[int, str] = {}
        self.assigned: dict[tuple[int, str], bytes] = {}

    def group(self) -> ClassicGroup | None:
        found = self.desk.coordinator.groups.get(GROUP)
        assert found is None or isinstance(found, ClassicGroup)
        return found

    # --- what clients do

    @rule(
        slot=st.integers(0, SLOTS - 1),
        metadata=st.sampled_from([b"a", b"b"]),
        names=st.sampled_from([("range",), ("range", "sticky"), ("sticky", "range")]),
    )
    def join(self, slot: int, metadata: bytes, names: tuple[str, ...]) -> None:
        client = self.clients[slot]
        # A second request of the same client takes the place of one whose connection it has given up.
        client.joining = self.desk.ask_join(
            client.id,
            instance_id=client.instance_id,
            protocols=dict.fromkeys(names, metadata),
            rebalance_ms=20_000,
        )
        client.syncing, client.assignment = None, None
        self.listen()

    @rule(slot=st.integers(0, SLOTS - 1))
    def sync(self, slot: int) -> None:
        client = self.clients[slot]
        if not client.id or client.joining is not None:
            return
        assignments = {}
        if client.leads:
            assignments = {one: f"{client.generation} {one}".encode() for one in client.members}
        client.syncing = self.desk.ask_sync(self.as_member(client), assignments)
        self.listen()

    @rule(slot=st.integers(0, SLOTS - 1))
    def heartbeat(self, slot: int) -> None:
        client = self.clients[slot]
        if client.id and client.joining is None:
            self.obey(client, self.desk.heartbeat(self.as_member(client)))
            self.listen()

    @rule(slot=st.integers(0, SLOTS - 1))
    def leave(self, slot: int) -> None:
        client = self.clients[slot]
        if client.id:
            with contextlib.suppress(ApiError):  # it has left also where that cannot be written
                self.desk.leave((client.id, client.instance_id))
            client.begin_anew()
            self.listen()

    @rule(slot=st.integers(0, SLOTS - 1))
    def crash(self, slot: int) -> None:
        """The process is gone and another begins: nobody hears the answers to its requests."""
        self.clients[slot].begin_anew()

    @rule(ms=st.sampled_from([1, 1_000, 3_000, 9_999, 10_000, 20_000, 400_000]))
    def wait(self, ms: int) -> None:
        self.desk.advance(ms)
        self.listen()

    @rule()
    def break_disk(self) -> None:
        self.desk.append_error = ErrorCode.NOT_ENOUGH_REPLICAS

    @precondition(lambda self: self.desk.append_error is not None)
    @rule()
    def repair_disk(self) -> None:
        self.desk.append_error = None

    @rule()
    def restart(self) -> None:
        self.desk.restart()
        for client in self.clients:
            if client.joining is not None or client.syncing is not None:
                client.joining = client.syncing = None  # its connection is gone; it will ask again
        group = self.group()
        self.generation = 0 if group is None else group.generation
        # Generations that were not written are not known to anybody any more, their numbers come again.
        self.leaders = {at: leader for at, leader in self.leaders.items() if at <= self.generation}

    # --- how clients take answers

    @staticmethod
    def as_member(client: Client) -> Member:
        return Member(client.id, client.generation, Asked(), client.instance_id)

    def listen(self) -> None:
        for client in self.clients:
            if client.joining is not None and client.joining.answer is not None:
                self.joined(client, client.joining)
            if client.syncing is not None and client.syncing.answer is not None:
                self.synced(client, client.syncing)

    def joined(self, client: Client, asked: Asked) -> None:
        client.joining = None
        answer = asked.answer
        if asked.code is ErrorCode.MEMBER_ID_REQUIRED:
            client.id = answer.member_id
        elif asked.code is ErrorCode.NONE:
            client.id, client.generation = answer.member_id, answer.generation_id
            client.leads = answer.leader == client.id and not answer.skip_assignment
            client.members = [one.member_id for one in answer.members]
            if client.leads:
                assert client.id in client.members
        else:
            self.obey(client, asked.code)

    def synced(self, client: Client, asked: Asked) -> None:
        client.syncing = None
        if asked.code is ErrorCode.NONE:
            client.assignment = bytes(asked.answer.assignment)
        else:
            self.obey(client, asked.code)

    @staticmethod
    def obey(client: Client, code: ErrorCode) -> None:
        if code in FATAL:
            client.begin_anew()
        elif code is ErrorCode.ILLEGAL_GENERATION:
            client.generation, client.assignment = -1, None
        else:
            assert code in (ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE), code

    # --- what holds

    @invariant()
    def generations_rise_and_have_one_leader(self) -> None:
        group = self.group()
        if group is None:
            return
        assert group.generation >= self.generation
        self.generation = group.generation
        assert group.leader is None or group.leader in group.members
        assert (group.leader is None) == (not group.members)
        assert set(group.static.values()) <= set(group.members)
        assert not set(group.pending_join) & set(group.members)
        for client in self.clients:
            if client.leads and client.generation == group.generation and client.id in group.members:
                self.leaders.setdefault(group.generation, client.id)
                assert self.leaders[group.generation] == client.id or client.instance_id is not None

    @invariant()
    def nobody_holds_a_stale_assignment(self) -> None:
        group = self.group()
        for client in self.clients:
            if group is None or client.id not in group.members or client.generation != group.generation:
                continue
            if group.state is State.STABLE and client.assignment:
                given_to = group.members[client.id].assignment
                assert client.assignment == bytes(given_to), "the client and the coordinator disagree"
                assert client.assignment.startswith(f"{group.generation} ".encode())

    @invariant()
    def everything_that_waits_has_an_end(self) -> None:
        group = self.group()
        timers = dict(self.desk.timers)
        if group is None:
            assert not timers
            return
        parked = {id_ for id_, one in group.members.items() if one.satisfies_heartbeat}
        for id_ in (*group.members, *group.pending_join):
            at = timers.pop(Timer(TimerKind.SESSION, GROUP, id_), None)
            assert at is not None or id_ in parked, f"{id_} could stay for ever"
            assert at is None or at <= self.desk.elapsed_ms + 300_000
        joins = timers.pop(Timer(TimerKind.JOIN, GROUP), None)
        assert (joins is not None) == (group.state is State.PREPARING_REBALANCE)
        syncs = timers.pop(Timer(TimerKind.SYNC, GROUP), None)
        assert (syncs is not None) == bool(group.pending_sync)
        assert not timers, "timers of nobody"

    @invariant()
    def nobody_who_asked_is_forgotten(self) -> None:
        group = self.group()
        members = [] if group is None else list(group.members.values())
        for client in self.clients:
            if client.joining is not None:
                assert any(one.join_waiter is client.joining for one in members)
            if client.syncing is not None:
                assert any(one.sync_waiter is client.syncing for one in members)

    @invariant()
    def the_log_says_what_the_coordinator_knows(self) -> None:
        known, read = durable(self.desk.coordinator), durable(self.desk.replayed())
        assert known.keys() == read.keys()
        for group_id, (offsets, pending, settled) in known.items():
            assert (offsets, pending) == read[group_id][:2]
            # During a rebalance, and where the log did not take the last record, it says what was before.
            if settled is not None and not self.desk.is_behind:
                assert settled == read[group_id][2]


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
