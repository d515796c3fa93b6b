"""Replicas of a metadata log without sockets, disks or time: what tests of the quorum are made of."""

from dataclasses import dataclass, field
from typing import Any

from riverport.base.rng import seeded_rng
from riverport.kafka.raft.events import Effect, Input, Send, Started
from riverport.kafka.raft.quorum import Quorum
from riverport.kafka.raft.requests import LogEnd
from riverport.kafka.raft.roles import Timing
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey, Voter, VoterHistory, VoterSet

CLUSTER = "cluster"


def directory(id_: int) -> bytes:
    return id_.to_bytes(16, "big")


def address(id_: int) -> Address:
    return Address(f"node-{id_}", 9000 + id_)


def voter_set(*ids: int, dynamic: bool = False) -> VoterSet:
    return VoterSet(
        Voter(
            ReplicaKey(id_, directory(id_)) if dynamic else ReplicaKey(id_),
            (Endpoint("C", *address(id_)),),
            (0, 1) if dynamic else (0, 0),
        )
        for id_ in ids
    )


@dataclass
class PlainLog:
    """A log as far as the quorum looks at it."""

    end: LogEnd = field(default_factory=lambda: LogEnd(0, 0))


class Replica:
    """One quorum that is fed by hand; `sent` are the requests of the last step, by the address that they go to."""

    def __init__(
        self,
        id_: int,
        *voters: int,
        state: QuorumState | None = None,
        end: LogEnd | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.log = PlainLog(end or LogEnd(0, 0))
        self.history = VoterHistory(voter_set(*voters))
        self.quorum = Quorum(
            ReplicaKey(id_, directory(id_)),
            CLUSTER,
            self.log,
            self.history,
            seeded_rng(id_),
            state,
            endpoints=[Endpoint("C", *address(id_))],
            timing=timing,
        )
        self.now_ms = 0.0
        self.effects: list[Effect] = []
        self.sent: dict[Address, Send] = {}

    def step(self, event: Input, *, after_ms: float = 0) -> list[Effect]:
        self.now_ms += after_ms
        self.effects = self.quorum.step(self.now_ms, event)
        self.sent = {effect.to: effect for effect in self.effects if isinstance(effect, Send)}
        return self.effects

    def start(self) -> list[Effect]:
        return self.step(Started())

    def of(self, kind: Any) -> list[Any]:
        """The effects of one kind of the last step."""
        return [effect for effect in self.effects if isinstance(effect, kind)]
