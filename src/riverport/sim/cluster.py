"""A simulated cluster: nodes of the production code, a supervisor that restarts them, and what goes wrong with them."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random

from riverport.base.files import Buffer
from riverport.base.ids import SeededIds, uuid_text
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.raft.state import QUORUM_STATE
from riverport.kafka.server.broker import Broker
from riverport.sim.disk import DEFAULT_CAPACITY
from riverport.sim.loop import SimLoop, World
from riverport.sim.network import Network
from riverport.sim.plan import Fault, Kind, Plan, Shape
from riverport.sim.process import SimClient, SimNode

SESSION_MS = 1500
"""Sessions, elections and lags are a sixth of Kafka's defaults, so that a run takes seconds of simulated time."""
RESTART_S = 0.5
"""The supervisor starts a node that has ended by itself again after this time."""
STOP_S = 6.0
"""A node that takes longer to stop is killed."""
CLIENT_NUMBER = 100

SETTINGS = {
    "log.dirs": "/data",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.partitions": "1",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "3",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": str(SESSION_MS),
    "broker.heartbeat.interval.ms": "400",
    "controller.quorum.election.timeout.ms": "300",
    "controller.quorum.election.backoff.max.ms": "200",
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.request.timeout.ms": "500",
    "replica.lag.time.max.ms": "1000",
    "replica.socket.timeout.ms": "1000",
    "replica.fetch.wait.max.ms": "500",
    "replica.fetch.backoff.ms": "100",
    "metadata.max.idle.interval.ms": "1000",
    "log.initial.task.delay.ms": "2000",
}


class SimCluster:
    """All nodes of a plan, by number from 1; `clients` come and go besides."""

    def __init__(self, plan: Plan, note: Callable[[str], None], settings: Mapping[str, str] | None = None) -> None:
        self.plan = plan
        self.world = World()
        self.network = Network(self.world, Random(f"network {plan.seed}"))
        self.note = note
        self._more_settings = settings or {}
        self.nodes = {number: self._node(number) for number in plan.nodes}
        self.starting: dict[int, asyncio.Task[None]] = {}
        self.clients: list[SimClient] = []
        self.crippled: set[int] = set()  # nodes that lost power and may miss what was acknowledged
        self.unclean: set[int] = set()  # nodes that have ended without a clean stop since all were in sync
        self.disturbed_s: dict[int, float] = {}  # until when a node's heartbeats may not come through, by our doing
        self.is_healed = False

    # --- making it

    def _node(self, number: int) -> SimNode:
        plan = self.plan
        node = SimNode(
            self.world, self.network, number, host_of(number), self._settings(number), plan.seed * 31 + number
        )
        node.skew_s, node.rate = plan.skews[number - 1], plan.rates[number - 1]
        node.format(uuid_text(SeededIds(plan.seed).uuid()))
        return node

    def _settings(self, number: int) -> dict[str, str]:
        plan = self.plan
        is_separate = plan.shape is Shape.SEPARATE
        voters = [1] if is_separate else list(plan.nodes)
        if is_separate:
            roles = "controller" if number in voters else "broker"
        else:
            roles = "broker,controller"
        listeners = [f"{name}://{host_of(number)}:{port}" for name, port, role in LISTENERS if role in roles]
        return {
            **SETTINGS,
            **self._more_settings,
            "node.id": str(number),
            "process.roles": roles,
            "listeners": ",".join(listeners),
            "controller.quorum.voters": ",".join(f"{voter}@{host_of(voter)}:9093" for voter in voters),
        }

    @property
    def brokers(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if self.plan.shape is Shape.COMBINED or node.number > 1]

    @property
    def bootstrap(self) -> list[str]:
        return [f"{node.host}:9092" for node in self.brokers]

    def new_client(self) -> SimClient:
        number = CLIENT_NUMBER + len(self.clients)
        made = SimClient(self.world, self.network, number, f"10.0.1.{number}", self.plan.seed * 37 + number)
        self.clients.append(made)
        return made

    def start(self, number: int) -> None:
        node = self.nodes[number]
        if not node.is_up:
            self.note(f"node {number}: starts")
            self.starting[number] = node.start()

    def live(self) -> Iterator[SimNode]:
        return (node for node in self.nodes.values() if node.is_up)

    # --- the supervisor

    def supervise(self) -> None:
        """What `riverport kafka start` and who watches over it do: a node that cannot go on ends, and begins anew."""
        for number, node in self.nodes.items():
            if node.broker is None:
                continue
            task = self.starting.get(number)
            error: BaseException | None = None
            if task is not None and task.done():
                del self.starting[number]
                error = None if task.cancelled() else task.exception()
                if error is None:
                    self.note(f"node {number}: has started")
                else:
                    self.note(f"node {number}: cannot start: {error!r}")
            if error is None and node.broker.failed.done():
                error = node.broker.failed.result()
                self.note(f"node {number}: gives up: {error!r}")
            if error is not None:
                self.kill(number)
                self.world.after(RESTART_S, self.start, number)

    def kill(self, number: int) -> None:
        node = self.nodes[number]
        self._take_start(number)
        if node.is_up:
            self.unclean.add(number)
            node.kill()

    def _take_start(self, number: int) -> None:
        """A start that has failed before its node dies is looked at here, as the supervisor will not any more."""
        task = self.starting.pop(number, None)
        if task is not None and task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self.note(f"node {number}: cannot start: {error!r}")

    # --- what goes wrong

    def schedule_faults(self) -> None:
        for fault in self.plan.faults:
            self.world.after(fault.at_s, self.strike, fault)

    def strike(self, fault: Fault) -> None:
        if self.is_healed:
            return
        if not fault.node:
            fault = replace(fault, node=self.active_controller())
        node = self.nodes[fault.node]
        if not node.is_up and fault.kind not in _OF_HOSTS:
            return
        if not self._is_within_promise(fault):
            return
        self.note(f"fault: {fault}")
        if fault.kind is not Kind.RESET:
            self._disturb(fault)
        getattr(self, f"_{fault.kind.name.lower()}")(fault, node)

    def _is_within_promise(self, fault: Fault) -> bool:
        """Nobody syncs what is acknowledged: other replicas in sync have it, so one of them has to stay.

        Whoever comes back without a clean stop is taken for one that may have lost something (KIP-966), and so loses
        its place in sync: two such in a row are more than min.insync.replicas of 2 promises to survive, if one did.
        A node whose disk is about to fail counts among them: it ends by itself when that happens.
        """
        if fault.kind is Kind.POWER:
            return self.unclean | self._about_to_end() <= {fault.node}
        if fault.kind in (Kind.KILL, Kind.CONTEST, Kind.SYNC_ERROR, Kind.DISK_FULL):
            return self.crippled <= {fault.node}
        return True

    def _about_to_end(self) -> set[int]:
        """Nodes that will give up, or have and are still to be ended by the supervisor."""
        return {
            number
            for number, node in self.nodes.items()
            if node.disk.is_ailing or (node.broker is not None and node.broker.failed.done())
        }

    def in_sync(self) -> None:
        """Everybody has everything: what happened before is forgotten."""
        self.crippled.clear()
        self.unclean.clear()

    def _disturb(self, fault: Fault) -> None:
        until = self.world.now + fault.for_s + SESSION_MS / 1000 + (STOP_S if fault.kind is Kind.STOP else 0.5)
        for number in (fault.node, fault.other):
            self.disturbed_s[number] = max(self.disturbed_s.get(number, 0.0), until)

    def _kill(self, fault: Fault, node: SimNode) -> None:
        self.note(f"node {node.number}: is dead")
        self.kill(node.number)
        self.world.after(fault.for_s, self.start, node.number)

    def _contest(self, fault: Fault, node: SimNode) -> None:
        first, second = (other for other in self.nodes if other != node.number)
        self._cut_pairs(replace(fault, amount=0), [(host_of(first), host_of(second))])
        self._disturb(replace(fault, node=first, other=second))
        again = replace(fault, kind=Kind.KILL, for_s=fault.amount)

        def wrote(path: str, content: Buffer) -> None:
            voted = json.loads(bytes(content))["votedId"] if path.endswith(QUORUM_STATE) else -1
            if voted not in (-1, node.number) and not self.is_healed and self._is_within_promise(fault):
                node.disk.after_replace = None
                self._cut_pairs(replace(fault, amount=1), [(host_of(voted), node.host)])
                # Its answer leaves in the same turn of its loop, and still arrives.
                self.world.after(0.0002, self._kill, again, node)

        node.disk.after_replace = wrote
        self._kill(again, node)

    def _power(self, fault: Fault, node: SimNode) -> None:
        self.crippled.add(node.number)
        self.unclean.add(node.number)
        self._take_start(node.number)
        node.lose_power()
        self.world.after(fault.for_s, self.start, node.number)

    def _stop(self, fault: Fault, node: SimNode) -> None:
        if node.number in self.starting or node.loop is None or node.broker is None:
            return
        life, loop = node.lives, node.loop

        def end(*_: object) -> None:
            if node.lives == life and node.is_up:
                if not stopping.done() and not self.is_healed and not self.crippled <= {node.number}:
                    self.world.after(STOP_S, end)  # to kill it now is more than what is promised to be survived
                    return
                self.note(f"node {node.number}: has stopped")
                self.kill(node.number)
                self.world.after(fault.for_s, self.start, node.number)

        stopping = loop.create_task(node.broker.stop())
        stopping.add_done_callback(end)
        self.world.after(STOP_S, end)

    def _pause(self, fault: Fault, node: SimNode) -> None:
        loop = node.loop
        assert loop is not None
        loop.pause()
        self.world.after(fault.for_s, _resume, loop)

    def _cut(self, fault: Fault, node: SimNode) -> None:
        self._cut_pairs(fault, [(node.host, self.nodes[fault.other].host)])

    def _isolate(self, fault: Fault, node: SimNode) -> None:
        others = [other.host for other in self.nodes.values() if other is not node]
        others += [client.loop.host for client in self.clients]
        self._cut_pairs(fault, [(node.host, other) for other in others])

    def _cut_pairs(self, fault: Fault, pairs: list[tuple[str, str]]) -> None:
        both = [*pairs, *((other, host) for host, other in pairs)]
        ways = (both, pairs, [(other, host) for host, other in pairs])[int(fault.amount)]
        for source, target in ways:
            self.network.cut(source, target)
            self.world.after(fault.for_s, self.network.mend, source, target)

    def _slow_link(self, fault: Fault, node: SimNode) -> None:
        self._change_links(fault, "delay_s", [(node.host, self.nodes[fault.other].host)])

    def _loss(self, fault: Fault, node: SimNode) -> None:
        others = [other.host for other in self.nodes.values() if other is not node]
        self._change_links(fault, "loss", [(node.host, other) for other in others])

    def _change_links(self, fault: Fault, name: str, pairs: list[tuple[str, str]]) -> None:
        for host, other in pairs:
            for link in (self.network.link(host, other), self.network.link(other, host)):
                before = getattr(link, name)
                setattr(link, name, fault.amount)
                self.world.after(fault.for_s, setattr, link, name, min(before, 0.0005))

    def _reset(self, fault: Fault, node: SimNode) -> None:
        self.network.reset(node.host, self.nodes[fault.other].host)

    def _sync_error(self, fault: Fault, node: SimNode) -> None:
        node.disk.fail("sync", "/data/*", times=1)

    def _disk_full(self, fault: Fault, node: SimNode) -> None:
        node.disk.capacity = min(node.disk.used(), node.disk.capacity)
        # Not what it was before: of two such faults that overlap, the later would bring back the earlier, for ever.
        self.world.after(fault.for_s, setattr, node.disk, "capacity", DEFAULT_CAPACITY)

    def _slow_disk(self, fault: Fault, node: SimNode) -> None:
        loop = node.loop
        assert loop is not None
        loop.job_seconds = fault.amount
        self.world.after(fault.for_s, setattr, loop, "job_seconds", 0.001)

    def _clock_step(self, fault: Fault, node: SimNode) -> None:
        assert node.loop is not None
        node.loop.skew_s += fault.amount
        node.skew_s += fault.amount

    def unforeseen(self) -> str | None:
        """An error in a node that nothing has caught."""
        for node in self.nodes.values():
            if node.failures:
                message, error = node.failures[0]
                return f"node {node.number}: {message}: {error!r}"
        return None

    def end(self) -> None:
        """Nothing runs any more; what is left of the processes may be collected."""
        self.world.watch = None
        for loop in [*(node.loop for node in self.live()), *(client.loop for client in self.clients)]:
            if loop is not None:
                loop.kill()
        self.world.clear()

    # --- what is well again

    def heal(self) -> None:
        """Nothing more goes wrong, and what was broken is repaired."""
        self.is_healed = True
        self.note("everything is repaired")
        self.network.heal()
        for number, node in self.nodes.items():
            node.disk.heal()
            node.disk.after_replace = None
            node.disk.capacity = DEFAULT_CAPACITY
            if node.loop is not None:
                node.loop.job_seconds = 0.001
                node.loop.resume()
            self.world.after(RESTART_S, self.start, number)

    def newest_image(self) -> MetadataImage | None:
        """The metadata of the live node that knows most of it."""
        images = [
            node.broker.metadata.image for node in self.live() if node.broker and hasattr(node.broker, "metadata")
        ]
        return max(images, key=lambda image: image.offset, default=None)

    def active_controller(self) -> int:
        """Who leads the metadata log, as far as the newest epoch is known."""
        known = [
            (node.broker.metadata.epoch, node.number) for node in self.live() if node.broker and _leads(node.broker)
        ]
        return max(known, default=(0, 1))[1]

    def lagging(self) -> str | None:
        """What is not as it should be in a healthy cluster, or None."""
        image = self.newest_image()
        if image is None:
            return "no node is up"
        for node in self.nodes.values():
            if not node.is_up or node.number in self.starting:
                return f"node {node.number} has not started"
        for node in self.brokers:
            registered = image.brokers.get(node.number)
            if registered is None or not registered.is_active:
                return f"broker {node.number} is fenced"
        for name, topic in image.topics.items():
            for index, partition in topic.partitions.items():
                if partition.leader < 0:
                    return f"{name}-{index} has no leader"
                if len(partition.isr) < len(partition.replicas):
                    return f"{name}-{index} has {list(partition.isr)} in sync of {list(partition.replicas)}"
        return None


_OF_HOSTS = (Kind.CUT, Kind.ISOLATE, Kind.SLOW_LINK, Kind.LOSS)
"""What goes wrong with a host, whether or not its node is up."""
LISTENERS = (("PLAINTEXT", 9092, "broker"), ("CONTROLLER", 9093, "controller"))


def host_of(number: int) -> str:
    return f"10.0.0.{number}"


def _leads(broker: Broker) -> bool:
    return broker.controller is not None and hasattr(broker, "metadata") and broker.metadata.leader_id == broker.node_id


def _resume(loop: SimLoop) -> None:
    if loop.alive:
        loop.resume()
