"""The lead of one epoch: how far each replica is, what that commits, and whether a majority still listens.

The high watermark is the greatest offset that a majority has, and moves only once that lies in this epoch: records of
earlier epochs are committed with the first record of this one, never by counting (KIP-595, and Raft 5.4.2).
"""

from dataclasses import dataclass

from riverport.base.ids import ZERO_UUID
from riverport.kafka.raft.outbox import FOREVER
from riverport.kafka.raft.voters import ReplicaKey, VoterSet

CHECK_QUORUM_FACTOR = 1.5
"""Fetch timeouts without a majority of fetches after which a leader resigns."""
OBSERVER_SESSION_MS = 300_000
"""Replicas without a vote that have not fetched for so long are no longer known."""
CAUGHT_UP_WITHIN_MS = 3_600_000
"""A replica that was level with the log this lately may become a voter."""


@dataclass(slots=True)
class Progress:
    """One replica as the leader sees it. Times are of the wall clock, -1 for never."""

    key: ReplicaKey
    directory: bytes = ZERO_UUID  # as it told with its last fetch, also where voters are known by their ids alone
    log_end: int = -1
    last_fetch_ms: int = -1
    last_caught_up_ms: int = -1
    leader_end: int = -1  # this log's end at the replica's last fetch

    def fetched(self, offset: int, leader_end: int, wall_ms: int) -> None:
        if offset >= leader_end:
            self.last_caught_up_ms = max(self.last_caught_up_ms, wall_ms)
        elif 0 < self.leader_end <= offset:
            # It has now what there was when it asked before: it was level with the log at that time.
            self.last_caught_up_ms = max(self.last_caught_up_ms, self.last_fetch_ms)
        self.leader_end = leader_end
        self.last_fetch_ms = max(self.last_fetch_ms, wall_ms)
        self.log_end = offset


class Leading:
    """`own` is the leader's key; it need not be among the voters while its removal is being committed."""

    def __init__(
        self, own: ReplicaKey, epoch_start: int, voters: VoterSet, fetch_timeout_ms: int, now_ms: float
    ) -> None:
        self.own = own
        self.epoch_start = epoch_start
        self.voters: dict[int, Progress] = {}
        self.observers: dict[ReplicaKey, Progress] = {}
        self.begin_due_ms: dict[int, float] = {}  # when a voter is told of this epoch again, by its id
        self.resigns_after: int | None = None  # the lead ends once this offset is committed: the leader has no vote
        self._begin_every_ms = fetch_timeout_ms / 2
        self._check_every_ms = fetch_timeout_ms * CHECK_QUORUM_FACTOR
        self._check_due_ms: float = 0
        self._fetched_lately: set[int] = set()
        self.voters_changed(voters, now_ms)

    # --- the voters

    def voters_changed(self, voters: VoterSet, now_ms: float) -> None:
        """The newest set counts. Who loses a vote is an observer from now on, and the reverse."""
        self._check_due_ms = now_ms + self._check_every_ms  # a voter that is new has not had time to fetch as one
        before, self.voters = self.voters, {}
        for voter in voters:
            known = before.pop(voter.key.id, None)
            if known is None or not voter.key.covers(known.key):
                if known is not None:
                    self.observers.setdefault(known.key, known)
                known = self.observers.pop(voter.key, None) or Progress(voter.key)
            self.voters[voter.key.id] = known
            self.begin_due_ms.setdefault(voter.key.id, 0)
        for lost in before.values():
            self.observers.setdefault(lost.key, lost)
        for id_ in [id_ for id_ in self.begin_due_ms if id_ not in self.voters]:
            del self.begin_due_ms[id_]
        self.begin_due_ms.pop(self.own.id, None)
        self._fetched_lately &= self.voters.keys()

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    def is_own_voter(self) -> bool:
        own = self.voters.get(self.own.id)
        return own is not None and own.key.covers(self.own)

    # --- progress

    def stored(self, offset: int) -> None:
        """The leader's own log is on its disk up to here."""
        own = self.voters.get(self.own.id)
        if own is not None:
            own.log_end = max(own.log_end, offset)

    def fetched(self, key: ReplicaKey, offset: int, leader_end: int, *, wall_ms: int, now_ms: float) -> None:
        progress = self.voters.get(key.id)
        if progress is None or not progress.key.covers(key):
            self.observers.setdefault(key, Progress(key)).fetched(offset, leader_end, wall_ms)
            self._forget_observers(wall_ms)
            return
        progress.fetched(offset, leader_end, wall_ms)
        progress.directory = key.directory
        self.listens(key, now_ms)

    def listens(self, key: ReplicaKey, now_ms: float) -> None:
        """A replica has fetched something: a voter that does counts among those that still listen."""
        progress = self.voters.get(key.id)
        if progress is None or not progress.key.covers(key):
            return
        self.heard(key.id, now_ms)
        self._fetched_lately.add(key.id)
        if len(self._fetched_lately) >= self.majority - self.is_own_voter():
            self._fetched_lately.clear()
            self._check_due_ms = now_ms + self._check_every_ms

    def _forget_observers(self, wall_ms: int) -> None:
        oldest = wall_ms - OBSERVER_SESSION_MS
        for key in [key for key, progress in self.observers.items() if progress.last_fetch_ms < oldest]:
            del self.observers[key]

    def high_watermark(self) -> int | None:
        """What a majority has, None while that is not known to be safe."""
        ends = sorted((progress.log_end for progress in self.voters.values()), reverse=True)
        offset = ends[self.majority - 1] if ends else -1
        return offset if offset > self.epoch_start else None

    def is_caught_up(self, key: ReplicaKey, wall_ms: int) -> bool:
        """Whether a replica without a vote may get one: it was level with the log, and lately."""
        progress = self.observers.get(key)
        if progress is None or progress.last_caught_up_ms <= 0:
            return False
        return progress.last_fetch_ms > wall_ms - CAUGHT_UP_WITHIN_MS

    # --- time

    def check_due_ms(self) -> float:
        """When the lead ends unless a majority fetches; never with a single voter."""
        return FOREVER if self.voters.keys() <= {self.own.id} else self._check_due_ms

    def heard(self, voter_id: int, now_ms: float) -> None:
        """A voter knows that this replica leads: it need not be told for a while."""
        if voter_id in self.begin_due_ms:
            self.begin_due_ms[voter_id] = now_ms + self._begin_every_ms

    def successors(self) -> list[ReplicaKey]:
        """The other voters, those with the longest log first."""
        others = [progress for progress in self.voters.values() if progress.key.id != self.own.id]
        return [progress.key for progress in sorted(others, key=lambda p: (-p.log_end, p.key))]
