"""One partition that this broker replicates from its leader, as its fetcher sees it."""

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riverport.kafka.replica.partition import Partition

FIRST_BACKOFF_MS = 20
"""After an error; each further one doubles it up to `replica.fetch.backoff.ms`. A leader that has not read its own
election yet is as a rule some milliseconds behind."""


class State(Enum):
    """
    FETCHING   in the leader's session, or about to be
    SEEKING    its offset is out of the leader's range: the leader's end is asked for (ListOffsets)
    STARTING   as before; the end is above ours, so the leader's start decides
    DELAYED    after an error, or throttled: left out until a time
    FAILED     the leader, or our disk, has refused it: left out until the metadata says something new
    """

    FETCHING = 0
    SEEKING = 1
    STARTING = 2
    DELAYED = 3
    FAILED = 4


class Followed:
    """Good for one leader epoch: with the next one another takes its place.

    `asked_offset` and `asked_start` are where the leader's session has this replica since the request number `asked_in`
    (-1: it does not know it).
    """

    __slots__ = (
        "asked_in",
        "asked_offset",
        "asked_start",
        "backoff_ms",
        "due_ms",
        "leader_epoch",
        "partition",
        "state",
    )

    def __init__(self, partition: "Partition") -> None:
        self.partition = partition
        self.leader_epoch = partition.leader_epoch
        self.state = State.FETCHING
        self.asked_in = -1
        self.asked_offset = -1
        self.asked_start = -1
        self.backoff_ms = 0
        self.due_ms = 0.0  # while DELAYED

    def __repr__(self) -> str:
        return f"{self.partition} {self.state.name} in epoch {self.leader_epoch}"

    @property
    def key(self) -> tuple[bytes, int]:
        return self.partition.topic_id, self.partition.index
