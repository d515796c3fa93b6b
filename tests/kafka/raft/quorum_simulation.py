"""A quorum in simulated time: the pure core, logs with a disk below them, a network that loses, delays and reorders.

What crosses the network is encoded. A crash takes what was not yet on the disk; the quorum-state is, always. After
every effect the promises of `Checker` are looked at.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from random import Random
from typing import Any

from replicas import CLUSTER, address, directory, voter_set

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.raft import changes, events
from riverport.kafka.raft.quorum import Quorum
from riverport.kafka.raft.requests import LogEnd
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey, Voter, VoterHistory
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import apis
from riverport.kafka.wire.errors import ApiError, ErrorCode

_Of = m.FetchResponse
REQUEST_TIMEOUT_MS = 500
TOP_VERSION = {52: 2, 53: 1, 54: 1, 1: 18}


@dataclass
class DiskLog:
    """Batches of one record each; the first `synced` survive a crash."""

    batches: list[tuple[int, bytes]] = field(default_factory=list)  # (epoch, bytes)
    synced: int = 0

    @property
    def end(self) -> LogEnd:
        return LogEnd(self.batches[-1][0] if self.batches else 0, len(self.batches))

    def append(self, epoch: int, value: bytes) -> bytes:
        batch = bytes(build_batch([NewRecord(None, value)], base_offset=len(self.batches), leader_epoch=epoch))
        self.batches.append((epoch, batch))
        return batch

    def end_of(self, epoch: int) -> tuple[int, int]:
        """(the greatest epoch not above `epoch`, where it ends)."""
        end = bisect_right(self.batches, epoch, key=itemgetter(0))
        return (self.batches[end - 1][0], end) if end else (0, 0)

    def truncate(self, offset: int) -> None:
        del self.batches[offset:]
        self.synced = min(self.synced, offset)

    def crash(self) -> None:
        del self.batches[self.synced :]


@dataclass
class Checker:
    """What must hold whatever happens."""

    leaders: dict[int, int] = field(default_factory=dict)  # by epoch
    committed: list[tuple[int, bytes]] = field(default_factory=list)

    def leads(self, id_: int, epoch: int, log: DiskLog) -> None:
        assert self.leaders.setdefault(epoch, id_) == id_, f"two leaders in epoch {epoch}: {self.leaders[epoch]}, {id_}"
        assert log.batches[: len(self.committed)] == self.committed, f"{id_} leads without what is committed"

    def commits(self, id_: int, offset: int, log: DiskLog) -> None:
        assert offset <= len(log.batches), f"{id_} commits what it does not have"
        known = min(offset, len(self.committed))
        assert log.batches[:known] == self.committed[:known], f"{id_} has committed something else"
        self.committed += log.batches[known:offset]


class Node:
    """One replica; `quorum` is None while its process is down."""

    def __init__(self, id_: int, voters: tuple[int, ...], world: "World") -> None:
        self.id = id_
        self.voters = voters
        self.world = world
        self.log = DiskLog()
        self.state: QuorumState | None = None
        self.quorum: Quorum | None = None
        self.life = 0
        self.high_watermark = 0
        self.due_ms = -1.0  # of the timer that is set
        self.kept: list[
            tuple[Callable[[], bool], Callable[[], None]]
        ] = []  # fetches without news: (is there any, answer)

    def start(self) -> None:
        self.life += 1
        self.high_watermark, self.due_ms = 0, -1.0
        self.kept.clear()
        history = VoterHistory(voter_set(*self.voters))
        if self.world.is_dynamic:
            history.begin(1, voter_set(*self.voters, dynamic=True))
        for offset in range(len(self.log.batches)):
            self.note(history, offset)
        self.quorum = Quorum(
            ReplicaKey(self.id, directory(self.id)),
            CLUSTER,
            self.log,
            history,
            self.world.random,
            self.state,
            endpoints=[Endpoint("C", *address(self.id))],
            bootstrap=[address(id_) for id_ in self.voters],
        )
        self.step(events.Started())
        self.flush()

    def note(self, history: VoterHistory, offset: int) -> None:
        """Take the record at an offset into the history, if it is one about voters."""
        record = self.world.voter_records.get(self.log.batches[offset][1])
        if record is not None:
            history.note(offset, record)

    def crash(self) -> None:
        self.quorum = None
        self.life += 1
        self.log.crash()

    def later(self, delay_ms: float, work: Callable[[], None]) -> None:
        """For this life only."""
        life = self.life

        def alive() -> None:
            if self.life == life:
                work()

        self.world.at(delay_ms, alive)

    def step(self, event: events.Input) -> None:
        quorum = self.quorum
        if quorum is None:
            return
        for effect in quorum.step(self.world.now_ms, event):
            self.perform(effect)
        due_ms = quorum.deadline_ms
        if due_ms not in (float("inf"), self.due_ms):
            self.due_ms = due_ms
            self.later(max(due_ms - self.world.now_ms, 0) + 0.01, self.tick)
        self.look_again()

    def look_again(self) -> None:
        """Answer the fetches that wait and have news now."""
        for entry in [entry for entry in self.kept if entry[0]()]:
            if entry in self.kept:
                self.kept.remove(entry)
                entry[1]()

    def tick(self) -> None:
        if self.quorum is not None and self.world.now_ms >= self.quorum.deadline_ms:
            self.step(events.Tick())

    def perform(self, effect: events.Effect) -> None:
        assert self.quorum is not None
        match effect:
            case events.Persist(state):
                assert self.state is None or state.leader_epoch >= self.state.leader_epoch
                self.state = state
            case events.Send(serial, to, request):
                self.world.send(self, serial, to, request)
            case events.AppendLeaderChange(epoch, _, granting):
                assert len(granting) >= self.quorum.voters.majority
                self.world.checker.leads(self.id, epoch, self.log)
                self.log.append(epoch, b"leader")
                self.flush()
            case events.Committed(offset):
                assert offset > self.high_watermark, "the high watermark went back"
                self.high_watermark = offset
                self.world.checker.commits(self.id, offset, self.log)
            case events.Append(records):
                for header in iter_headers(records):
                    assert header.base_offset == len(self.log.batches)
                    piece = bytes(records[header.position : header.position + header.size])
                    self.log.batches.append((header.leader_epoch, piece))
                    self.note(self.quorum.history, header.base_offset)
                self.flush()
            case events.Truncate(epoch, offset):
                target = min(offset, self.log.end_of(epoch)[1])
                assert target >= self.high_watermark, "what is committed was cut off"
                self.log.truncate(target)
                self.quorum.history.truncate_to(target)
                self.flush()
            case events.LostLead():
                pass
            case _:
                raise AssertionError(effect)

    def flush(self) -> None:
        """On the disk after a while; unless a truncation came in between."""
        offset, end = len(self.log.batches), list(self.log.batches)

        def done() -> None:
            if self.log.batches[:offset] == end:
                self.log.synced = max(self.log.synced, offset)
            self.step(events.Stored(self.log.synced))

        self.later(self.world.random.uniform(0.1, 8), done)

    def write(self, value: bytes) -> None:
        if self.quorum is not None and self.quorum.is_leader:
            self.log.append(self.quorum.epoch, value)
            self.flush()
            self.look_again()

    def change_voters(self) -> None:
        """A leader adds a replica that is level with it, or removes a voter, which may be itself."""
        quorum, world = self.quorum, self.world
        if quorum is None or quorum.leading is None:
            return
        voters = quorum.voters
        id_ = world.random.choice(list(world.nodes))
        with suppress(ApiError):
            if voters.get(id_) is not None:
                voters = changes.without(quorum, ReplicaKey(id_, directory(id_)))
            else:
                new = Voter(ReplicaKey(id_, directory(id_)), (Endpoint("C", *address(id_)),), (0, 1))
                voters = changes.with_new(quorum, new, int(world.now_ms) + 1)
        if voters != quorum.voters:
            record = voters.record()
            offset = len(self.log.batches)
            world.voter_records[self.log.append(quorum.epoch, b"voters %d" % world.steps)] = record
            quorum.history.note(offset, record)
            self.step(events.VotersChanged())
            self.flush()

    def serve(self, request: Any) -> Any:
        """The answer of a server whose quorum this is."""
        assert self.quorum is not None
        if isinstance(request, m.FetchRequest):
            answer = self.serve_fetch(request)
            told, asked = answer.responses[0].partitions[0], request.topics[0].partitions[0]
            if told.error_code or told.diverging_epoch.epoch >= 0:
                return answer
            key = ReplicaKey(request.replica_state.replica_id, bytes(asked.replica_directory_id))
            self.step(events.ReplicaFetched(key, asked.fetch_offset, int(self.world.now_ms) + 1))
            return self.serve_fetch(request)
        answers: list[Any] = []
        for effect in self.quorum.step(self.world.now_ms, events.Requested(1, request)):
            if isinstance(effect, events.Answer):
                answers.append(effect.response)
            else:
                self.perform(effect)
        self.step(events.Tick())
        return answers[0]

    def serve_fetch(self, request: m.FetchRequest) -> m.FetchResponse:
        quorum, asked = self.quorum, request.topics[0].partitions[0]
        assert quorum is not None
        answer = _Of.PartitionData(0, 0, -1, records=b"")
        if asked.current_leader_epoch < quorum.epoch:
            answer.error_code = ErrorCode.FENCED_LEADER_EPOCH
        elif asked.current_leader_epoch > quorum.epoch:
            answer.error_code = ErrorCode.UNKNOWN_LEADER_EPOCH
        elif not quorum.is_leader:
            answer.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
        else:
            epoch, end = self.log.end_of(asked.last_fetched_epoch)
            if epoch != asked.last_fetched_epoch or end < asked.fetch_offset:
                answer.diverging_epoch = _Of.EpochEndOffset(epoch, end)
            else:
                batches = self.log.batches[asked.fetch_offset : asked.fetch_offset + 3]
                answer.records = b"".join(batch for _, batch in batches)
                answer.high_watermark = quorum.told_high_watermark
        answer.current_leader = _Of.LeaderIdAndEpoch(quorum.leader_id, quorum.epoch)
        endpoints = [] if quorum.leader_id < 0 else [_Of.NodeEndpoint(quorum.leader_id, *address(quorum.leader_id))]
        topic = _Of.FetchableTopicResponse("", METADATA_TOPIC_ID, [answer])
        return _Of(responses=[topic], node_endpoints=endpoints)


class World:
    """`seed` decides everything: the rates of faults, and the faults."""

    def __init__(self, seed: int, voters: int, observers: int = 0, *, is_dynamic: bool = False) -> None:
        self.random = Random(seed)
        self.is_dynamic = is_dynamic
        self.voter_records: dict[bytes, m.VotersRecord] = {}  # by the batch that stands for each
        self.now_ms = 0.0
        self.steps = 0
        self.checker = Checker()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        ids = tuple(range(1, voters + 1))
        self.nodes = {id_: Node(id_, ids, self) for id_ in range(1, voters + observers + 1)}
        self._by_address = {address(id_): node for id_, node in self.nodes.items()}
        self.cut: set[tuple[int, int]] = set()  # (from, to): nothing comes through
        self.loss = self.random.choice([0.0, 0.02, 0.2])
        self.slow_ms = self.random.choice([1.0, 20.0, 150.0])
        self._faults = self.random.choice([0.002, 0.01, 0.03])
        self._is_healed = False

    def at(self, delay_ms: float, work: Callable[[], None]) -> None:
        self.steps += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self.steps, work))

    def run(self, duration_ms: float) -> None:
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, work = heapq.heappop(self._queue)
            work()
            if not self._is_healed and self.random.random() < self._faults:
                self.break_something()
        self.now_ms = end_ms

    def start(self) -> None:
        for node in self.nodes.values():
            self.at(self.random.uniform(0, 400), node.start)
        self.at(5, self.write)
        if self.is_dynamic:
            self.at(500, self.change_voters)

    def change_voters(self) -> None:
        for node in self.nodes.values():
            node.change_voters()
        self.at(self.random.uniform(50, 2_000), self.change_voters)

    def write(self) -> None:
        """Whoever believes to lead is given something to write."""
        for node in self.nodes.values():
            node.write(b"%d" % self.steps)
        self.at(self.random.uniform(1, 120), self.write)

    # --- faults

    def break_something(self) -> None:
        node = self.random.choice(list(self.nodes.values()))
        match self.random.randrange(4):
            case 0 | 1 if node.quorum is not None:
                node.crash()
                self.at(self.random.uniform(1, 4_000), lambda: node.start() if node.quorum is None else None)
            case 2:
                other = self.random.choice(list(self.nodes.values()))
                pairs = [(node.id, other.id), (other.id, node.id)][: self.random.choice([1, 2])]
                self.cut.update(pairs)
                self.at(self.random.uniform(1, 6_000), lambda: self.cut.difference_update(pairs))
            case 3:
                pairs = [(node.id, id_) for id_ in self.nodes] + [(id_, node.id) for id_ in self.nodes]
                self.cut.update(pairs)
                self.at(self.random.uniform(1, 6_000), lambda: self.cut.difference_update(pairs))

    def heal(self) -> None:
        self._is_healed = True
        self.loss, self.slow_ms = 0.0, 1.0
        self.cut.clear()
        for node in self.nodes.values():
            if node.quorum is None:
                node.start()

    # --- the network

    def send(self, sender: Node, serial: int, to: Address, request: Any) -> None:
        target = self._by_address[to]
        encoded = _encoded(request)
        is_lost = self.random.random() < self.loss or (sender.id, target.id) in self.cut
        if is_lost:
            sender.later(REQUEST_TIMEOUT_MS, lambda: sender.step(events.Failed(serial)))
            return

        def arrived() -> None:
            if target.quorum is None:
                sender.later(1, lambda: sender.step(events.Failed(serial, refused=True)))
                return
            received = _decoded(type(request), encoded)
            answer = target.serve(received)
            if not isinstance(request, m.FetchRequest) or _has_news(answer, received):
                respond(answer)
                return
            entry = (
                lambda: _has_news(target.serve_fetch(received), received),
                lambda: respond(target.serve_fetch(received)),
            )
            target.kept.append(entry)
            target.later(request.max_wait_ms, lambda: expire(entry))

        def expire(entry: Any) -> None:
            if entry in target.kept:
                target.kept.remove(entry)
                entry[1]()

        def respond(answer: Any) -> None:
            if self.random.random() < self.loss or (target.id, sender.id) in self.cut:
                sender.later(REQUEST_TIMEOUT_MS, lambda: sender.step(events.Failed(serial)))
                return
            response = _encoded(answer, request)
            decoded = _decoded(apis()[request._message.key].response, response, request)
            sender.later(self.delay(), lambda: sender.step(events.Answered(serial, decoded)))

        self.at(self.delay(), arrived)  # also when the sender is gone by then
        # Whoever crashes while it has a request does not answer it.
        sender.later(2 * REQUEST_TIMEOUT_MS + 4 * self.slow_ms, lambda: sender.step(events.Failed(serial)))

    def delay(self) -> float:
        return self.random.uniform(0.1, self.slow_ms)


def _has_news(answer: m.FetchResponse, request: m.FetchRequest) -> bool:
    told, asked = answer.responses[0].partitions[0], request.topics[0].partitions[0]
    is_short = bool(told.error_code or told.records or told.diverging_epoch.epoch >= 0)
    return is_short or told.high_watermark > asked.high_watermark


def _encoded(message: Any, request: Any = None) -> bytes:
    return bytes(codec.encode(message, TOP_VERSION[(request or message)._message.key]))


def _decoded(kind: Any, data: bytes, request: Any = None) -> Any:
    key = (request or kind)._message.key
    return codec.decode(kind, TOP_VERSION[key], memoryview(data), 0)[0]
