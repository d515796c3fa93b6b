"""What the metadata records register of brokers, controllers and partitions, and what a later record makes of it.

Values: a registration is replaced and never changed, so whoever holds one keeps a consistent view. What a record leaves
out stays as it was. The tables that they lie in are `image`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from riverport.kafka.wire import messages as m

NO_LEADER = -1
NO_LEADER_CHANGE = -2


@dataclass(slots=True, frozen=True)
class Endpoint:
    name: str
    host: str
    port: int
    security_protocol: int


@dataclass(slots=True, frozen=True)
class BrokerRegistration:
    id: int
    epoch: int
    incarnation_id: bytes
    endpoints: tuple[Endpoint, ...]
    features: dict[str, tuple[int, int]]
    rack: str | None
    fenced: bool
    in_controlled_shutdown: bool
    log_dirs: tuple[bytes, ...]
    cordoned_log_dirs: tuple[bytes, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether it may lead and be in sync."""
        return not self.fenced and not self.in_controlled_shutdown

    @property
    def takes_partitions(self) -> bool:
        """Whether new partitions may come to it: not all of its directories are cordoned (KIP-1066)."""
        return not self.log_dirs or not set(self.log_dirs) <= set(self.cordoned_log_dirs)

    def endpoint(self, listener: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.name == listener), None)


@dataclass(slots=True, frozen=True)
class ControllerRegistration:
    id: int
    incarnation_id: bytes
    endpoints: tuple[Endpoint, ...]
    features: dict[str, tuple[int, int]]


@dataclass(slots=True, frozen=True)
class PartitionRegistration:
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    directories: tuple[bytes, ...] = ()
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    recovering: int = 0


@dataclass(slots=True, frozen=True)
class TopicImage:
    name: str
    id: bytes
    partitions: dict[int, PartitionRegistration]


def registered_broker(r: m.RegisterBrokerRecord) -> BrokerRegistration:
    return BrokerRegistration(
        r.broker_id,
        r.broker_epoch,
        r.incarnation_id,
        _endpoints(r.end_points),
        _features(r.features),
        r.rack,
        r.fenced,
        r.in_controlled_shutdown,
        tuple(r.log_dirs),
        tuple(r.cordoned_log_dirs or ()),
    )


def changed_broker(old: BrokerRegistration, r: m.BrokerRegistrationChangeRecord) -> BrokerRegistration:
    """What a change makes of a broker: fenced or not where the record says, in shutdown until it registers anew."""
    new = replace(
        old,
        fenced=old.fenced if r.fenced == 0 else r.fenced == 1,
        in_controlled_shutdown=old.in_controlled_shutdown or r.in_controlled_shutdown == 1,
    )
    if r.log_dirs:
        new = replace(new, log_dirs=tuple(r.log_dirs))
    if r.cordoned_log_dirs is not None:
        new = replace(new, cordoned_log_dirs=tuple(r.cordoned_log_dirs))
    return new


def registered_controller(r: m.RegisterControllerRecord) -> ControllerRegistration:
    return ControllerRegistration(r.controller_id, r.incarnation_id, _endpoints(r.end_points), _features(r.features))


def registered_partition(r: m.PartitionRecord) -> PartitionRegistration:
    return PartitionRegistration(
        tuple(r.replicas),
        tuple(r.isr),
        r.leader,
        r.leader_epoch,
        r.partition_epoch,
        tuple(r.directories),
        tuple(r.adding_replicas),
        tuple(r.removing_replicas),
        tuple(r.eligible_leader_replicas or ()),
        tuple(r.last_known_elr or ()),
        r.leader_recovery_state,
    )


def changed_partition(old: PartitionRegistration, r: m.PartitionChangeRecord) -> PartitionRegistration:
    """What a change makes of a partition: its epoch moves, its leader's where the record names a leader."""

    def chosen(given: list[Any] | None, before: tuple[Any, ...]) -> tuple[Any, ...]:
        return before if given is None else tuple(given)

    return PartitionRegistration(
        chosen(r.replicas, old.replicas),
        chosen(r.isr, old.isr),
        old.leader if r.leader == NO_LEADER_CHANGE else r.leader,
        old.leader_epoch if r.leader == NO_LEADER_CHANGE else old.leader_epoch + 1,
        old.partition_epoch + 1,
        chosen(r.directories, old.directories),
        chosen(r.adding_replicas, old.adding),
        chosen(r.removing_replicas, old.removing),
        chosen(r.eligible_leader_replicas, old.elr),
        chosen(r.last_known_elr, old.last_known_elr),
        old.recovering if r.leader_recovery_state == -1 else r.leader_recovery_state,
    )


def _endpoints(entries: Iterable[Any]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(e.name, e.host, e.port, e.security_protocol) for e in entries)


def _features(entries: Iterable[Any]) -> dict[str, tuple[int, int]]:
    return {f.name: (f.min_supported_version, f.max_supported_version) for f in entries}
