"""Bugs that are put into the production code of this process, to see whether the simulation finds them.

    ack-before-replication   Produce with acks=all is answered before any follower has the records
    elect-outside-isr        whoever is alive may lead a partition, whatever it has of it
    skip-epoch-truncation    nobody tells a follower that its log has parted from the leader's
    vote-twice               a voter forgets with its process whom it voted for
    fence-by-rumour          a broker is taken for dead when a connection of it ends
    forget-commits           a coordinator that takes over a partition reads its groups and not their offsets

They replace functions of loaded modules; the production code knows nothing of them.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from riverport.kafka.controller.partition_change import PartitionChange
from riverport.kafka.controller.registrations import NO_LEADER
from riverport.kafka.groups.coordinator import Coordinator
from riverport.kafka.raft import state
from riverport.kafka.server import acknowledgements, follower_fetch, metadata_shell, produce_lane
from riverport.kafka.server.broker_watch import BrokerWatch


def plant(name: str | None) -> None:
    """The production code of this process has this bug from now on, or none."""
    if name is not None:
        PLANTS[name]()


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The production code of this process has this bug, or none, while the block runs."""
    plant(name)
    try:
        yield
    finally:
        while _replaced:
            where, attribute, original = _replaced.pop()
            setattr(where, attribute, original)


_replaced: list[tuple[Any, str, Any]] = []


def _ack_before_replication() -> None:
    def settle_at_once(queue: Any, offset: int, waiting: Any, answer: Any) -> None:
        waiting.settle(answer, 0)

    _put(acknowledgements, "wait_in", settle_at_once)
    _put(produce_lane, "wait_in", settle_at_once)


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


def _forget_commits() -> None:
    read = Coordinator.replay_bytes

    def read_groups(self: Coordinator, key: Any, value: Any, offset: int, producer_id: int = -1) -> None:
        if bytes(key[:2]) == b"\0\2":  # the key of a group
            read(self, key, value, offset, producer_id)

    _put(Coordinator, "replay_bytes", read_groups)


def _put(where: Any, name: str, what: Any) -> None:
    assert hasattr(where, name), f"{where} has no {name} any more: this bug must be planted elsewhere"
    _replaced.append((where, name, getattr(where, name)))
    setattr(where, name, what)


PLANTS: dict[str, Callable[[], None]] = {
    "ack-before-replication": _ack_before_replication,
    "elect-outside-isr": _elect_outside_isr,
    "skip-epoch-truncation": _skip_epoch_truncation,
    "vote-twice": _vote_twice,
    "fence-by-rumour": _fence_by_rumour,
    "forget-commits": _forget_commits,
}
