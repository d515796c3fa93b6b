"""One round of an election: who was asked, who said yes, and whether it can still be won."""

from riverport.kafka.raft.voters import VoterSet


class Election:
    """Of a prospective, which only asks whether it would be elected (KIP-996), or of a candidate in a new epoch."""

    def __init__(self, own_id: int, voters: VoterSet, deadline_ms: float, *, is_pre_vote: bool, retries: int) -> None:
        self.is_pre_vote = is_pre_vote
        self.deadline_ms = deadline_ms
        self.retries = retries
        self.pause_until_ms: float | None = None  # it is lost; until then nobody is asked again
        self._majority = voters.majority
        self._said: dict[int, bool | None] = dict.fromkeys(voters.ids)  # None: not yet
        self._unreachable: set[int] = set()
        if own_id in self._said:
            self._said[own_id] = True

    def record(self, voter_id: int, granted: bool) -> None:
        if voter_id in self._said:
            self._said[voter_id] = granted
            self._unreachable.discard(voter_id)

    def unreachable(self, voter_id: int) -> None:
        """A voter's address refuses: it will not answer soon."""
        if self._said.get(voter_id, True) is None:
            self._unreachable.add(voter_id)

    @property
    def granting(self) -> tuple[int, ...]:
        return tuple(id_ for id_, said in self._said.items() if said)

    @property
    def unanswered(self) -> list[int]:
        return [id_ for id_, said in self._said.items() if said is None]

    def is_won(self) -> bool:
        return len(self.granting) >= self._majority

    def is_lost(self) -> bool:
        """Whether too many said no."""
        return len(self.granting) + len(self.unanswered) < self._majority

    def is_hopeless(self) -> bool:
        """Whether, of those that did not say no, too many are not there at all."""
        return len(self.granting) + len(self.unanswered) - len(self._unreachable) < self._majority
