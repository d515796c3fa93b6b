"""Who votes: the keys and addresses of replicas, and the sets of voters that a log has named (KIP-853).

A replica is an id and, with kraft.version 1, the id of its directory: a node whose disk was replaced is another voter.
Voters of a static quorum are known by their ids alone. The newest set in the log counts, committed or not; a truncated
log goes back to the one before.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from riverport.base.ids import ZERO_UUID
from riverport.kafka.wire import messages as m


class Address(NamedTuple):
    host: str
    port: int


class ReplicaKey(NamedTuple):
    """`directory` is all zeros where it is not known: such a key stands for whoever has the id."""

    id: int
    directory: bytes = ZERO_UUID

    def covers(self, other: "ReplicaKey") -> bool:
        """Whether `other` is the replica that this key stands for."""
        return self.id == other.id and (self.directory in (ZERO_UUID, other.directory))


class Endpoint(NamedTuple):
    """Where a voter listens, by the name of the listener."""

    name: str
    host: str
    port: int


class Voter(NamedTuple):
    key: ReplicaKey
    endpoints: tuple[Endpoint, ...]
    kraft_versions: tuple[int, int] = (0, 0)

    @property
    def address(self) -> Address:
        """Where the other voters reach it: its first endpoint, which is that of the listener that controllers use."""
        return Address(self.endpoints[0].host, self.endpoints[0].port)


class VoterSet:
    """Voters by id; never changes."""

    __slots__ = ("_voters",)

    def __init__(self, voters: Iterable[Voter] = ()) -> None:
        self._voters = {voter.key.id: voter for voter in sorted(voters)}

    def __iter__(self) -> Iterator[Voter]:
        return iter(self._voters.values())

    def __len__(self) -> int:
        return len(self._voters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VoterSet) and self._voters == other._voters

    def __hash__(self) -> int:
        return hash(tuple(self._voters))

    def __repr__(self) -> str:
        return f"VoterSet({', '.join(str(id_) for id_ in self._voters)})"

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(self._voters)

    @property
    def majority(self) -> int:
        return len(self._voters) // 2 + 1

    def get(self, id_: int) -> Voter | None:
        return self._voters.get(id_)

    def find(self, key: ReplicaKey) -> Voter | None:
        """The voter that a replica is, None for an observer, which may be one with a voter's id."""
        voter = self._voters.get(key.id)
        return voter if voter is not None and voter.key.covers(key) else None

    def address_of(self, id_: int) -> Address | None:
        voter = self._voters.get(id_)
        return voter.address if voter is not None and voter.endpoints else None

    def with_voter(self, voter: Voter) -> "VoterSet":
        """This set and one more, or with a newer word of one."""
        return VoterSet([*(known for known in self if known.key.id != voter.key.id), voter])

    def without(self, id_: int) -> "VoterSet":
        return VoterSet(known for known in self if known.key.id != id_)

    def record(self) -> m.VotersRecord:
        """As the log and checkpoints have it."""
        of = m.VotersRecord
        return of(
            0,
            [
                of.Voter(
                    voter.key.id,
                    voter.key.directory,
                    [of.Endpoint(*endpoint) for endpoint in voter.endpoints],
                    of.KRaftVersionFeature(*voter.kraft_versions),
                )
                for voter in self
            ],
        )


def voters_of(record: Any) -> VoterSet:
    """The set that a VotersRecord names."""
    return VoterSet(
        Voter(
            ReplicaKey(voter.voter_id, bytes(voter.voter_directory_id)),
            tuple(Endpoint(e.name, e.host, e.port) for e in voter.endpoints),
            (voter.k_raft_version_feature.min_supported_version, voter.k_raft_version_feature.max_supported_version),
        )
        for voter in record.voters
    )


def static_voters(addresses: Iterable[tuple[int, Address]], listener: str) -> VoterSet:
    """The set that `controller.quorum.voters` names."""
    return VoterSet(Voter(ReplicaKey(id_), (Endpoint(listener, *address),)) for id_, address in addresses)


class VoterHistory:
    """The sets of voters and the kraft.versions that the log has named, by the offset of each.

    What lies in a checkpoint has the offset -1, as has the static set.
    """

    def __init__(self, static: VoterSet) -> None:
        self._static = static
        self._sets: list[tuple[int, VoterSet]] = []
        self._versions: list[tuple[int, int]] = []

    @property
    def voters(self) -> VoterSet:
        return self._sets[-1][1] if self._sets else self._static

    @property
    def previous(self) -> VoterSet:
        """The set before the newest, as far as that is known."""
        return self._sets[-2][1] if len(self._sets) > 1 else self._static

    @property
    def offset(self) -> int:
        """Where the newest set was written."""
        return self._sets[-1][0] if self._sets else -1

    @property
    def kraft_version(self) -> int:
        return self._versions[-1][1] if self._versions else 0

    def begin(self, kraft_version: int, voters: VoterSet | None) -> None:
        """Everything is forgotten, a checkpoint says what holds."""
        self._sets = [] if voters is None else [(-1, voters)]
        self._versions = [(-1, kraft_version)] if kraft_version else []

    def note(self, offset: int, message: Any) -> None:
        """Take a control record of the log; others than those about voters say nothing here."""
        match message:
            case m.KRaftVersionRecord():
                self._versions.append((offset, message.k_raft_version))
            case m.VotersRecord():
                self._sets.append((offset, voters_of(message)))

    def truncate_to(self, offset: int) -> None:
        """What was named at `offset` or later never happened."""
        self._sets = [entry for entry in self._sets if entry[0] < offset]
        self._versions = [entry for entry in self._versions if entry[0] < offset]

    def at(self, offset: int) -> tuple[int, VoterSet | None]:
        """(kraft.version, voters) below an offset; None where the log has named none."""
        version = next((version for at, version in reversed(self._versions) if at < offset), 0)
        voters = next((voters for at, voters in reversed(self._sets) if at < offset), None)
        return version, voters
