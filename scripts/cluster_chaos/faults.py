"""What is done to a cluster: each fault picks its victims, strikes, waits until every partition is written to again.

`silences` are, for each partition that a victim led, the longest time between two acknowledgements around the fault.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster_chaos.fleet import Fleet, Stuck, ask, wait_until
from cluster_chaos.ledger import Ledger
from cluster_chaos.workload import TOPIC
from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError

PROGRESS_S = 60.0
"""A partition that takes no record for so long after a fault is stuck."""


@dataclass(slots=True)
class Struck:
    """One fault that is over."""

    kind: str
    count: int  # how many faults it was
    silences: list[float] = field(default_factory=list)  # seconds
    at: float = field(default_factory=time.time)  # its end
    upon: str = ""  # the fault before it, where the cluster had not got over that one yet

    @property
    def longest(self) -> float:
        return max(self.silences, default=0.0)


@dataclass(slots=True)
class View:
    """Who leads what, before a fault."""

    leaders: dict[int, int]  # partition -> node
    in_sync: bool
    controller: int

    def led_by(self, *ids: int) -> list[int]:
        return [partition for partition, leader in self.leaders.items() if leader in ids]


class Faults:
    def __init__(self, fleet: Fleet, ledger: Ledger, rng: random.Random) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._rng = rng
        self.kinds: dict[str, tuple[int, Callable[[], Struck]]] = {
            "leader killed": (50, lambda: self._kill("leader killed", self._a_leader(self.view()))),
            "controller killed": (14, lambda: self._kill("controller killed", self.view().controller)),
            "two killed": (4, lambda: self._kill("two killed", *self._rng.sample(list(self._fleet.ids), 2))),
            "all killed": (2, lambda: self._kill("all killed", *self._fleet.ids)),
            "leader stopped and started": (10, lambda: self._bounce("leader stopped and started", 1)),
            "rolling restart": (2, lambda: self._bounce("rolling restart", len(self._fleet.ids))),
            "leader paused": (10, self._pause),
            "leader cut off": (8, self._cut),
        }
        """By name: how often it comes, relative to the others, and what does it."""

    def strike(self, kind: str | None = None) -> Struck:
        """One of the kinds, by its weight. Raises Stuck where the cluster does not go on."""
        chosen = kind or self._rng.choices(list(self.kinds), [weight for weight, _ in self.kinds.values()])[0]
        return self.kinds[chosen][1]()

    def view(self) -> View:
        """Waits for a controller, and for a leader of every partition."""
        found: list[View] = []

        async def question(client: Client) -> View:
            partitions = (await client.refresh([TOPIC])).topics[TOPIC].partitions.values()
            quorum = await Admin(client).quorum()
            return View(
                {partition.index: partition.leader for partition in partitions},
                all(set(partition.isr) == set(partition.replicas) for partition in partitions),
                quorum.leader_id,
            )

        def known() -> bool:
            try:
                found.append(ask(self._fleet.bootstrap, question))
            except (ClientError, KeyError):
                return False
            return found[-1].controller >= 0 and min(found[-1].leaders.values()) >= 0

        wait_until(known, "a controller, and a leader of every partition")
        return found[-1]

    def wait_in_sync(self) -> None:
        wait_until(lambda: self.view().in_sync, "every replica in sync")

    # --- the kinds

    def _a_leader(self, view: View) -> int:
        return self._rng.choice(sorted(view.leaders.values()))

    def _kill(self, kind: str, *ids: int) -> Struck:
        led = self.view().led_by(*ids)
        self._ledger.listen()
        struck_at = time.monotonic()
        self._fleet.kill(*ids)
        if len(ids) > 1:  # without them there is no quorum
            self._fleet.revive(*ids)
        self._wait_for_progress(struck_at)
        silences = [self._ledger.silence(partition) for partition in led]
        self._fleet.revive(*ids)
        return Struck(kind, len(ids), silences)

    def _bounce(self, kind: str, count: int) -> Struck:
        ids = list(self._fleet.ids) if count > 1 else [self._a_leader(self.view())]
        silences = []
        for id_ in ids:
            led = self.view().led_by(id_)
            self._ledger.listen()
            struck_at = time.monotonic()
            self._fleet.stop(id_)
            self._wait_for_progress(struck_at)
            silences += [self._ledger.silence(partition) for partition in led]
            self._fleet.revive(id_)
            if count > 1:
                self.wait_in_sync()
        return Struck(kind, count, silences)

    def _pause(self) -> Struck:
        # A session lasts nine seconds: most pauses end before anybody notices, some do not.
        seconds = self._rng.choice((0.3, 0.6, 1.0, 2.0, 11.0))
        return self._for_some_time("leader paused", self._fleet.pause, self._fleet.resume, seconds)

    def _cut(self) -> Struck:
        seconds = self._rng.choice((0.5, 1.0, 2.0, 3.0, 12.0))
        return self._for_some_time("leader cut off", self._fleet.cut, self._fleet.mend, seconds)

    def _for_some_time(
        self, kind: str, strike: Callable[[int], None], heal: Callable[[int], None], seconds: float
    ) -> Struck:
        view = self.view()
        victim = self._a_leader(view)
        self._ledger.listen()
        strike(victim)
        try:
            time.sleep(seconds)
        finally:
            heal(victim)
        self._wait_for_progress(time.monotonic())
        return Struck(kind, 1, [self._ledger.silence(partition) for partition in view.led_by(victim)])

    def _wait_for_progress(self, since: float) -> None:
        silent = self._ledger.wait_for_progress(since, PROGRESS_S)
        if silent:
            raise Stuck(f"partitions {silent} have taken no record for {PROGRESS_S:.0f} s after a fault")
