"""What a replica of the metadata log is, and how it becomes another thing: the transitions of `Quorum`.

Each transition takes care of the three facts of an epoch that must agree with the quorum-state on the disk: who leads
it, whether it has a leader at all, and whom this replica has voted for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from riverport.base.ids import ZERO_UUID
from riverport.base.rng import Rng
from riverport.kafka.raft.election import Election
from riverport.kafka.raft.events import AppendLeaderChange, Committed, Effect, LostLead, Persist
from riverport.kafka.raft.follower import Following
from riverport.kafka.raft.leader import Leading
from riverport.kafka.raft.outbox import FOREVER, Outbox
from riverport.kafka.raft.requests import LogEnd, Standing
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey, Voter, VoterHistory, VoterSet

PAUSE_BASE_MS = 50
"""The longest first pause after a lost election; it doubles with each further one."""


class Timing(NamedTuple):
    """`controller.quorum.*`, in milliseconds."""

    election_timeout_ms: int = 1000
    election_backoff_max_ms: int = 1000
    fetch_timeout_ms: int = 2000
    retry_backoff_ms: int = 20


class MetadataLog(Protocol):
    """What the quorum has to know of the log that it is about."""

    @property
    def end(self) -> LogEnd: ...


@dataclass(slots=True)
class Unattached:
    """No leader is known, or none that could be asked."""

    deadline_ms: float
    asked: int = 0  # of those who may know, cyclic


@dataclass(slots=True)
class Resigned:
    """The lead of this epoch was given up; the voters that have not confirmed it are told."""

    successors: list[ReplicaKey]
    unaware: list[int]
    deadline_ms: float


Role = Unattached | Election | Following | Leading | Resigned


class Replica:
    """`epoch` never goes back; `high_watermark` neither. `leader_id` is -1 while no leader of the epoch is known."""

    def __init__(
        self,
        own: ReplicaKey,
        cluster_id: str,
        log: MetadataLog,
        voters: VoterHistory,
        rng: Rng,
        state: QuorumState | None = None,
        *,
        endpoints: Iterable[Endpoint] = (),
        bootstrap: Iterable[Address] = (),
        timing: Timing | None = None,
        max_bytes: int = 1024 * 1024,
        kraft_versions: tuple[int, int] = (0, 1),
        auto_join: bool = False,
    ) -> None:
        """`state` is what was persisted last; `endpoints` are this replica's own, where others reach it.

        With `auto_join` a replica without a vote asks for one once it follows (KIP-1186).
        """
        self.own = own
        self.log = log
        self.history = voters
        self.cluster_id = cluster_id
        self.endpoints = tuple(endpoints)
        self.high_watermark = 0
        self.deadline_ms = FOREVER
        self.epoch = 0
        self.leader_id = -1
        self.leader_address: Address | None = None
        self.voted: ReplicaKey | None = None
        self._had_leader = False  # the epoch has one, known to us or not: no vote is given in it
        self._gone_leader = -1  # the epoch's leader, once its process is known to have ended
        self._stored = 0  # the log is kept up to here, as far as this replica was told
        self._rng = rng
        self._timing = timing or Timing()
        self._bootstrap = tuple(bootstrap)
        self._max_bytes = max_bytes
        self._kraft_versions = kraft_versions
        self._auto_join = auto_join
        self._outbox = Outbox(self._timing.retry_backoff_ms)
        self._role: Role = Unattached(FOREVER)
        self._effects: list[Effect] = []
        self._now_ms: float = 0
        if state is not None:
            self.epoch = state.leader_epoch
            self._had_leader = state.leader_id >= 0
            self.voted = ReplicaKey(state.voted_id, state.voted_directory) if state.voted_id >= 0 else None
        if log.end.epoch > self.epoch:
            # The file of an older moment: whatever was voted for then, the log has seen a later epoch's leader.
            self.epoch, self.voted, self._had_leader = log.end.epoch, None, True

    # --- what it is

    @property
    def told_high_watermark(self) -> int:
        """What others are told: -1 from who does not lead, or has committed nothing in its own epoch yet.

        A follower may know of more that is committed than a new leader does; told of less, Apache Kafka's process ends.
        """
        leading = self.leading
        return self.high_watermark if leading is not None and self.high_watermark > leading.epoch_start else -1

    @property
    def voters(self) -> VoterSet:
        return self.history.voters

    @property
    def is_voter(self) -> bool:
        return self.voters.find(self.own) is not None

    @property
    def can_stand(self) -> bool:
        """Whether this replica may ask for votes: a voter, or one whose removal is not known to be committed.

        That one may be alone in having the record that removes it, with a log that its voters cannot do without.
        """
        if self.is_voter:
            return True
        return self.history.offset >= self.high_watermark and self.history.previous.find(self.own) is not None

    @property
    def is_leader(self) -> bool:
        return isinstance(self._role, Leading)

    @property
    def leading(self) -> Leading | None:
        """What the leader of this epoch knows, while this replica is it."""
        return self._role if isinstance(self._role, Leading) else None

    @property
    def is_resigning(self) -> bool:
        """Whether somebody has yet to be told that this replica leads no more."""
        return isinstance(self._role, Resigned) and bool(self._role.unaware)

    @property
    def role(self) -> str:
        """Its name, as a person reads it."""
        if isinstance(self._role, Election):
            return "prospective" if self._role.is_pre_vote else "candidate"
        if isinstance(self._role, Following):
            return "follower" if self.is_voter else "observer"
        names = {Unattached: "unattached", Leading: "leader", Resigned: "resigned"}
        return names[type(self._role)]

    @property
    def standing(self) -> Standing:
        return Standing(self.epoch, self.leader_id, self.leader_address if self.leader_id >= 0 else None)

    @property
    def own_voter(self) -> Voter:
        """This replica as it should stand among the voters."""
        return Voter(self.own, self.endpoints, self._kraft_versions)

    def describe(self) -> dict[str, Any]:
        """The state as a person reads it."""
        return {
            "node": self.own.id,
            "role": self.role,
            "epoch": self.epoch,
            "leader": self.leader_id,
            "committed": self.high_watermark,
        }

    # --- epochs and leaders

    def _learn(self, epoch: int, leader_id: int, address: Address | None) -> None:
        """A message of an epoch not older than ours names its leader, or -1."""
        address = address or self.voters.address_of(leader_id)
        is_news = epoch > self.epoch or (self.leader_id < 0 and not isinstance(self._role, Leading | Resigned))
        if leader_id >= 0 and leader_id != self.own.id and address is not None:
            # Of two leaders in one epoch the first is believed; there are none unless somebody's disk has forgotten.
            if is_news:
                self._follow(epoch, leader_id, address)
        elif epoch > self.epoch:
            self._unattach(epoch)

    def _begin_epoch(self, epoch: int) -> None:
        assert epoch >= self.epoch, (epoch, self.epoch)
        if epoch > self.epoch:
            self.epoch, self.voted, self._had_leader, self._gone_leader = epoch, None, False, -1
        self.leader_id, self.leader_address = -1, None

    def _leave_role(self) -> None:
        self._outbox.forget()
        if isinstance(self._role, Leading):
            self._effects.append(LostLead())

    def _unattach(self, epoch: int) -> None:
        self._leave_role()
        is_new = epoch > self.epoch
        self._begin_epoch(epoch)
        self._role = Unattached(self._election_deadline())
        if is_new:
            self._persist()

    def _follow(self, epoch: int, leader_id: int, address: Address) -> None:
        self._leave_role()
        self._begin_epoch(epoch)
        self.leader_id, self.leader_address = leader_id, address
        self.voted, self._had_leader = None, True
        role = Following(leader_id, address, self._now_ms + self._timing.fetch_timeout_ms)
        role.is_storing = self._stored < self.log.end.offset
        self._role = role
        self._persist()

    def _leader_gone(self, role: Following, delay_ms: float) -> None:
        """The leader's process has ended, or it has resigned: it never leads this epoch again."""
        self._gone_leader = role.leader_id
        role.has_fetched = False
        role.deadline_ms = min(role.deadline_ms, self._now_ms + delay_ms)

    def _ask_others(self) -> None:
        """A replica without a vote has lost its leader, or asked somebody who knows none."""
        role = self._role
        self.leader_id, self.leader_address = -1, None
        if isinstance(role, Unattached):
            self._role = Unattached(role.deadline_ms, role.asked + 1)
        else:
            self._role = Unattached(self._election_deadline())

    def _persist(self) -> None:
        data_version = min(self.history.kraft_version, 1)
        voted = self.voted or ReplicaKey(-1)
        self._effects.append(
            Persist(
                QuorumState(
                    self.leader_id,
                    self.epoch,
                    voted.id,
                    voted.directory if data_version else ZERO_UUID,
                    voters=self.voters.ids if data_version == 0 else (),
                    data_version=data_version,
                )
            )
        )

    # --- elections

    def _election_deadline(self) -> float:
        timeout_ms = self._timing.election_timeout_ms
        return self._now_ms + timeout_ms + self._rng.randrange(max(timeout_ms, 1))

    def _vote(self, candidate: ReplicaKey) -> None:
        """Give this epoch's vote, and wait a whole election for the outcome."""
        self.voted = candidate
        self._outbox.forget()
        self._role = Unattached(self._election_deadline())
        self._persist()

    def _become_prospective(self, retries: int = 0) -> None:
        self._outbox.forget()
        self.leader_id, self.leader_address = -1, None
        deadline_ms = self._election_deadline()
        self._role = Election(self.own.id, self.voters, deadline_ms, is_pre_vote=True, retries=retries)
        if self._role.is_won():
            self._become_candidate(retries)

    def _become_candidate(self, retries: int) -> None:
        self._leave_role()
        self._begin_epoch(self.epoch + 1)
        self.voted = self.own
        role = Election(self.own.id, self.voters, self._election_deadline(), is_pre_vote=False, retries=retries + 1)
        self._role = role
        if role.is_won():
            self._lead(role.granting)
        else:
            self._persist()

    def _lead(self, granting: tuple[int, ...]) -> None:
        self._outbox.forget()
        self.leader_id, self.voted, self._had_leader = self.own.id, None, True
        self.leader_address = Address(self.endpoints[0].host, self.endpoints[0].port) if self.endpoints else None
        fetch_timeout_ms = self._timing.fetch_timeout_ms
        self._role = Leading(self.own, self.log.end.offset, self.voters, fetch_timeout_ms, self._now_ms)
        if not self.is_voter:
            self._role.resigns_after = self.log.end.offset
        self._persist()
        self._effects.append(AppendLeaderChange(self.epoch, self.voters.ids, granting))

    def _lose(self, role: Election) -> None:
        """Wait a random while before trying again, longer each time, so that two candidates do not keep colliding."""
        longest = min(PAUSE_BASE_MS << min(role.retries, 10), self._timing.election_backoff_max_ms)
        role.pause_until_ms = self._now_ms + self._rng.randrange(max(longest, 1))

    def _resign(self, role: Leading) -> None:
        self._leave_role()
        self.leader_id, self.leader_address = -1, None
        successors = role.successors()
        self._role = Resigned(successors, [key.id for key in successors], self._election_deadline())

    # --- commits

    def _count(self, role: Leading) -> None:
        """Commit what a majority of voters has."""
        offset = role.high_watermark()
        if offset is not None:
            self._commit(min(offset, self.log.end.offset))
        if role.resigns_after is not None and self.high_watermark > role.resigns_after:
            self._resign(role)

    def _commit(self, offset: int) -> None:
        if offset > self.high_watermark:
            self.high_watermark = offset
            self._effects.append(Committed(offset))
