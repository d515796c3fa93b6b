"""Which brokers get the replicas of new partitions (the striped placement of KIP-631).

Racks take turns, and within a rack its brokers do; each partition starts one broker further on. Brokers that are fenced
come after all live ones, so a partition is never placed on fenced brokers alone.
"""

from dataclasses import dataclass

from riverport.base.rng import Rng
from riverport.kafka.controller.registrations import BrokerRegistration
from riverport.kafka.wire.errors import ApiError, ErrorCode

MIGRATING_DIRECTORY, UNASSIGNED_DIRECTORY, LOST_DIRECTORY = bytes(16), bytes(15) + b"\x01", bytes(15) + b"\x02"
"""What stands for a directory (KIP-858): not told since before there were ids; to be told; not among the good ones."""


def default_directory(broker: BrokerRegistration) -> bytes:
    """Where a broker puts a new replica: with several log directories it says later which it took (KIP-858)."""
    if not broker.log_dirs:
        return MIGRATING_DIRECTORY
    return broker.log_dirs[0] if len(broker.log_dirs) == 1 else UNASSIGNED_DIRECTORY


def is_online(broker: BrokerRegistration, directory: bytes) -> bool:
    """Whether what the broker has in a directory can be used."""
    if directory in (MIGRATING_DIRECTORY, UNASSIGNED_DIRECTORY) or not broker.log_dirs:
        return True
    return directory in broker.log_dirs


@dataclass(slots=True, frozen=True)
class Candidate:
    id: int
    rack: str | None
    fenced: bool


class _Rack:
    def __init__(self, live: list[int], fenced: list[int], rng: Rng) -> None:
        self._live, self._fenced = live, fenced
        self._live_at = rng.randrange(len(live)) if live else 0
        self._fenced_at = rng.randrange(len(fenced)) if fenced else 0

    def order(self) -> list[int]:
        live = self._live[self._live_at :] + self._live[: self._live_at]
        fenced = self._fenced[self._fenced_at :] + self._fenced[: self._fenced_at]
        self._live_at = (self._live_at + 1) % len(self._live) if self._live else 0
        self._fenced_at = (self._fenced_at + 1) % len(self._fenced) if self._fenced else 0
        return live + fenced


def place(candidates: list[Candidate], partitions: int, replication_factor: int, rng: Rng) -> list[list[int]]:
    """The replicas of each partition, the preferred leader first. Raises ApiError INVALID_REPLICATION_FACTOR."""
    live = [candidate for candidate in candidates if not candidate.fenced]
    if replication_factor <= 0:
        raise ApiError(ErrorCode.INVALID_REPLICATION_FACTOR, "The replication factor must be positive.")
    if not live:
        text = "All brokers are currently fenced, or have all their log directories cordoned."
        raise ApiError(ErrorCode.INVALID_REPLICATION_FACTOR, text)
    if replication_factor > len(candidates):
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The target replication factor of {replication_factor} cannot be reached because only {len(candidates)} "
            "broker(s) are registered or some brokers have all their log directories cordoned.",
        )
    by_rack: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: c.id):
        by_rack.setdefault(candidate.rack or "", []).append(candidate)
    racks = []
    for name in sorted(by_rack):
        members = by_rack[name]
        racks.append(_Rack([c.id for c in members if not c.fenced], [c.id for c in members if c.fenced], rng))
    fenced_ids = {c.id for c in candidates if c.fenced}
    start = rng.randrange(len(racks))
    placed = []
    for index in range(partitions):
        placed.append(_one(racks, (start + index) % len(racks), replication_factor, fenced_ids))
    return placed


def _one(racks: list[_Rack], first: int, count: int, fenced: set[int]) -> list[int]:
    orders = [racks[(first + step) % len(racks)].order() for step in range(len(racks))]
    chosen: list[int] = []
    depth = 0
    while len(chosen) < count:
        for order in orders:
            if depth < len(order) and len(chosen) < count:
                chosen.append(order[depth])
        depth += 1
    if chosen[0] in fenced:
        # The first replica leads: a live one goes to the front where there is one.
        alive = next((id_ for id_ in chosen if id_ not in fenced), None)
        if alive is None:
            alive = next(id_ for order in orders for id_ in order if id_ not in fenced)
            chosen.pop()
        else:
            chosen.remove(alive)
        chosen.insert(0, alive)
    return chosen
