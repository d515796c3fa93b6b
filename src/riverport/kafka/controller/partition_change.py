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
from dataclasses import dataclass, field
from enum import Enum

from riverport.kafka.controller.image import NO_LEADER, NO_LEADER_CHANGE, PartitionRegistration
from riverport.kafka.controller.placement import MIGRATING_DIRECTORY
from riverport.kafka.wire import messages as m

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


@dataclass(slots=True)
class PartitionChange:
    """`may_lead(id)`: whether a broker could lead now, apart from what it has of the partition."""

    partition: PartitionRegistration
    may_lead: Callable[[int], bool]
    default_directory: Callable[[int], bytes]
    min_isr: int
    has_elr: bool
    level: int  # metadata.version
    election: Election = Election.ONLINE
    unclean_shutdown: int = -1  # a broker that came up without what it had
    isr: tuple[int, ...] = field(init=False)
    replicas: tuple[int, ...] = field(init=False)
    adding: tuple[int, ...] = field(init=False)
    removing: tuple[int, ...] = field(init=False)
    directories: dict[int, bytes] = field(init=False)
    recovery: int = field(init=False)

    def __post_init__(self) -> None:
        old = self.partition
        self.isr, self.replicas, self.adding, self.removing = old.isr, old.replicas, old.adding, old.removing
        self.directories = dict(zip(old.replicas, _directories(old), strict=True))
        self.recovery = old.recovering

    def record(self, topic_id: bytes, index: int) -> m.PartitionChangeRecord | None:
        """The record of the change, None where everything is as it shall be."""
        old, record = self.partition, m.PartitionChangeRecord(index, topic_id)
        self._complete_move()
        elr = self._eligible()
        leader, unclean = self._elected(elr)
        if leader != old.leader:
            record.leader = leader
            if unclean or leader in elr:
                self.isr, elr = (leader,), () if unclean else tuple(id_ for id_ in elr if id_ != leader)
            if unclean and old.recovering != RECOVERING:
                record.leader_recovery_state = RECOVERING
        elif not set(old.replicas) <= set(self.replicas):
            record.leader = old.leader
        if elr != old.elr:
            record.eligible_leader_replicas = list(elr)
        if self.isr != old.isr and (self.isr or self.has_elr):
            record.isr = list(self.isr)
        if self.level < _KEEPS_EPOCH_ON_SHRINK and record.leader == NO_LEADER_CHANGE and record.isr is not None:
            record.leader = NO_LEADER_CHANGE if set(old.isr) <= set(self.isr) else old.leader
        self._note_last_leader(record)
        self._note_assignment(record)
        if self.recovery != old.recovering:
            record.leader_recovery_state = self.recovery
        return None if record == m.PartitionChangeRecord(index, topic_id) else record

    def _complete_move(self) -> None:
        if not self.adding and not self.removing:
            return
        isr = tuple(id_ for id_ in self.isr if id_ not in self.removing)
        replicas = tuple(id_ for id_ in self.replicas if id_ not in self.removing)
        if isr and replicas and set(replicas) <= set(isr):
            self.isr, self.replicas, self.adding, self.removing = isr, replicas, (), ()

    def _eligible(self) -> tuple[int, ...]:
        if not self.has_elr or len(self.isr) >= self.min_isr:
            return ()
        gone = {*self.isr, self.unclean_shutdown}
        return tuple(sorted({*self.partition.elr, *self.partition.isr} & set(self.replicas) - gone))

    # --- the leader

    def _elected(self, elr: tuple[int, ...]) -> tuple[int, bool]:
        """(leader, whether it may miss what was committed)."""
        eligible = self.isr or elr
        fit = [id_ for id_ in self.replicas if id_ in eligible and self.may_lead(id_)]
        if fit:
            first = self.election is Election.PREFERRED and fit[0] == self.replicas[0]
            return (fit[0] if first or self.partition.leader not in fit else self.partition.leader), False
        last = self.partition.last_known_elr
        if self.has_elr and not eligible and len(last) == 1 and last[0] in self.replicas and self.may_lead(last[0]):
            return last[0], True
        if self.election is Election.UNCLEAN:
            return next(((id_, True) for id_ in self.replicas if self.may_lead(id_)), (NO_LEADER, False))
        return NO_LEADER, False

    def _note_last_leader(self, record: m.PartitionChangeRecord) -> None:
        old = self.partition
        if not self.has_elr:
            if old.last_known_elr:
                record.last_known_elr = []
        elif record.isr == [] and old.leader != NO_LEADER:
            if old.last_known_elr != (old.leader,):
                record.last_known_elr = [old.leader]
        elif old.last_known_elr and (old.leader if record.leader == NO_LEADER_CHANGE else record.leader) != NO_LEADER:
            record.last_known_elr = []

    def _note_assignment(self, record: m.PartitionChangeRecord) -> None:
        old = self.partition
        if self.level >= _DIRECTORIES_SINCE:
            given = [self.directories.get(id_) or self.default_directory(id_) for id_ in self.replicas]
            if given != list(_directories(old)):
                record.directories = given
        if self.replicas != old.replicas:
            record.replicas = list(self.replicas)
        if self.removing != old.removing:
            record.removing_replicas = list(self.removing)
        if self.adding != old.adding:
            record.adding_replicas = list(self.adding)


def _directories(partition: PartitionRegistration) -> tuple[bytes, ...]:
    """A partition from before directories were known says of none where it lies."""
    return partition.directories or (MIGRATING_DIRECTORY,) * len(partition.replicas)
