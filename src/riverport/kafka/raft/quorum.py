"""One replica of the metadata log as a state machine (KIP-595, pre-vote of KIP-996, voters of KIP-853).

                 no leader heard of          would be elected          majority of votes
    unattached ───────────────────▶ prospective ─────▶ candidate ─────────────────────▶ leader
        ▲  │ a leader is known          ▲  no leader,      │ lost: a pause, then               │ no majority fetches,
        │  ▼                            │  fetches fail     ▼ prospective again                 ▼ or it stops
        └ follower ─────────────────────┘                                                  resigned ──▶ unattached

A greater epoch in any message makes it unattached, or a follower where the message names the leader. A replica without
a vote is only ever unattached, asking around for the leader, or a follower. `step` takes one input at a time; its
effects are done in order before the next. `deadline_ms` says when time alone is the next one.
"""

from typing import Any, assert_never

from riverport.kafka.raft import ballots
from riverport.kafka.raft import requests as make
from riverport.kafka.raft.agenda import Agenda
from riverport.kafka.raft.election import Election
from riverport.kafka.raft.events import (
    Answer,
    Answered,
    Committed,
    Damaged,
    Effect,
    Failed,
    Input,
    InstallSnapshot,
    ReplicaFetched,
    ReplicaListens,
    Requested,
    Resign,
    Started,
    Stored,
    Tick,
    Truncate,
    VotersChanged,
)
from riverport.kafka.raft.follower import Following
from riverport.kafka.raft.leader import Leading
from riverport.kafka.raft.requests import LogEnd
from riverport.kafka.raft.roles import Resigned, Unattached
from riverport.kafka.raft.voters import Address, ReplicaKey
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

START_SPREAD_MS = 30
"""Voters that start together do not all ask for votes at the same moment."""
ELECTION_STEP_MS = 50
"""When a leader is known to be gone, its followers begin their elections this far apart, in the order of their ids."""


class Quorum(Agenda):
    """`step` is the only way in; everything else may be looked at."""

    def step(self, now_ms: float, event: Input) -> list[Effect]:
        self._now_ms = now_ms
        match event:
            case Started():
                self._start()
            case Tick():
                pass
            case Requested(token, request):
                self._effects.append(Answer(token, self._answer(request)))
            case Answered(serial, response):
                self._answered(serial, response)
            case Failed(serial, refused):
                self._failed(serial, refused)
            case Stored(offset):
                self._has_stored(offset)
            case Damaged():
                self._got_damage()
            case ReplicaFetched(key, offset, wall_ms):
                self._replica_fetched(key, offset, wall_ms)
            case ReplicaListens(key):
                if isinstance(self._role, Leading):
                    self._role.listens(key, self._now_ms)
            case VotersChanged():
                self._voters_changed()
            case Resign():
                if isinstance(self._role, Leading):
                    self._resign(self._role)
            case _:
                assert_never(event)
        self._poll()
        effects, self._effects = self._effects, []
        return effects

    def _start(self) -> None:
        """Ask at once whether this replica would be elected: followers of a leader that is there say no."""
        if not self.is_voter:
            self._role = Unattached(self._election_deadline())
        elif self.voters.majority == 1:
            self._become_candidate(retries=0)
        else:
            self._role = Unattached(self._now_ms + self._rng.randrange(START_SPREAD_MS))

    def _has_stored(self, offset: int) -> None:
        self._stored = offset
        role = self._role
        if isinstance(role, Leading):
            role.stored(offset)
            self._count(role)
        elif isinstance(role, Following):
            role.is_storing = offset < self.log.end.offset

    def _got_damage(self) -> None:
        if isinstance(self._role, Following):
            self._role.is_storing = self._stored < self.log.end.offset
            self._role.forget_snapshot()
            self._outbox.pause(self._role.address, self._now_ms)

    def _replica_fetched(self, key: ReplicaKey, offset: int, wall_ms: int) -> None:
        if isinstance(self._role, Leading) and key.id != self.own.id and key.id >= 0:
            end = self.log.end.offset
            self._role.fetched(key, offset, end, wall_ms=wall_ms, now_ms=self._now_ms)
            self._count(self._role)

    def _voters_changed(self) -> None:
        role = self._role
        if isinstance(role, Leading):
            role.voters_changed(self.voters, self._now_ms)
            if not self.is_voter:
                role.resigns_after = self.history.offset  # it leads until all know that it has no vote
            self._count(role)

    # --- requests of other voters

    def _answer(self, request: Any) -> Any:
        match request:
            case m.VoteRequest():
                return self._answer_vote(request)
            case m.BeginQuorumEpochRequest():
                return self._answer_begin(request)
            case m.EndQuorumEpochRequest():
                return self._answer_end(request)
        raise AssertionError(f"no request of the quorum: {request}")

    def _answer_vote(self, request: "m.VoteRequest") -> "m.VoteResponse":
        if request.cluster_id is not None and request.cluster_id != self.cluster_id:
            return m.VoteResponse(ErrorCode.INCONSISTENT_CLUSTER_ID)
        asked = make.partition_of(request.topics)
        if asked is None:
            return m.VoteResponse(ErrorCode.INVALID_REQUEST)
        if (wrong := ballots.vote_problem(asked, self.epoch)) is not None:
            return make.vote_answer(wrong, self.standing, False)
        if asked.replica_epoch > self.epoch:
            self._unattach(asked.replica_epoch)
        if not ballots.is_for(self.own, request.voter_id, asked.voter_directory_id):
            return make.vote_answer(ErrorCode.INVALID_VOTER_KEY, self.standing, False)
        candidate = ReplicaKey(asked.replica_id, bytes(asked.replica_directory_id))
        is_up_to_date = LogEnd(asked.last_offset_epoch, asked.last_offset) >= self.log.end
        granted = is_up_to_date and (self._would_elect() if asked.pre_vote else self._may_vote_for(candidate))
        if granted and not asked.pre_vote and self.voted is None:
            self._vote(candidate)
        return make.vote_answer(ErrorCode.NONE, self.standing, granted)

    def _would_elect(self) -> bool:
        """Whether this replica sees room for an election, which costs nothing yet (KIP-996)."""
        role = self._role
        return not isinstance(role, Leading) and not (isinstance(role, Following) and role.has_fetched)

    def _may_vote_for(self, candidate: ReplicaKey) -> bool:
        if isinstance(self._role, Leading | Following | Resigned) or self._had_leader:
            return False
        return self.voted is None or self.voted.covers(candidate)

    def _answer_begin(self, request: "m.BeginQuorumEpochRequest") -> "m.BeginQuorumEpochResponse":
        if request.cluster_id is not None and request.cluster_id != self.cluster_id:
            return m.BeginQuorumEpochResponse(ErrorCode.INCONSISTENT_CLUSTER_ID)
        told = make.partition_of(request.topics)
        if told is None:
            return m.BeginQuorumEpochResponse(ErrorCode.INVALID_REQUEST)
        wrong = ballots.told_problem(told, self.epoch)
        if wrong is None:
            self._learn(told.leader_epoch, told.leader_id, ballots.first_endpoint(request.leader_endpoints))
            if not ballots.is_for(self.own, request.voter_id, told.voter_directory_id):
                wrong = ErrorCode.INVALID_VOTER_KEY
        return make.begin_answer(wrong or ErrorCode.NONE, self.standing)

    def _answer_end(self, request: "m.EndQuorumEpochRequest") -> "m.EndQuorumEpochResponse":
        if request.cluster_id is not None and request.cluster_id != self.cluster_id:
            return m.EndQuorumEpochResponse(ErrorCode.INCONSISTENT_CLUSTER_ID)
        told = make.partition_of(request.topics)
        if told is None:
            return m.EndQuorumEpochResponse(ErrorCode.INVALID_REQUEST)
        wrong = ballots.told_problem(told, self.epoch)
        if wrong is None:
            self._learn(told.leader_epoch, told.leader_id, ballots.first_endpoint(request.leader_endpoints))
            role = self._role
            if isinstance(role, Following) and role.leader_id == told.leader_id:
                maximum = self._timing.election_backoff_max_ms
                self._leader_gone(role, ballots.successor_delay_ms(self.own, told, maximum))
        return make.end_answer(wrong or ErrorCode.NONE, self.standing)

    # --- answers of others

    def _answered(self, serial: int, response: Any) -> None:
        found = self._outbox.done(serial)
        if found is None:
            return
        to, request = found
        self._outbox.reached(to)
        if isinstance(request, m.UpdateRaftVoterRequest | m.AddRaftVoterRequest | m.RemoveRaftVoterRequest):
            return  # what has come of it is in the log, and it is asked again while it has not
        if response.error_code:
            self._refused(to)
            return
        match response:
            case m.FetchResponse():
                self._fetch_answered(to, response)
            case m.FetchSnapshotResponse():
                self._slice_answered(to, response)
            case m.VoteResponse():
                self._vote_answered(to, request, response)
            case m.BeginQuorumEpochResponse() | m.EndQuorumEpochResponse():
                self._epoch_answered(to, request, response)

    def _failed(self, serial: int, refused: bool) -> None:
        found = self._outbox.done(serial)
        if found is None:
            return
        to, _ = found
        role = self._role
        voter = self._voter_at(to)
        if isinstance(role, Leading) and voter is not None:
            role.heard(voter, self._now_ms)  # it asks for the leader itself once it is back
        elif isinstance(role, Resigned) and refused and voter in role.unaware and voter is not None:
            role.unaware.remove(voter)
        elif isinstance(role, Election) and refused and voter is not None:
            role.unreachable(voter)
            if not role.is_pre_vote and role.is_hopeless():
                self._lose(role)
        elif isinstance(role, Following) and to == role.address and refused and self.can_stand:
            # Nothing is gained by waiting for the fetch timeout.
            self._leader_gone(role, self._turn() * ELECTION_STEP_MS + self._rng.randrange(ELECTION_STEP_MS // 5))
        self._refused(to)

    def _refused(self, to: Address) -> None:
        """Nothing came of what was sent there: let a while pass, or ask somebody else."""
        self._outbox.pause(to, self._now_ms)
        is_asking = isinstance(self._role, Unattached) or (
            isinstance(self._role, Following) and self._role.address == to
        )
        if is_asking and not self.is_voter:
            self._ask_others()

    def _turn(self) -> int:
        """This voter's place among the followers, by id."""
        others = [id_ for id_ in self.voters.ids if id_ != self.leader_id]
        return others.index(self.own.id) if self.own.id in others else len(others)

    def _voter_at(self, address: Address) -> int | None:
        return next((voter.key.id for voter in self.voters if voter.endpoints and voter.address == address), None)

    def _heed(self, epoch: int, leader_id: int, endpoints: list[Any], fallback: Address | None = None) -> bool:
        """Take what an answer tells of the quorum; False for one of an epoch that is over."""
        if epoch < self.epoch:
            return False
        self._learn(epoch, leader_id, make.endpoint_of(endpoints, leader_id) or fallback)
        return True

    def _vote_answered(self, to: Address, request: "m.VoteRequest", response: "m.VoteResponse") -> None:
        told, role = make.partition_of(response.topics), self._role
        # Who votes for an election need not be told, nor believed, who led before: its word is about the next leader.
        is_same_epoch = told is not None and told.leader_epoch == self.epoch
        is_over = is_same_epoch and (told.vote_granted or told.leader_id == self._gone_leader)
        if told is None or not (is_over or self._heed(told.leader_epoch, told.leader_id, response.node_endpoints)):
            self._outbox.pause(to, self._now_ms)
            return
        if self._role is not role or not isinstance(role, Election):
            return
        if told.error_code or (not told.vote_granted and told.leader_id >= 0):
            self._outbox.pause(to, self._now_ms)  # it has not yet seen that its leader is gone
            return
        role.record(request.voter_id, told.vote_granted)
        if role.is_won():
            if role.is_pre_vote:
                self._become_candidate(role.retries)
            else:
                self._lead(role.granting)
        elif role.is_lost() or (not role.is_pre_vote and role.is_hopeless()):
            self._lose(role)

    def _epoch_answered(self, to: Address, request: Any, response: Any) -> None:
        told, role = make.partition_of(response.topics), self._role
        if told is None or not self._heed(told.leader_epoch, told.leader_id, response.node_endpoints):
            self._outbox.pause(to, self._now_ms)
        elif isinstance(role, Leading) and isinstance(request, m.BeginQuorumEpochRequest):
            role.heard(request.voter_id, self._now_ms)
        elif isinstance(role, Resigned) and (voter := self._voter_at(to)) in role.unaware and voter is not None:
            role.unaware.remove(voter)

    def _fetch_answered(self, to: Address, response: "m.FetchResponse") -> None:
        partition, before = make.partition_of(response.responses), self._role
        told = partition.current_leader if partition is not None else None
        # A leader that does not say where it is (Fetch before v16) is the one that was asked.
        fallback = None if partition is None or partition.error_code else to
        if told is None or not self._heed(told.leader_epoch, told.leader_id, response.node_endpoints, fallback):
            self._refused(to)
            return
        role = self._role
        if partition.error_code:
            if role is before or isinstance(role, Unattached):
                self._fetch_refused(to, partition.error_code)
            return
        effects = None
        if isinstance(role, Following) and role.address == to:
            effects = role.fetched(partition, self.log.end, self.high_watermark)
        if effects is None or not isinstance(role, Following):
            self._refused(to)
            return
        role.has_fetched = True
        role.deadline_ms = self._now_ms + self._timing.fetch_timeout_ms
        self._take(effects)

    def _fetch_refused(self, to: Address, code: int) -> None:
        role = self._role
        if code == ErrorCode.NOT_LEADER_OR_FOLLOWER and isinstance(role, Following) and self.can_stand:
            # It led this epoch and does not any more: it was started anew, or has resigned.
            self._leader_gone(role, self._turn() * ELECTION_STEP_MS)
        self._refused(to)

    def _slice_answered(self, to: Address, response: "m.FetchSnapshotResponse") -> None:
        partition, role = make.partition_of(response.topics), self._role
        told = partition.current_leader if partition is not None else None
        if told is None or not self._heed(told.leader_epoch, told.leader_id, response.node_endpoints):
            self._refused(to)
            return
        if self._role is not role or not isinstance(role, Following) or role.address != to:
            return
        effects = None if partition.error_code else role.got_slice(partition)
        if effects is None:
            role.forget_snapshot()
            self._outbox.pause(to, self._now_ms)
            return
        role.deadline_ms = self._now_ms + self._timing.fetch_timeout_ms
        self._take(effects)

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Committed):
                self._commit(effect.offset)
                continue
            if isinstance(effect, Truncate | InstallSnapshot):
                self._stored = 0  # what was told of the log before says nothing about what it becomes
            self._effects.append(effect)
