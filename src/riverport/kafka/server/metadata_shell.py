"""The metadata log of one node, in whatever role its quorum has for it: voter, leader or observer.

One `Quorum` decides; this does what it says to the log, the files and the other replicas, in the order that it says it,
and tells it what has come of that. What is committed goes into the image of every node; `MetadataLead` is the leader's
part, and the active controller writes through `MetadataWriter`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, assert_never

from riverport.base.clock import Clock
from riverport.base.files import Files, StorageError
from riverport.base.logging import get_logger
from riverport.base.rng import Rng, system_rng
from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.log import LogConfig
from riverport.kafka.raft import events
from riverport.kafka.raft.quorum import Quorum
from riverport.kafka.raft.requests import LogEnd
from riverport.kafka.raft.state import read_state, write_state
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey, VoterSet
from riverport.kafka.server.deadline_timer import DeadlineTimer
from riverport.kafka.server.flusher import Flusher
from riverport.kafka.server.metadata_copy import MetadataCopy
from riverport.kafka.server.metadata_lead import MetadataLead
from riverport.kafka.server.metadata_writer import MetadataWriter, bounded, not_controller
from riverport.kafka.server.quorum_member import Member
from riverport.kafka.server.quorum_network import QuorumNetwork
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError

log = get_logger(__name__)


class MetadataShell(MetadataCopy):
    """`pending` is the same object for ever: the controller's image on a controller, `image` elsewhere."""

    def __init__(
        self,
        files: Files,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        flusher: Flusher,
        root: str,
        member: Member,
        config: LogConfig,
        min_insync: int = 1,
        rng: Rng | None = None,
        failed: Callable[[Any, Exception], None] = lambda log, error: None,
    ) -> None:
        """`failed(log, error)` is told when the node cannot go on with its metadata log."""
        super().__init__(files, clock, loop, root, member.key.id, config, static_voters=member.voters)
        self._member = member
        self._flusher = flusher
        self._failed = failed
        self._rng = rng or system_rng()
        self._writer = MetadataWriter(self, min_insync)
        self.lead = MetadataLead(self, self._writer, member.key.id)
        self._network = QuorumNetwork(
            loop,
            member.key.id,
            member.request_timeout_ms,
            lambda serial, response: self._step(events.Answered(serial, response)),
            lambda serial, refused: self._step(events.Failed(serial, refused)),
        )
        self._inputs: deque[events.Input] = deque()
        self._answers: dict[int, Any] = {}
        self._asked = 0
        self._is_stepping = self._is_flushing = self._is_closed = self._is_starting = False
        self._all_told: asyncio.Future[None] | None = None  # once every voter knows that this node leads no more
        self._timer = DeadlineTimer(loop, clock, lambda: self._step(events.Tick()))
        self._replaying: asyncio.Handle | None = None  # while more is committed than is in the image
        self._progress_listeners: list[Callable[[], None]] = []
        self.quorum: Quorum

    # --- what it is

    @property
    def pending(self) -> MetadataImage:
        return self._writer.pending if self._member.may_lead else self.image

    @property
    def end(self) -> LogEnd:
        """Where the log ends, for the quorum."""
        return LogEnd(max(self.log.leader_epochs.latest, 0), self.log.log_end_offset)

    @property
    def next_offset(self) -> int:
        return self.log.log_end_offset

    @property
    def leader_id(self) -> int:
        return self.quorum.leader_id

    @property
    def epoch(self) -> int:
        return self.quorum.epoch

    @property
    def is_leader(self) -> bool:
        return self.quorum.is_leader

    @property
    def is_active(self) -> bool:
        """Whether this node is the active controller; see `MetadataLead`."""
        return self.lead.is_active

    @property
    def is_sole_voter(self) -> bool:
        """Whether this node is its own majority."""
        return self.quorum.is_voter and self.quorum.voters.majority == 1

    def controller_address(self) -> Address | None:
        """Where the leader is; None while it is not known, or is this node."""
        return None if self.quorum.is_leader else self.quorum.leader_address

    def on_progress(self, callback: Callable[[], None]) -> None:
        """`callback()` whenever the log has grown or more of it is committed, and when the lead is lost."""
        self._progress_listeners.append(callback)

    # --- start and stop

    def open(self, *, clean: bool) -> None:
        """Recover the log. A sole voter replays it and leads from then on; others hear what is committed."""
        self._open_log(clean=clean)
        self.read_voters()
        member = self._member
        self.quorum = Quorum(
            member.key,
            member.cluster_id,
            self,
            self.history,
            self._rng,
            read_state(self.files, self._dir),
            bootstrap=member.bootstrap,
            timing=member.timing,
            max_bytes=member.max_bytes,
            kraft_versions=member.kraft_versions,
            auto_join=member.auto_join,
        )
        if self.is_sole_voter:
            self._lead_alone()
        self._check_features()

    def _lead_alone(self) -> None:
        """What a sole voter has, a majority has. Everything is done on the spot: nobody is served yet."""
        self.replay(self.log.log_end_offset, MetadataDelta(everything=True))
        self.image.offset = self.log.log_end_offset - 1
        self._is_starting = True
        self._step(events.Started())
        while self.log.recovery_point < self.log.log_end_offset:
            self.log.flush()
            self._step(events.Stored(self.log.recovery_point))
        self._is_starting = False

    def _check_features(self) -> None:
        """Raises StorageError for a cluster that newer brokers have written for: its records may say what we miss."""
        reason = features.not_understood(self.image.features)
        if reason is not None:
            reason = f"{reason}: a newer one has used the directory"
            raise StorageError("read", self._dir, 0, reason)

    def start(self, endpoints: tuple[Endpoint, ...] = ()) -> None:
        """Take part in the quorum. `endpoints` is where other replicas reach this one by now."""
        self.quorum.endpoints = endpoints
        if not self.quorum.is_leader:
            self._step(events.Started())
            self._store()
        else:
            self.lead.maybe_tell_place()
        self._arm()

    async def close(self, *, tell: bool = True) -> None:
        """Leave the quorum; where this node led it, the others are told, so that one of them leads at once."""
        if tell and hasattr(self, "quorum") and self.quorum.is_leader and not self.is_sole_voter:
            self._all_told = self.loop.create_future()
            self._step(events.Resign())
            await asyncio.wait([self._all_told], timeout=self._member.timing.election_timeout_ms / 1000)
        self._is_closed = True
        self._timer.stop()
        await self._network.close()
        self._writer.end()
        self._close_log()

    # --- the quorum's own requests

    def answer(self, request: Any) -> Any:
        """The answer to a Vote, BeginQuorumEpoch or EndQuorumEpoch of another voter."""
        self._asked += 1
        self._step(events.Requested(self._asked, request))
        if self._asked not in self._answers:
            raise ApiError(ErrorCode.BROKER_NOT_AVAILABLE, "the node stops")
        return self._answers.pop(self._asked)

    def replica_fetched(self, key: ReplicaKey, offset: int) -> None:
        """A replica asks this leader for what lies behind `offset`, so it has all before it."""
        self._step(events.ReplicaFetched(key, offset, self.clock.wall_ms()))

    def replica_listens(self, key: ReplicaKey) -> None:
        """A replica asks this leader for a slice of a checkpoint."""
        self._step(events.ReplicaListens(key))

    # --- decisions of the active controller

    def submit(self, decide: Callable[[], Outcome]) -> "asyncio.Future[Any]":
        """See `MetadataWriter`. Raises ApiError NOT_CONTROLLER where this node is not the active controller."""
        if not self.is_active:
            raise not_controller()
        try:
            return self._writer.submit(decide)
        except StorageError as error:
            # What is half in the log can neither be built upon nor be taken back.
            self._give_up(error)
            failed: asyncio.Future[Any] = self.loop.create_future()
            failed.set_exception(error)
            return failed

    def submit_operation(self, decide: Callable[[], Outcome]) -> "asyncio.Future[Any]":
        """`submit` of what a user asks for: more than 10,000 records at once are a POLICY_VIOLATION, as in Kafka."""
        return self.submit(lambda: bounded(decide()))

    def change_voters(self, voters: VoterSet) -> "asyncio.Future[Any]":
        """Other voters, from now on; done once they are committed. Only on the active controller."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        try:
            self._writer.append_control([voters.record()], answer)
        except StorageError as error:
            self._give_up(error)
            answer.set_exception(error)
        return answer

    def write_noop(self) -> None:
        try:
            self._writer.write_noop()
        except StorageError as error:
            self._give_up(error)

    def appended(self) -> None:
        """The writer has put something into the log: it goes to the disk and to the followers at the same time."""
        self._flush_soon()
        self._progressed()

    def control_appended(self, messages: list[Any], offset: int) -> None:
        """Voters count from the moment that the log names them, committed or not (KIP-853)."""
        for at, message in enumerate(messages):
            self.history.note(offset + at, message)
        self._step(events.VotersChanged())

    # --- steps and effects

    def _step(self, event: events.Input) -> None:
        """Feed the quorum, and do what it says; what that brings about is fed to it afterwards, in order."""
        if self._is_closed:
            return
        self._inputs.append(event)
        if not self._is_stepping:
            self._run()

    def _run(self, *, replay: bool = False) -> None:
        self._is_stepping = True
        try:
            if replay:
                self._replay()
            while self._inputs:
                for effect in self.quorum.step(self.clock.mono_ms(), self._inputs.popleft()):
                    self._perform(effect)
        except Exception as error:
            if self._is_starting:
                raise
            if not isinstance(error, StorageError | WireError):
                log.exception("the metadata quorum found itself in a state that there must not be")
            self._give_up(error)
        finally:
            self._is_stepping = False
        if self._all_told is not None and not self._all_told.done() and not self.quorum.is_resigning:
            self._all_told.set_result(None)
        self._arm()

    def _give_up(self, error: Exception) -> None:
        """What was to be remembered is not, or cannot be understood: this replica must not say another word."""
        self._is_closed = True
        self._writer.end(error)
        self._failed(self.log, error)

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Persist(state):
                # On the loop: nobody may hear of an epoch or a vote before it is on the disk, and elections are rare.
                write_state(self.files, self._dir, state)
            case events.Send(serial, to, request):
                self._network.send(serial, to, request)
            case events.Answer(token, response):
                self._answers[token] = response
            case events.AppendLeaderChange(epoch, voters, granting):
                self.lead.begin(epoch, voters, granting)
            case events.LostLead():
                self.lead.end()
                self._progressed()
            case events.Committed(offset):
                self._commit(min(offset, self.log.log_end_offset))
            case events.Append(records):
                self._store(self.append_batches(records))
            case events.Truncate(epoch, offset):
                self.truncate(epoch, offset)
                self._store()
            case events.KeepSlice(id_, position, content):
                self.keep_slice(id_, position, content)
            case events.InstallSnapshot(id_):
                is_whole = self.install_snapshot(id_)
                if is_whole:
                    self._published(MetadataDelta(everything=True))
                    self._progressed()
                self._store(is_whole)
            case _:
                assert_never(effect)

    def _arm(self) -> None:
        if not self._is_closed and not self._is_starting:
            self._timer.set(self.quorum.deadline_ms)

    def _progressed(self) -> None:
        for listener in self._progress_listeners:
            self.tell(listener)

    # --- the disk

    def _flush_soon(self) -> None:
        if self._is_flushing or self._is_starting:
            return
        self._is_flushing = True
        self._flusher.flush(self.log).add_done_callback(self._flushed)

    def _flushed(self, done: "asyncio.Future[None]") -> None:
        self._is_flushing = False
        if done.cancelled() or self._is_closed:
            return
        if (error := done.exception()) is not None:
            self._is_closed = True
            self._writer.end(error if isinstance(error, Exception) else None)
            return
        if self.log.recovery_point < self.log.log_end_offset:
            self._flush_soon()
        self._step(events.Stored(self.log.recovery_point))

    def _store(self, is_whole: bool = True) -> None:
        """The log is as the leader wants it: say so once it is durable enough. Or what it sent is not `is_whole`."""
        if not is_whole:
            self._step(events.Damaged())
        elif self._member.may_lead:
            self._flush_soon()
        else:
            self._step(events.Stored(self.log.log_end_offset))

    # --- commits

    def _commit(self, offset: int) -> None:
        """Everything below `offset` becomes true for this node, in order, and is answered."""
        if offset <= self.image.offset + 1:
            return
        self.log.update_high_watermark(offset)
        if self._replaying is None:
            self._replay()

    def _replay_on(self) -> None:
        self._replaying = None
        if not self._is_closed:
            self._run(replay=True)

    def _replay(self) -> None:
        """Take the next batches that are committed into the image: a slice, the others in later turns of the loop.

        What a start finds may be all that there ever was. At a stretch it took seconds, voters that waited for an
        answer meanwhile elected one another in turn, and each began anew.
        """
        start, offset = self.image.offset + 1, self.log.high_watermark
        if not self._writer.has_from(start):
            offset = self.slice_end(offset)
        delta = MetadataDelta()
        done = self._writer.take_committed(offset)
        if done and done[0].base_offset == start:
            for entry in done:
                for record, at in entry.records:
                    self.replayer.apply(record, delta, at)
                for message in entry.control:
                    self._note_control(message)
                self._count(entry.size, entry.timestamp)
            offset = done[-1].end_offset
        else:
            self.replay(offset, delta)
        self.image.offset, self.image.epoch = offset - 1, self.quorum.epoch
        self._published(delta)
        for entry in done:
            entry.finish()
        self.lead.reached(offset)
        self._progressed()
        if offset < self.log.high_watermark:
            self._replaying = self.loop.call_soon(self._replay_on)
