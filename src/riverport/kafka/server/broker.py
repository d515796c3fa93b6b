"""One node: its configuration, logs, metadata, coordinators and listeners, and the order of its start and stop.

Start: directories and locks, metadata log (the image), logs, listeners bound (so that ports are known), registration,
the image applied, coordinators, listeners open. Stop is the same backwards: no new request, coordinators, registration
fenced, logs closed and marked clean. What a killed process leaves behind is the log's recovery's business.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.clock import Clock, SystemClock
from riverport.base.files import Files, OsFiles
from riverport.base.ids import IdSource, SystemIds
from riverport.base.logging import get_logger
from riverport.base.rng import Rng, seeded_rng, system_rng
from riverport.base.settings import ConfigError
from riverport.kafka.admin.decisions import ConfigDecisions
from riverport.kafka.controller import features
from riverport.kafka.controller.topics import Topics as TopicDecisions
from riverport.kafka.log import LogConfig
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.upkeep import Upkeep
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.auto_creation import AutoCreation
from riverport.kafka.server.awaited_leaders import AwaitedLeaders
from riverport.kafka.server.client_quotas import ClientQuotas
from riverport.kafka.server.compaction import Compaction
from riverport.kafka.server.configs import Configs
from riverport.kafka.server.controller import Controller
from riverport.kafka.server.controller_channel import ControllerChannel, EitherChannel, RemoteChannel
from riverport.kafka.server.directory_assignments import DirectoryAssignments
from riverport.kafka.server.dispatch import Dispatch, RequestFilter
from riverport.kafka.server.duties import start_duties
from riverport.kafka.server.endpoints import reachable
from riverport.kafka.server.fetch_session import SessionCache
from riverport.kafka.server.flusher import Flusher
from riverport.kafka.server.housekeeping import Housekeeping
from riverport.kafka.server.lifecycle import Lifecycle
from riverport.kafka.server.listener import Listener, Server
from riverport.kafka.server.log_directories import LogDirectories
from riverport.kafka.server.machine import Machine, SystemMachine
from riverport.kafka.server.metadata_changes import MetadataChanges
from riverport.kafka.server.metadata_fetch import MetadataFetches
from riverport.kafka.server.metadata_shell import MetadataShell
from riverport.kafka.server.metadata_snapshots import MetadataSnapshots
from riverport.kafka.server.metadata_view import MetadataView
from riverport.kafka.server.producer_ids import ProducerIds
from riverport.kafka.server.quorum_member import member_of, quorum_endpoints
from riverport.kafka.server.replica_fetchers import ReplicaFetchers
from riverport.kafka.server.replica_moves import ReplicaMoves
from riverport.kafka.server.replication import Replication
from riverport.kafka.server.settings import BrokerConfig
from riverport.kafka.server.settings_rules import unserved
from riverport.kafka.server.topics import OFFSETS_TOPIC, Topics
from riverport.kafka.server.waiting import wake
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.group_shell import GroupShell
    from riverport.kafka.server.voter_changes import VoterChanges

log = get_logger(__name__)

INTERNAL_TOPICS = frozenset((OFFSETS_TOPIC, "__transaction_state", "__share_group_state"))
"""Topics that only coordinators write to."""
IO_THREADS = 2
"""Threads for fsync, checkpoints and deletion: as many as a small machine has cores."""
CLOSING_THREADS = 16
"""Threads that sync logs at a clean stop. They wait for the disk, not for cores: 4 ms a log instead of 13 with one."""


class Broker:
    """One node. `start` and `stop` are coroutines; everything else runs to its end on the loop."""

    def __init__(
        self,
        config: BrokerConfig,
        loop: asyncio.AbstractEventLoop,
        files: Files | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        rng: Rng | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.config = config
        self.loop = loop
        self.clock: Clock = clock or SystemClock()
        self.ids: IdSource = ids or SystemIds()
        self.rng: Rng = rng or system_rng()
        self.files: Files = files or OsFiles()
        self.machine: Machine = machine or SystemMachine()
        self.node_id = config.node_id
        self.is_broker = config.is_broker
        self.is_controller = config.is_controller
        self.cluster_id = ""
        self.takes_leave = True  # of the others when it stops; where all of them stop nobody is left to be told
        self.failed: asyncio.Future[Exception] = loop.create_future()  # done when the node cannot go on
        self.partitions: dict[tuple[str | None, int], Partition] = {}
        self.topic_names: dict[bytes, str] = {}
        self.internal_topics = INTERNAL_TOPICS
        self.fetch_max_bytes: int = config["fetch.max.bytes"]
        self.fetch_sessions = SessionCache(
            config["max.incremental.fetch.session.cache.slots"], self.rng.randrange(2**32)
        )
        self.request_filter: RequestFilter | None = None
        self.awaited_leaders = AwaitedLeaders(loop)
        self.view = MetadataView(INTERNAL_TOPICS, self.awaited_leaders.look)
        self.producer_ids = ProducerIds(self._request_producer_ids)
        self.directories = LogDirectories(self)
        self._executor = self.machine.executor(IO_THREADS, "riverport-io")
        self.flusher = Flusher(loop, self._executor, self.directories.log_failed)
        self.housekeeping = Housekeeping(loop, self._executor)
        self.server = Server(self)
        self.logs = LogManager(self.files, list(config.log_dirs), self.ids.uuid, self.directories.failed)
        self.upkeep = Upkeep(self.logs)
        self.compaction = Compaction(self)
        self.topics = Topics(self)
        self.configs = Configs(self, config)
        self.metadata_changes = MetadataChanges(self)
        self.auto_creation = AutoCreation(self)
        self.metadata_fetches = MetadataFetches(self)
        self._voter_changes: VoterChanges | None = None
        self.lifecycle = Lifecycle(self)
        self.client_quotas = ClientQuotas(self)
        self.replica_moves = ReplicaMoves(self)
        self.replica_fetchers = ReplicaFetchers(self)
        self.directory_assignments = DirectoryAssignments(self)
        self.replication = Replication(self)
        self._groups: GroupShell | None = None
        self.snapshots: MetadataSnapshots | None = None  # once the metadata log is open
        self.controller: Controller | None = None  # with the controller role only
        self.metadata: MetadataShell
        self.channel: ControllerChannel
        self.topic_decisions: TopicDecisions
        self.config_decisions: ConfigDecisions

    # --- start and stop

    async def start(self) -> None:
        """Come up, or raise: ConfigError, StorageError, OSError for an address that cannot be bound."""
        config = self.config
        if wrong := unserved(config):
            raise ConfigError(wrong)
        self.cluster_id = self.directories.identify()
        self._open_metadata()
        self.metadata_changes.begin_with_settings()
        if self.is_broker:
            self.logs.load(self.configs.log_config, self.clock.wall_ms())
        await self._bind()
        self.snapshots = MetadataSnapshots(self.metadata, self.files, self.loop, self._executor, config)
        if self.controller is not None:
            self.controller.start()
        await self._accept("controller")
        if self.controller is not None:
            self.metadata.start(quorum_endpoints(self))
            registered = self.controller.register_itself()
            if self.metadata.is_sole_voter:
                await registered  # who leads already may as well begin with it
        if self.is_broker:
            await self._join()
        else:
            self.view.changed(self.metadata.image, None)
            self.metadata.subscribe(lambda image, delta: self.view.changed(image, None))
        start_duties(self)
        await self._accept("broker")
        log.info("started", node=self.node_id, cluster=self.cluster_id, ports=self.ports)

    async def _join(self) -> None:
        """Become a broker of the cluster: registered, level with the metadata, unfenced."""
        await self.lifecycle.register()
        await self.metadata.reach(self.lifecycle.epoch)
        self.metadata_changes.begin()
        await self.topics.made()
        self.replica_moves.take_up()
        await self.directory_assignments.told()  # so that replicas on a replaced disk may lead
        await self.lifecycle.join()
        await self.metadata.until(lambda image: not image.brokers[self.node_id].fenced)

    async def _accept(self, kind: str) -> None:
        for listener in self.server.listeners:
            if listener.dispatch.kind == kind:
                await listener.accept()

    def _metadata_log_config(self) -> LogConfig:
        return LogConfig(
            segment_bytes=self.config["metadata.log.segment.bytes"],
            segment_ms=self.config["metadata.log.segment.ms"],
            max_message_bytes=8 * 1024 * 1024,
            delete=False,  # what goes is what a snapshot stands for
        )

    def _open_metadata(self) -> None:
        config = self.config
        metadata = self.metadata = MetadataShell(
            self.files,
            self.clock,
            self.loop,
            self.flusher,
            config.metadata_log_dir,
            member_of(self),
            self._metadata_log_config(),
            config["min.insync.replicas"],
            seeded_rng(self.rng.randrange(2**32)),
            self.directories.log_failed,
        )
        directory = self.logs.directories.get(config.metadata_log_dir)
        metadata.open(clean=directory is not None and directory.clean)
        metadata.on_progress(self.metadata_fetches.look_again)
        timeout_ms: int = config["controller.quorum.request.timeout.ms"]
        if not self.is_controller:
            metadata.start()
            self.channel = RemoteChannel(self, timeout_ms)
            return
        self.topic_decisions = TopicDecisions(metadata.pending, self.ids, self.rng, self.configs.topic_problem)
        self.config_decisions = ConfigDecisions(metadata.pending, self.configs.rules)
        self.controller = Controller(self, metadata)
        self.channel = EitherChannel(self, timeout_ms)

    async def _bind(self) -> None:
        config = self.config
        broker_dispatch, controller_dispatch = Dispatch(self, "broker"), Dispatch(self, "controller")
        for endpoint in config.listeners:
            is_controller = endpoint in config.controller_listeners
            dispatch = controller_dispatch if is_controller else broker_dispatch
            await Listener(self.server, endpoint.listener, endpoint.host, endpoint.port, dispatch).start()

    @property
    def ports(self) -> dict[str, int]:
        """The bound port of each listener, by name."""
        return {listener.name: listener.port for listener in self.server.listeners}

    @property
    def broker_epoch(self) -> int:
        return self.lifecycle.epoch

    @property
    def metadata_voter_directory(self) -> bytes:
        """This node's directory id as a voter; voters of a static quorum have none (KIP-853)."""
        return self.metadata.voter_directory

    def leader_endpoints(self) -> list[tuple[int, str, int]]:
        """(id, host, port) of the metadata log's leader, where it is known."""
        if self.metadata.is_leader:
            return [(self.node_id, *reachable(self.config.advertised_controller_listeners[0], self.ports))]
        address = self.metadata.controller_address()
        return [] if address is None else [(self.metadata.leader_id, *address)]

    def active_controller(self) -> Controller:
        """Raises ApiError NOT_CONTROLLER where this node is not it."""
        if self.controller is None or not self.controller.is_active:
            raise ApiError(ErrorCode.NOT_CONTROLLER, "This is not the correct controller for this cluster.")
        return self.controller

    async def stop(self) -> None:
        """A clean stop: everything acknowledged is on the disk, and the next start needs no recovery."""
        await self.withdraw()
        self.close_files()

    async def withdraw(self, *, tell: bool = True) -> None:
        """The first half of a stop: from now on nobody hears of this node. Without `tell` nobody is told, either.

        So does a process end that is killed: its logs lie as they are.
        """
        await self.lifecycle.close()
        if tell and self.takes_leave and not self.failed.done():
            # While it still serves: clients are told who leads from now on, other brokers read of it from us.
            await self.lifecycle.leave()
        if self.controller is not None:
            await self.controller.close()
        await self.server.close()
        await self.housekeeping.stop()
        await self.compaction.stop()
        self.replication.close()
        self.directory_assignments.close()
        self.topics.close()
        await self.replica_moves.close()
        if self._groups is not None:
            await self._groups.close()
        await self.replica_fetchers.close()
        if hasattr(self, "channel"):
            await self.channel.close()
        if self._voter_changes is not None:
            await self._voter_changes.close()
        if self.snapshots is not None:
            await self.snapshots.close()
        await self.flusher.close()
        if hasattr(self, "metadata"):
            await self.metadata.close(tell=tell and self.takes_leave and not self.failed.done())

    def close_files(self) -> None:
        """The second half: logs closed, and marked as clean."""
        with self.machine.executor(CLOSING_THREADS, "riverport-close") as closing:
            self.logs.close(self.broker_epoch, closing.map)
        self._executor.shutdown(wait=True)

    # --- metadata

    def has_topic(self, name: str | None) -> bool:
        return name in self.metadata.image.topics

    def _request_producer_ids(self) -> None:
        request = m.AllocateProducerIdsRequest(broker_id=self.node_id, broker_epoch=self.broker_epoch)

        def arrived(done: "asyncio.Future[Any]") -> None:
            if done.cancelled() or done.exception() is not None or done.result().error_code:
                self.producer_ids.block_refused()
            else:
                self.producer_ids.block_arrived(done.result().producer_id_start, done.result().producer_id_len)

        self.channel.send(request).add_done_callback(arrived)

    def finalized_features(self) -> dict[str, int]:
        """The quorum's own level is told once it is above the lowest, as that of other features is."""
        kraft_version = self.metadata.kraft_version
        levels = self.metadata.image.features
        return {**levels, features.KRAFT_VERSION: kraft_version} if kraft_version > 0 else levels

    def finalized_features_epoch(self) -> int:
        return self.metadata.image.offset

    @property
    def voter_changes(self) -> "VoterChanges":
        """Changes of the metadata quorum's voters; few nodes ever see one."""
        if self._voter_changes is None:
            from riverport.kafka.server.voter_changes import VoterChanges

            self._voter_changes = VoterChanges(self)
        return self._voter_changes

    @property
    def has_groups(self) -> bool:
        """Whether `groups` is made."""
        return self._groups is not None

    @property
    def groups(self) -> "GroupShell":
        """The group coordinators, made when they are first needed: a broker without groups pays nothing for them."""
        if self._groups is None:
            from riverport.kafka.server.group_shell import GroupShell

            self._groups = GroupShell(self)
        return self._groups

    # --- partitions

    def partition(self, topic: str, index: int) -> Partition:
        """Raises ApiError UNKNOWN_TOPIC_OR_PARTITION, or NOT_LEADER_OR_FOLLOWER where other brokers have it."""
        found = self.partitions.get((topic, index))
        if found is None:
            known = self.metadata.image.topics.get(topic)
            if known is not None and index in known.partitions:
                raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return found

    def wake(self, partition: Partition, size: int = 0) -> None:
        wake(partition, size, self.loop)

    def flush(self, partition: Partition) -> "asyncio.Future[None]":
        return self.flusher.flush(partition.log)
