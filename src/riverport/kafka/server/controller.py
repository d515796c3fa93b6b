"""The controller of a node with the controller role: decisions, and sessions of brokers.

The cores decide on the image that includes what is not committed yet (`MetadataShell.pending`); an answer leaves once
its records are committed. Only while its node leads the metadata log is it the active one, and decides anything.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller import features
from riverport.kafka.controller.alter_partition import IsrChanges
from riverport.kafka.controller.broker_states import BrokerStates
from riverport.kafka.controller.client_quotas import ClientQuotas
from riverport.kafka.controller.cluster import CONTROLLERS_SINCE, Cluster
from riverport.kafka.controller.directories import Directories
from riverport.kafka.controller.elections import Elections
from riverport.kafka.controller.failover import Failover
from riverport.kafka.controller.feature_updates import FeatureUpdates
from riverport.kafka.controller.heartbeats import Heartbeats
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.reassignments import Reassignments
from riverport.kafka.controller.scram import Scram
from riverport.kafka.raft.changes import upgraded
from riverport.kafka.server.broker_watch import BrokerWatch
from riverport.kafka.server.endpoints import reachable
from riverport.kafka.server.mutation_quotas import MutationQuotas
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.connection import Connection
    from riverport.kafka.server.metadata_shell import MetadataShell

log = get_logger(__name__)

REGISTRATION_RETRY_MS = 100


class Controller:
    """Owns what only the active controller knows."""

    def __init__(self, node: "Broker", metadata: "MetadataShell") -> None:
        self._node = node
        self._metadata = metadata
        image = metadata.pending
        policies = Policies(image, node.node_id, lambda key: node.config[key])
        failover = Failover(image, policies)
        self.heartbeats = Heartbeats(node.config["broker.session.timeout.ms"])
        self.cluster = Cluster(image, node.cluster_id, failover)
        self.brokers = BrokerStates(image, self.cluster, policies, failover, self.heartbeats)
        self.isr_changes = IsrChanges(image, policies)
        self.directories = Directories(image, self.cluster, policies)
        self.elections = Elections(image, policies)
        self.reassignments = Reassignments(image, node.topic_decisions, policies)
        self.feature_updates = FeatureUpdates(image, node.node_id, lambda: int(node.config["min.insync.replicas"]))
        self.client_quotas = ClientQuotas(image, _resolves)
        self.scram = Scram(image)
        self.mutations = MutationQuotas(node)
        self.watch = BrokerWatch(
            node.loop,
            image,
            node.node_id,
            node.config["broker.session.timeout.ms"],
            self._fence_incarnation,
            lambda id_: id_ in node.view.doubted,
        )
        self._incarnation_id = node.ids.uuid()
        self._registering: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._metadata.lead.on_active(self._begin)
        self._metadata.subscribe(self._followed)

    def _begin(self, epoch: int) -> None:
        """This node leads now: whoever is up gets a whole session, as nobody knows when it was heard of last."""
        image = self._metadata.pending
        log.info("this node is the active controller", epoch=epoch)
        self.heartbeats.begin(
            (broker.id for broker in image.brokers.values() if not broker.fenced), self._node.clock.mono_ms()
        )
        self.watch.begin()

    @property
    def is_active(self) -> bool:
        return self._metadata.is_active

    def duties(self) -> list[tuple[str, Callable[[], int], Callable[[], None]]]:
        """(name, interval in ms, what to do then), for as long as the node runs; only the active controller does it."""
        config = self._node.config
        return [
            ("broker sessions", lambda: config["broker.session.timeout.ms"] // 8, self.fence_expired),
            ("leader balance", lambda: config["leader.imbalance.check.interval.seconds"] * 1000, self.balance),
            ("leaderless partitions", lambda: config["unclean.leader.election.interval.ms"], self.revive),
        ]

    async def close(self) -> None:
        await self.watch.close()
        if self._registering is not None:
            self._registering.cancel()
            await asyncio.gather(self._registering, return_exceptions=True)

    def _followed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """What has just become possible is done at once."""
        if delta.features and self._node.node_id not in self._metadata.pending.controllers:
            self.register_itself()  # an upgrade may have brought a record for it
        if delta.configs:
            self.revive()  # a topic may allow an election that it did not allow before

    def register_itself(self) -> "asyncio.Task[None]":
        """Note this controller's address and features in the metadata log, where the release has a record for it."""
        if self._registering is None or self._registering.done():
            self._registering = self._node.loop.create_task(self._register())
        return self._registering

    async def _register(self) -> None:
        """Tell the active controller, whoever that is, until it has heard."""
        node, request = self._node, self._registration()
        while node.metadata.image.features.get(features.METADATA_VERSION, CONTROLLERS_SINCE) >= CONTROLLERS_SINCE:
            try:
                answer = await node.channel.send(request)
            except ClientError as error:
                log.debug("the controller could not be registered yet", error=error)
            else:
                if not answer.error_code:
                    return
            await asyncio.sleep(REGISTRATION_RETRY_MS / 1000)

    def _registration(self) -> m.ControllerRegistrationRequest:
        node, of = self._node, m.ControllerRegistrationRequest
        return of(
            node.node_id,
            self._incarnation_id,
            False,
            [
                of.Listener(e.listener, *reachable(e, node.ports), SECURITY_PROTOCOLS[e.protocol])
                for e in node.config.advertised_controller_listeners
            ],
            [of.Feature(name, low, high) for name, (low, high) in features.SUPPORTED.items()],
        )

    # --- features

    def update_features(self, request: m.UpdateFeaturesRequest, version: int) -> "asyncio.Future[Any]":
        metadata = self._metadata

        def decide() -> Outcome:
            outcome = self.feature_updates.update(request, version, metadata.kraft_version)
            if outcome.control:
                # A quorum that speaks the newer protocol keeps its voters in its log.
                known = features.SUPPORTED[features.KRAFT_VERSION]
                outcome.control.append(upgraded(metadata.quorum, known).record())
            return outcome

        return metadata.submit_operation(decide)

    # --- brokers

    def unregister_broker(self, id_: int) -> "asyncio.Future[Any]":
        return self._metadata.submit_operation(lambda: self.brokers.unregister(id_))

    def register_broker(self, request: Request) -> "asyncio.Future[Any]":
        body: m.BrokerRegistrationRequest = request.body

        def decide() -> Outcome:
            outcome = self.cluster.register_broker(
                body, self._metadata.next_offset, lambda id_: self._may_run(id_, request)
            )
            if outcome.records[-1].fenced:
                self.heartbeats.end(body.broker_id)  # a new incarnation: its session begins when it is unfenced
            return outcome

        return self._metadata.submit(decide)

    def _may_run(self, id_: int, request: Request) -> bool:
        """Whether the incarnation that is registered may still run, while another one says that it is that broker.

        Who holds the directories of a broker holds their locks. If no connection of that broker is open, either, it is
        not one that runs elsewhere on a copy of them.
        """
        if request.connection is None:
            return False  # it asks in this very process: who is registered under its id is its earlier self
        if not self.heartbeats.is_alive(id_, self._node.clock.mono_ms()):
            return False
        known = self._metadata.pending.brokers[id_]
        same_directories = bool(known.log_dirs) and set(known.log_dirs) == set(request.body.log_dirs)
        return not same_directories or self.watch.is_connected(id_, known.epoch)

    def heartbeat(self, request: Request) -> "asyncio.Future[Any]":
        body: m.BrokerHeartbeatRequest = request.body

        def decide() -> Outcome:
            outcome = self.brokers.heartbeat(body, self._node.clock.mono_ms(), self._metadata.next_offset)
            if request.connection is not None:
                self.watch.heard(body.broker_id, body.broker_epoch, request.connection)
            return outcome

        return self._metadata.submit(decide)

    def connection_closed(self, connection: "Connection") -> None:
        if self.is_active:
            self.watch.connection_closed(connection)

    def alter_partition(self, request: m.AlterPartitionRequest) -> "asyncio.Future[Any]":
        def decide() -> Outcome:
            self.cluster.registered(request.broker_id, request.broker_epoch)
            return self.isr_changes.alter(request)

        return self._metadata.submit(decide)

    def fence_expired(self) -> None:
        """A duty: brokers that were not heard of for a session are fenced."""
        if not self.is_active:
            return
        for id_ in self.heartbeats.expired(self._node.clock.mono_ms()):
            self.heartbeats.end(id_)
            broker = self._metadata.pending.brokers.get(id_)
            if broker is None or broker.fenced or id_ == self._node.node_id:
                continue
            log.warning("a broker's session has timed out, it is fenced", broker=id_)
            self._fence_incarnation(id_, broker.epoch)

    def balance(self) -> None:
        """A duty: preferred replicas lead again where they are in sync."""
        if self.is_active and self._node.config["auto.leader.rebalance.enable"]:
            self._repeat(self.elections.balance)

    def revive(self) -> None:
        """A duty: partitions whose topics allow it get a leader that may lack records, rather than none."""
        if self.is_active and self._metadata.pending.memberships.leaderless:
            self._repeat(self.elections.revive)

    def _repeat(self, decide: Callable[[], Outcome]) -> None:
        """Decide again once the last lot is committed, for as long as there is more."""

        def settled(done: "asyncio.Future[Any]") -> None:
            if not done.cancelled() and done.exception() is None and done.result() and self.is_active:
                self._repeat(decide)

        self._submit(decide).add_done_callback(settled)

    def _fence_incarnation(self, id_: int, epoch: int) -> None:
        if self.is_active:
            self._submit(partial(self.brokers.fence_incarnation, id_, epoch))

    def _submit(self, decide: Callable[[], Outcome]) -> "asyncio.Future[Any]":
        """A decision that no client waits for; its duty comes round again if this one is lost."""
        try:
            done = self._metadata.submit(decide)
        except ApiError as error:  # this node has lost the lead while the duty was waiting for something
            done = self._node.loop.create_future()
            done.set_exception(error)
        done.add_done_callback(_log_failure)
        return done


def _log_failure(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("a decision of the controller was not committed", error=error)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True


SECURITY_PROTOCOLS = {"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}
