"""Bugs that are put into the production code of this process, to see whether the simulation finds them.

    ack-before-replication   Produce with acks=all is answered before any follower has the records
    elect-outside-isr        whoever is alive may lead a partition, whatever it has of it
    skip-epoch-truncation    nobody tells a follower that its log has parted from the leader's
    vote-twice               a voter forgets with its process whom it voted for
    fence-by-rumour          a broker is taken for dead when a connection of it ends

They replace functions of loaded modules; the production code knows nothing of them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from riverport.kafka.controller.image import NO_LEADER
from riverport.kafka.controller.partition_change import PartitionChange
from riverport.kafka.raft import state
from riverport.kafka.server import follower_fetch, metadata_shell
from riverport.kafka.server.acknowledgements import WaitingRequest
from riverport.kafka.server.broker_watch import BrokerWatch


def plant(name: str) -> None:
    """From now on, the production code of this process has this bug."""
    PLANTS[name]()


def _ack_before_replication() -> None:
    begin = WaitingRequest.__init__

    def begin_and_answer(self: WaitingRequest, loop: Any, parts: list[Any], timeout_ms: int, respond: Any) -> None:
        begin(self, loop, parts, timeout_ms, respond)
        for queue, _, answer in parts:
            queue[:] = [entry for entry in queue if entry[2] is not answer]
            self.settle(answer, 0)

    _put(WaitingRequest, "__init__", begin_and_answer)


def _elect_outside_isr() -> None:
    def elected(self: PartitionChange, elr: tuple[int, ...]) -> tuple[int, bool]:
        alive = [id_ for id_ in self.replicas if self.may_lead(id_)]
        present = self.partition.leader
        if present in alive and present in self.isr:
            return present, False
        return (alive[0], False) if alive else (NO_LEADER, False)

    _put(PartitionChange, "_elected", elected)


def _skip_epoch_truncation() -> None:
    _put(follower_fetch, "diverging", lambda log, item: None)


def _vote_twice() -> None:
    read = state.read_state

    def read_without_vote(files: Any, dir: str) -> state.QuorumState | None:
        found = read(files, dir)
        return None if found is None else replace(found, voted_id=-1)

    _put(metadata_shell, "read_state", read_without_vote)


def _fence_by_rumour() -> None:
    async def refuses(self: BrokerWatch, node: Any, host: str | None = None) -> bool:
        return True

    _put(BrokerWatch, "_refuses", refuses)


def _put(where: Any, name: str, what: Any) -> None:
    assert hasattr(where, name), f"{where} has no {name} any more: this bug must be planted elsewhere"
    setattr(where, name, what)


PLANTS: dict[str, Callable[[], None]] = {
    "ack-before-replication": _ack_before_replication,
    "elect-outside-isr": _elect_outside_isr,
    "skip-epoch-truncation": _skip_epoch_truncation,
    "vote-twice": _vote_twice,
    "fence-by-rumour": _fence_by_rumour,
}
