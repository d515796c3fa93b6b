"""One change of one partition: who is in sync, who leads, who could lead (KIP-455, KIP-841, KIP-966).

What is wanted goes into the `target` fields; `record` works out the rest, in this order:

    a move whose target is in sync is over      removing ones go, adding ones stay
    eligible leaders (ELR)                      who left an ISR that is now below min.insync.replicas: they have it all
    a leader                                    the present one while it can, else the first replica that can
    the leader epoch                            ends with every change of leader, and where a replica is taken away

With ELR the ISR may be empty, and the last leader is remembered (`last_known_elr`): it alone can go on without loss.
Without it the last in-sync replica stays in the ISR, leading or not.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from riverport.kafka.controller.placement import MIGRATING_DIRECTORY
from riverport.kafka.controller.registrations import NO_LEADER, NO_LEADER_CHANGE, PartitionRegistration
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.controller.policies import TopicPolicy

RECOVERED, RECOVERING = 0, 1
"""leader_recovery_state: RECOVERING from an unclean election until the new leader has said otherwise."""
_KEEPS_EPOCH_ON_SHRINK = 12
"""The metadata.version (3.6-IV0) before which brokers need a new leader epoch when the ISR shrinks (KAFKA-15021)."""
_DIRECTORIES_SINCE = 17


class Election(Enum):
    """What a leader is chosen for."""

    PREFERRED = "preferred"  # the first replica, if it can
    ONLINE = "online"  # anybody who has all, the present leader first
    UNCLEAN = "unclean"  # anybody, where nobody has all


class PartitionChange:
    """A change that is being decided. Plain slots and a constructor by hand: a broker's failure makes thousands.

    `may_lead(id)` tells whether a broker could lead now, apart from what it has of the partition.
    """

    __slots__ = (
        "adding",
        "assigned",
        "election",
        "isr",
        "may_lead",
        "partition",
        "policy",
        "recovery",
        "removing",
        "replicas",
        "unclean_shutdown",
    )

    def __init__(
        self, partition: PartitionRegistration, policy: "TopicPolicy", may_lead: Callable[[int], bool]
    ) -> None:
        self.partition = partition
        self.policy = policy
        self.may_lead = may_lead
        self.election = Election.ONLINE
        self.unclean_shutdown = NO_LEADER  # a broker that came up without what it had
        self.isr = partition.isr
        self.replicas = partition.replicas
        self.adding = partition.adding
        self.removing = partition.removing
        self.recovery = partition.recovering
        self.assigned: dict[int, bytes] = {}  # directories that brokers have told now

    def record(self, topic_id: bytes, index: int) -> m.PartitionChangeRecord | None:
        """The record of the change, None where everything is as it shall be."""
        old, record, has_elr = self.partition, m.PartitionChangeRecord(index, topic_id), self.policy.has_elr
        if self.adding or self.removing:
            self._complete_move()
        elr = self._eligible()
        leader, unclean = self._elected(elr)
        if leader != old.leader:
            record.leader = leader
            if unclean or leader in elr:
                self.isr, elr = (leader,), () if unclean else tuple(id_ for id_ in elr if id_ != leader)
            if unclean and old.recovering != RECOVERING:
                record.leader_recovery_state = RECOVERING
        elif _lacks(self.replicas, old.replicas):
            record.leader = old.leader
        if elr != old.elr:
            record.eligible_leader_replicas = list(elr)
        if self.isr != old.isr and (self.isr or has_elr):
            record.isr = list(self.isr)
            if self.policy.level < _KEEPS_EPOCH_ON_SHRINK and leader == old.leader and _lacks(self.isr, old.isr):
                record.leader = old.leader
        self._note_last_leader(record)
        self._note_assignment(record)
        if self.recovery != old.recovering:
            record.leader_recovery_state = self.recovery
        return None if _says_nothing(record) else record

    def _complete_move(self) -> None:
        isr = tuple(id_ for id_ in self.isr if id_ not in self.removing)
        replicas = tuple(id_ for id_ in self.replicas if id_ not in self.removing)
        if isr and replicas and set(replicas) <= set(isr):
            self.isr, self.replicas, self.adding, self.removing = isr, replicas, (), ()

    def _eligible(self) -> tuple[int, ...]:
        if not self.policy.has_elr or len(self.isr) >= self.policy.min_isr:
            return ()
        gone = {*self.isr, self.unclean_shutdown}
        return tuple(sorted({*self.partition.elr, *self.partition.isr} & set(self.replicas) - gone))

    # --- the leader

    def _elected(self, elr: tuple[int, ...]) -> tuple[int, bool]:
        """(leader, whether it may miss what was committed)."""
        eligible, may_lead, present = self.isr or elr, self.may_lead, self.partition.leader
        if self.election is Election.PREFERRED:
            first = self.replicas[0]
            if first in eligible and may_lead(first):
                return first, False
        if present in eligible and present in self.replicas and may_lead(present):
            return present, False
        for id_ in self.replicas:
            if id_ in eligible and may_lead(id_):
                return id_, False
        last = self.partition.last_known_elr
        if self.policy.has_elr and not eligible and len(last) == 1 and last[0] in self.replicas and may_lead(last[0]):
            return last[0], True
        if self.election is Election.UNCLEAN:
            return next(((id_, True) for id_ in self.replicas if may_lead(id_)), (NO_LEADER, False))
        return NO_LEADER, False

    def _note_last_leader(self, record: m.PartitionChangeRecord) -> None:
        old = self.partition
        if not self.policy.has_elr:
            if old.last_known_elr:
                record.last_known_elr = []
        elif record.isr == [] and old.leader != NO_LEADER:
            if old.last_known_elr != (old.leader,):
                record.last_known_elr = [old.leader]
        elif old.last_known_elr and (old.leader if record.leader == NO_LEADER_CHANGE else record.leader) != NO_LEADER:
            record.last_known_elr = []

    def _note_assignment(self, record: m.PartitionChangeRecord) -> None:
        old = self.partition
        if self.policy.level >= _DIRECTORIES_SINCE and (self.assigned or self.replicas != old.replicas):
            before = _directories(old)
            known = {**dict(zip(old.replicas, before, strict=True)), **self.assigned}
            given = [known.get(id_) or self.policy.default_directory(id_) for id_ in self.replicas]
            if given != list(before):
                record.directories = given
        if self.replicas != old.replicas:
            record.replicas = list(self.replicas)
        if self.removing != old.removing:
            record.removing_replicas = list(self.removing)
        if self.adding != old.adding:
            record.adding_replicas = list(self.adding)


def _lacks(members: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether anybody of `before` is missing."""
    return members != before and not set(before) <= set(members)


def _says_nothing(r: m.PartitionChangeRecord) -> bool:
    return (
        r.leader == NO_LEADER_CHANGE
        and r.leader_recovery_state == -1
        and r.isr is r.eligible_leader_replicas is r.last_known_elr is None
        and r.replicas is r.adding_replicas is r.removing_replicas is None
        and r.directories is None
    )


def _directories(partition: PartitionRegistration) -> tuple[bytes, ...]:
    """A partition from before directories were known says of none where it lies."""
    return partition.directories or (MIGRATING_DIRECTORY,) * len(partition.replicas)
