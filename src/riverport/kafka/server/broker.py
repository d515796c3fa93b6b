"""One node: its configuration, logs, metadata, coordinators and listeners, and the order of its start and stop.

Start: directories and locks, metadata log (the image), logs, listeners bound (so that ports are known), registration,
the image applied, coordinators, listeners open. Stop is the same backwards: no new request, coordinators, registration
fenced, logs closed and marked clean. What a killed process leaves behind is the log's recovery's business.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from riverport.base.clock import Clock, SystemClock
from riverport.base.files import Files, OsFiles, StorageError
from riverport.base.ids import IdSource, SystemIds
from riverport.base.logging import get_logger
from riverport.base.rng import Rng, seeded_rng, system_rng
from riverport.base.settings import ConfigError
from riverport.kafka.admin import topic_settings
from riverport.kafka.admin.decisions import ConfigDecisions
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.controller import features
from riverport.kafka.controller.cluster import CORDONED_SINCE
from riverport.kafka.controller.image import TOPIC_RESOURCE, MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Charge, Outcome
from riverport.kafka.controller.topics import Topics as TopicDecisions
from riverport.kafka.controller.topics import name_problem
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.manager import HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS, LogManager
from riverport.kafka.log.upkeep import Upkeep
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.client_quotas import ClientQuotas
from riverport.kafka.server.compaction import Compaction
from riverport.kafka.server.configs import Configs
from riverport.kafka.server.controller import Controller
from riverport.kafka.server.controller_channel import ControllerChannel, EitherChannel, RemoteChannel
from riverport.kafka.server.directory_assignments import DirectoryAssignments
from riverport.kafka.server.dispatch import Dispatch, RequestFilter
from riverport.kafka.server.endpoints import reachable
from riverport.kafka.server.fetch_session import SessionCache
from riverport.kafka.server.flusher import Flusher
from riverport.kafka.server.housekeeping import Housekeeping
from riverport.kafka.server.identity import give_identities, load_identities, not_formatted
from riverport.kafka.server.lifecycle import Lifecycle
from riverport.kafka.server.listener import Listener, Server
from riverport.kafka.server.machine import Machine, SystemMachine
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
from riverport.kafka.server.topics import Topics
from riverport.kafka.server.waiting import wake
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.group_shell import GroupShell
    from riverport.kafka.server.voter_changes import VoterChanges

log = get_logger(__name__)

INTERNAL_TOPICS = frozenset(("__consumer_offsets", "__transaction_state", "__share_group_state"))
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
        self.view = MetadataView(INTERNAL_TOPICS)
        self.producer_ids = ProducerIds(self._request_producer_ids)
        self._executor = self.machine.executor(IO_THREADS, "riverport-io")
        self.flusher = Flusher(loop, self._executor, self.storage_failed)
        self.housekeeping = Housekeeping(loop, self._executor)
        self.server = Server(self)
        self.logs = LogManager(self.files, list(config.log_dirs), self.ids.uuid, self._directory_failed)
        self.upkeep = Upkeep(self.logs)
        self.compaction = Compaction(self)
        self._topics = Topics(self)
        self.configs = Configs(self, config)
        self._topic_defaults = topic_settings.broker_defaults(config.values)
        self._creating: set[str] = set()  # topics that are being made for clients that asked for them
        self.metadata_fetches = MetadataFetches(self)
        self._voter_changes: VoterChanges | None = None
        self.lifecycle = Lifecycle(self)
        self.client_quotas = ClientQuotas(self)
        self.replica_moves = ReplicaMoves(self)
        self.replica_fetchers = ReplicaFetchers(self)
        self.directory_assignments = DirectoryAssignments(self)
        self.replication = Replication(self)
        self._groups: GroupShell | None = None
        self._snapshots: MetadataSnapshots | None = None  # once the metadata log is open
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
        unusable: dict[str, StorageError] = {}
        dirs = dict.fromkeys((*config.log_dirs, config.metadata_log_dir))
        identities = load_identities(self.files, dirs, config.node_id, unusable)
        if self.is_controller and config.metadata_log_dir not in identities:
            # Without it the cluster would begin anew, and take its topics' logs for those of nobody.
            raise unusable.get(config.metadata_log_dir, not_formatted(config.metadata_log_dir))
        give_identities(self.files, identities, dirs, self.ids.uuid, unusable)
        if config.metadata_log_dir in unusable:
            raise unusable[config.metadata_log_dir]
        self.cluster_id = next(iter(identities.values())).cluster_id
        self._directory_ids = {dir: identity.directory_id for dir, identity in identities.items()}
        self.logs.lock(self._directory_ids, unusable)
        self._open_metadata()
        self._settings_changed(self.metadata.image, MetadataDelta(everything=True))
        self.metadata.subscribe(self._settings_changed)
        if self.is_broker:
            self.logs.load(self.log_config, self.clock.wall_ms())
        await self._bind()
        self._snapshots = MetadataSnapshots(self.metadata, self.files, self.loop, self._executor, config)
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
        self._start_duties()
        await self._accept("broker")
        log.info("started", node=self.node_id, cluster=self.cluster_id, ports=self.ports)

    async def _join(self) -> None:
        """Become a broker of the cluster: registered, level with the metadata, unfenced."""
        await self.lifecycle.register()
        await self.metadata.reach(self.lifecycle.epoch)
        self._settings_changed(self.metadata.image, MetadataDelta(everything=True))
        self._topics.apply_all(self.metadata.image)
        self.view.changed(self.metadata.image, None)
        self.client_quotas.changed(self.metadata.image, MetadataDelta(everything=True))
        self.replication.changed(self.metadata.image, MetadataDelta(everything=True))
        self._follow_cordoned()
        self.metadata.subscribe(self._metadata_changed)
        if self.has_topic("__consumer_offsets"):
            self.groups.follow()
        await self._topics.made()
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
            self.storage_failed,
        )
        directory = self.logs.directories.get(config.metadata_log_dir)
        metadata.open(clean=directory is not None and directory.clean)
        metadata.on_progress(self.metadata_fetches.look_again)
        timeout_ms: int = config["controller.quorum.request.timeout.ms"]
        if not self.is_controller:
            metadata.start()
            self.channel = RemoteChannel(self, timeout_ms)
            return
        self.topic_decisions = TopicDecisions(metadata.pending, self.ids, self.rng, self._config_problem)
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

    def directory_id(self, path: str) -> bytes:
        return self._directory_ids[path]

    def online_directory_ids(self) -> list[bytes]:
        return [self._directory_ids[dir] for dir in self.config.log_dirs if self.logs.is_online(dir)]

    def online_directory(self, id_: bytes) -> str | None:
        """The path of one of this broker's directories, None where it has none of that id, or has lost it."""
        paths = (path for path, directory_id in self._directory_ids.items() if directory_id == id_)
        return next((path for path in paths if self.logs.is_online(path)), None)

    def offline_directory_ids(self) -> list[bytes]:
        failed = (directory for directory in self.logs.directories.values() if directory.failed is not None)
        return [self._directory_ids[directory.path] for directory in failed if directory.path in self._directory_ids]

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

    def _start_duties(self) -> None:
        config, every = self.config, self.housekeeping.every
        every("idle connections", lambda: self.server.idle_check_ms, self.server.close_idle)
        if self._snapshots is not None:
            every("metadata retention", lambda: 60_000, self._snapshots.clean)
        if self.controller is not None:
            every("metadata no-op", lambda: config["metadata.max.idle.interval.ms"] or 500, self._metadata_noop)
            for name, interval_ms, duty in self.controller.duties():
                every(name, interval_ms, duty)
        if not self.is_broker:
            return
        first_ms = config["log.initial.task.delay.ms"]
        every("retention", lambda: config["log.retention.check.interval.ms"], self._retention, first_ms=first_ms)
        for name, key in (
            (RECOVERY_POINTS, "log.flush.offset.checkpoint.interval.ms"),
            (LOG_STARTS, "log.flush.start.offset.checkpoint.interval.ms"),
            (HIGH_WATERMARKS, "replica.high.watermark.checkpoint.interval.ms"),
        ):
            write = partial(self.upkeep.checkpoint, name)
            every(name, partial(config.__getitem__, key), write, first_ms=first_ms)
        every("deletion", lambda: 1_000, lambda: self.upkeep.remove_dropped(self.clock.mono_ms()))
        every("lag of followers", lambda: config["replica.lag.time.max.ms"] // 2, self.replication.check_lag)
        every("rolled segments", lambda: 1_000, self.upkeep.flush_rolled)
        every("flushes by age", lambda: config["log.flush.scheduler.interval.ms"], self._flush_old, first_ms=first_ms)
        every("producers", lambda: config["producer.id.expiration.check.interval.ms"], self._expire_producers)
        self.compaction.start()

    def _metadata_noop(self) -> None:
        if self.config["metadata.max.idle.interval.ms"] > 0:
            self.metadata.write_noop()

    def _flush_old(self) -> None:
        for found in self.upkeep.due_flushes(self.clock.wall_ms()):
            # Who fails is told to `storage_failed`; nobody waits for this one.
            self.flusher.flush(found).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _expire_producers(self) -> None:
        self.upkeep.expire_producers(self.clock.wall_ms() - self.config["producer.id.expiration.ms"] + 1)

    def _retention(self) -> None:
        self.upkeep.apply_retention(self.clock.wall_ms(), compacted=False)

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
        self._topics.close()
        await self.replica_moves.close()
        if self._groups is not None:
            await self._groups.close()
        await self.replica_fetchers.close()
        if hasattr(self, "channel"):
            await self.channel.close()
        if self._voter_changes is not None:
            await self._voter_changes.close()
        if self._snapshots is not None:
            await self._snapshots.close()
        if hasattr(self, "metadata"):
            await self.metadata.close(tell=tell and self.takes_leave and not self.failed.done())

    def close_files(self) -> None:
        """The second half: logs closed, and marked as clean."""
        with self.machine.executor(CLOSING_THREADS, "riverport-close") as closing:
            self.logs.close(self.broker_epoch, closing.map)
        self._executor.shutdown(wait=True)

    # --- metadata

    def _metadata_changed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        if delta.everything or delta.brokers or delta.topics or delta.deleted_topics:
            everything = delta.everything or bool(delta.brokers)
            names = [*delta.topics, *delta.deleted_topics.values()]
            self.view.changed(image, None if everything else names)
        if delta.everything:
            self._topics.reload(image)
        else:
            deleted = [(name, id_) for id_, name in delta.deleted_topics.items()]
            self._topics.apply(image, sorted(delta.topics), deleted)
        if delta.brokers:
            self.replica_fetchers.brokers_changed(delta.brokers)
        if delta.configs:
            self.replica_fetchers.try_again()
        if "__consumer_offsets" in delta.topics or "__consumer_offsets" in delta.deleted_topics.values():
            self.groups.follow()
        elif delta.everything and self._groups is not None:
            self._groups.follow()
        if delta.deleted_topics and self._groups is not None:
            self._groups.topics_deleted(delta.deleted_topics)
        self.client_quotas.changed(image, delta)
        self.replication.changed(image, delta)
        if delta.features:
            self.lifecycle.level_changed()
            self._follow_cordoned()
        for kind, name in sorted(delta.configs):
            if kind == TOPIC_RESOURCE:
                self.logs.update_config(name, self.log_config(name))

    def _settings_changed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Dynamic settings of this node: what reads `config` has them at once, what keeps a copy is told here."""
        if not self.configs.follow(delta):
            return
        self.server.settings_changed()
        self._follow_cordoned()
        self.compaction.settings_changed()
        self.replica_fetchers.resize()
        self._topic_defaults = topic_settings.broker_defaults(self.config.values)
        self.logs.update_configs(self.log_config)

    def _follow_cordoned(self) -> None:
        """Cordoned directories get no new partitions; the controller is told, so that it can choose other brokers."""
        known = self.metadata.image.features.get(features.METADATA_VERSION, 0) >= CORDONED_SINCE
        cordoned = self.config.cordoned_log_dirs if known else ()
        if cordoned != self.logs.cordoned:
            self.logs.cordoned = cordoned
            self.lifecycle.directories_changed()

    def log_config(self, topic: str) -> LogConfig:
        """What the topic's configuration means for its logs now."""
        configs = self.metadata.image.config(TOPIC_RESOURCE, topic)
        return topic_settings.log_config(topic_settings.values_of(self._topic_defaults, configs))

    def _config_problem(self, kind: int, name: str, values: Mapping[str, str]) -> str | None:
        try:
            self.configs.rules.ensure_allowed(Resource(ResourceType.of(kind), name), values, {})
        except ApiError as refused:
            return refused.message
        return None

    def has_topic(self, name: str | None) -> bool:
        return name in self.metadata.image.topics

    def missing_topic(self, name: str, *, may_create: bool) -> ErrorCode:
        """What a client is told of a topic that is not there; makes it where `auto.create.topics.enable` allows."""
        if name_problem(name) is not None:
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        if not may_create or not self.config["auto.create.topics.enable"]:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self.create_topic(name)
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def create_topic(self, name: str) -> None:
        """Make a topic that somebody asked for by name, once."""
        if name in self._creating:
            return
        self._creating.add(name)
        # What this broker's own file says counts, and else what the controller's does.
        given = self.config.values.given
        wanted = m.CreateTopicsRequest.CreatableTopic(
            name,
            self.config["num.partitions"] if "num.partitions" in given else -1,
            self.config["default.replication.factor"] if "default.replication.factor" in given else -1,
        )
        if name == "__consumer_offsets":
            wanted.num_partitions = self.config["offsets.topic.num.partitions"]
            wanted.replication_factor = self.config["offsets.topic.replication.factor"]
            wanted.configs = [
                m.CreateTopicsRequest.CreatableTopicConfig(key, value)
                for key, value in (
                    ("compression.type", "producer"),
                    ("cleanup.policy", "compact"),
                    ("segment.bytes", str(self.config["offsets.topic.segment.bytes"])),
                )
            ]
        done = self.channel.send(m.CreateTopicsRequest([wanted]))

        def finished(done: "asyncio.Future[Any]") -> None:
            self._creating.discard(name)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.warning("a topic could not be made", topic=name, error=error)

        done.add_done_callback(finished)

    def decide_create_topics(self, request: m.CreateTopicsRequest, charge: Charge) -> Outcome:
        return self.topic_decisions.create(
            request, self.config["num.partitions"], self.config["default.replication.factor"], charge
        )

    def created_topic_configs(self, given: Iterable[tuple[str, str | None]]) -> list[Any]:
        """Every configuration that a topic made with `given` has, as the answer to its creation shows it (KIP-525)."""
        shown = m.CreateTopicsResponse.CreatableTopicConfigs
        own = {key: value for key, value in given if value is not None}
        return [shown(c.key, c.value, False, c.source, c.sensitive) for c in self.configs.rules.effective(own)]

    def _request_producer_ids(self) -> None:
        request = m.AllocateProducerIdsRequest(broker_id=self.node_id, broker_epoch=self.broker_epoch)

        def arrived(done: "asyncio.Future[Any]") -> None:
            if done.cancelled() or done.exception() is not None or done.result().error_code:
                self.producer_ids.block_refused()
            else:
                self.producer_ids.block_arrived(done.result().producer_id_start, done.result().producer_id_len)

        self.channel.send(request).add_done_callback(arrived)

    def supported_features(self) -> dict[str, tuple[int, int]]:
        return features.SUPPORTED

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

    # --- failures

    def storage_failed(self, failed: Log, error: Exception) -> None:
        """The disk did not do what a log asked of it: nothing that lies beside it is to be trusted either (KIP-112)."""
        if failed.is_deleted:
            return  # somebody came too late: its files have another name by now, or none
        if failed.topic == "__cluster_metadata":
            failed.failed = error
            self._give_up(error)
            return
        self.logs.fail(self.logs.directory_of(failed).path, error)

    def file_failed(self, error: StorageError) -> None:
        """As `storage_failed`, where the log is not at hand: by the path of the file."""
        for found in [found for found in self.logs if error.path.startswith(f"{found.dir}/")]:
            self.storage_failed(found, error)

    def _directory_failed(self, path: str, error: Exception) -> None:
        for partition in self.partitions.values():
            if partition.log is not None and partition.log.failed is not None:
                self.replica_fetchers.unfollow(partition)
                partition.log = None
                wake(partition, 0, self.loop)
        if self._groups is not None:
            self._groups.follow()
        if (
            all(directory.failed is not None for directory in self.logs.directories.values())
            or path == self.config.metadata_log_dir
        ):
            self._give_up(error)
        else:
            self.lifecycle.directories_changed()

    def _give_up(self, error: Exception) -> None:
        if not self.failed.done():
            log.error("the node stops, it has no directory left to work with", error=error)
            self.failed.set_result(error)
