"""The active controller of a node with the controller role: decisions, sessions of brokers, replicas of its log.

The cores decide on the image that includes what is not committed yet (`MetadataShell.pending`); an answer leaves once
its records are committed. A quorum of one is active from its start to its end.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from riverport.base.logging import get_logger
from riverport.kafka.controller import features
from riverport.kafka.controller.alter_partition import IsrChanges
from riverport.kafka.controller.broker_states import BrokerStates
from riverport.kafka.controller.client_quotas import ClientQuotas
from riverport.kafka.controller.cluster import Cluster
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
from riverport.kafka.controller.topics import UNKNOWN_PARTITION
from riverport.kafka.server.endpoints import reachable
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.metadata_shell import MetadataShell

log = get_logger(__name__)

REGISTRATION_SINCE = 15
"""The metadata.version (3.7-IV0) from which controllers register themselves (KIP-919)."""
OBSERVER_SESSION_MS = 300_000
"""Replicas that have not fetched for so long are no longer shown as observers."""


class Replica(NamedTuple):
    """How far a replica of the metadata log is, as the leader saw it last."""

    log_end: int
    last_fetch_ms: int
    last_caught_up_ms: int


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
        self.replicas: dict[tuple[int, bytes], Replica] = {}

    def start(self) -> None:
        """Give every broker that is up a session; what the node itself did not end cleanly ends now."""
        now_ms = self._node.clock.mono_ms()
        unfenced = [broker.id for broker in self._metadata.pending.brokers.values() if not broker.fenced]
        self.heartbeats.begin(unfenced, now_ms)
        self._metadata.subscribe(self._followed)

    def _followed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """An upgrade may have brought a record for what could not be told before."""
        if delta.features and self._node.node_id not in self._metadata.pending.controllers:
            self.register_itself()

    def register_itself(self) -> "asyncio.Future[Any] | None":
        """Note this controller's address and features in the metadata log, where the release has a record for it."""
        node, image = self._node, self._metadata.pending
        if image.features.get(features.METADATA_VERSION, 0) < REGISTRATION_SINCE:
            return None
        listener = m.ControllerRegistrationRequest.Listener
        request = m.ControllerRegistrationRequest(
            node.node_id,
            node.ids.uuid(),
            False,
            [
                listener(e.listener, *reachable(e, node.ports), SECURITY_PROTOCOLS[e.protocol])
                for e in node.config.advertised_controller_listeners
            ],
            [
                m.ControllerRegistrationRequest.Feature(name, low, high)
                for name, (low, high) in node.supported_features().items()
            ],
        )
        return self._metadata.submit(lambda: self.cluster.register_controller(request))

    # --- features

    def update_features(self, request: m.UpdateFeaturesRequest, version: int) -> "asyncio.Future[Any]":
        metadata = self._metadata

        def decide() -> Outcome:
            outcome = self.feature_updates.update(request, version, metadata.kraft_version)
            if outcome.control:
                # A quorum that speaks the newer protocol keeps its voters in its log.
                outcome.control.append(self._voters())
            return outcome

        return metadata.submit(decide)

    def _voters(self) -> m.VotersRecord:
        """This node, the only voter."""
        of, node = m.VotersRecord, self._node
        endpoints = [
            of.Endpoint(e.listener, *reachable(e, node.ports)) for e in node.config.advertised_controller_listeners
        ]
        known = of.KRaftVersionFeature(*features.SUPPORTED[features.KRAFT_VERSION])
        directory = node.directory_id(node.config.metadata_log_dir)
        return of(0, [of.Voter(node.node_id, directory, endpoints, known)])

    # --- brokers

    def unregister_broker(self, id_: int) -> "asyncio.Future[Any]":
        return self._metadata.submit(lambda: self.brokers.unregister(id_))

    def register_broker(self, request: m.BrokerRegistrationRequest) -> "asyncio.Future[Any]":
        def decide() -> Outcome:
            now_ms = self._node.clock.mono_ms()
            if request.broker_id == self._node.node_id:
                # Two processes cannot have this node's directory: who is registered under its id is its earlier self.
                self.heartbeats.end(request.broker_id)
            outcome = self.cluster.register_broker(
                request, self._metadata.next_offset, lambda id_: self.heartbeats.is_alive(id_, now_ms)
            )
            self.heartbeats.end(request.broker_id)
            return outcome

        return self._metadata.submit(decide)

    def heartbeat(self, request: m.BrokerHeartbeatRequest) -> "asyncio.Future[Any]":
        return self._metadata.submit(
            lambda: self.brokers.heartbeat(request, self._node.clock.mono_ms(), self._metadata.next_offset)
        )

    def alter_partition(self, request: m.AlterPartitionRequest) -> "asyncio.Future[Any]":
        def decide() -> Outcome:
            self.cluster.registered(request.broker_id, request.broker_epoch)
            return self.isr_changes.alter(request)

        return self._metadata.submit(decide)

    def fence_expired(self) -> None:
        """A duty: brokers that were not heard of for a session are fenced."""
        for id_ in self.heartbeats.expired(self._node.clock.mono_ms()):
            self.heartbeats.end(id_)
            broker = self._metadata.pending.brokers.get(id_)
            if broker is None or broker.fenced or id_ == self._node.node_id:
                continue
            log.warning("a broker's session has timed out, it is fenced", broker=id_)
            self._submit(partial(self.brokers.fence_incarnation, id_, broker.epoch))

    def _submit(self, decide: Callable[[], Outcome]) -> None:
        """A decision that nobody waits for. It is made again where it still holds when this one is lost."""
        self._metadata.submit(decide).add_done_callback(_log_failure)

    # --- replicas of the metadata log

    def replica_fetched(self, id_: int, directory_id: bytes, offset: int) -> None:
        """A replica asks for what lies behind `offset`, so it has all before it."""
        now_ms = self._node.clock.wall_ms()
        known = self.replicas.get((id_, directory_id))
        caught_up = offset >= self._metadata.log.high_watermark
        last = now_ms if caught_up else known.last_caught_up_ms if known else -1
        self.replicas[(id_, directory_id)] = Replica(offset, now_ms, last)

    def observers(self) -> dict[tuple[int, bytes], Replica]:
        """Replicas without a vote that fetched lately."""
        oldest = self._node.clock.wall_ms() - OBSERVER_SESSION_MS
        for key in [key for key, replica in self.replicas.items() if replica.last_fetch_ms < oldest]:
            del self.replicas[key]
        return self.replicas

    def describe_quorum(self, request: m.DescribeQuorumRequest, version: int) -> m.DescribeQuorumResponse:
        """Voters, observers and how far each is (KIP-595, KIP-853 for directories and nodes)."""
        partition = m.DescribeQuorumResponse.PartitionData
        topics = []
        for topic in request.topics:
            answers = []
            for asked in topic.partitions:
                if topic.topic_name == "__cluster_metadata" and asked.partition_index == 0:
                    answers.append(self._quorum_partition(version))
                else:
                    answers.append(
                        partition(asked.partition_index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_PARTITION)
                    )
            topics.append(m.DescribeQuorumResponse.TopicData(topic.topic_name, answers))
        nodes = []
        listener = m.DescribeQuorumResponse.Listener
        if version >= 2 and any(not answer.error_code for topic in topics for answer in topic.partitions):
            nodes = [
                m.DescribeQuorumResponse.Node(
                    self._node.node_id,
                    [
                        listener(e.listener, *reachable(e, self._node.ports))
                        for e in self._node.config.advertised_controller_listeners
                    ],
                )
            ]
        return m.DescribeQuorumResponse(topics=topics, nodes=nodes)

    def _quorum_partition(self, version: int) -> Any:
        metadata, state = self._metadata, m.DescribeQuorumResponse.ReplicaState
        now_ms = self._node.clock.wall_ms()
        own = state(
            self._node.node_id, self._node.metadata_voter_directory, metadata.log.log_end_offset, now_ms, now_ms
        )
        observers = [
            state(id_, directory, replica.log_end, replica.last_fetch_ms, replica.last_caught_up_ms)
            for (id_, directory), replica in sorted(self.observers().items())
        ]
        return m.DescribeQuorumResponse.PartitionData(
            0,
            leader_id=self._node.node_id,
            leader_epoch=metadata.quorum.epoch,
            high_watermark=metadata.log.high_watermark,
            current_voters=[own],
            observers=observers,
        )


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
