"""The group coordinators of one broker: one shard for each partition of `__consumer_offsets` that it leads.

Made when somebody first asks for groups, or when the topic is there: a broker without groups has none of this. A
partition that this broker begins to lead is read in slices between other work; its groups answer
COORDINATOR_LOAD_IN_PROGRESS until it is done.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.groups.config import GroupConfig
from riverport.kafka.groups.coordinator import Coordinator
from riverport.kafka.groups.loading import replay_batches
from riverport.kafka.groups.records import partition_of
from riverport.kafka.groups.turn import Now, Turn
from riverport.kafka.log import Isolation
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.group_shard import GroupShard, ShardState
from riverport.kafka.server.topics import OFFSETS_TOPIC
from riverport.kafka.wire.errors import ApiError, ErrorCode, WireError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

LOAD_SLICE_BYTES = 16 * 1024
"""What is read and replayed at once: some 200 records, two milliseconds."""

Decision = Callable[[Coordinator, Now], Turn]


class GroupShell:
    """Used from the event loop only."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._config = _group_config(broker)
        self._codec = Codec(broker.config["offsets.topic.compression.codec"])
        self._shards: dict[int, GroupShard] = {}
        self._partition_count = 0
        self._to_load: list[GroupShard] = []
        self._loading: asyncio.Task[None] | None = None
        broker.housekeeping.every(
            "expiry of offsets", lambda: broker.config["offsets.retention.check.interval.ms"], self.expire
        )
        self.follow()

    # --- requests

    def ask(self, group_id: str, decide: Decision) -> Any:
        """The response, or a future of it.

        Raises ApiError: what the coordinator raises, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS.
        """
        shard = self.shard_of(group_id)
        return shard.perform(decide(shard.coordinator, shard.now()))

    def shard_of(self, group_id: str) -> GroupShard:
        """The shard that serves a group. Raises ApiError NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS."""
        shard = self._shards.get(partition_of(group_id, self._partition_count)) if self._partition_count else None
        if shard is None or shard.state is ShardState.CLOSED:
            raise ApiError(ErrorCode.NOT_COORDINATOR)
        if shard.state is ShardState.LOADING:
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return shard

    def coordinators(self) -> list[Coordinator]:
        """All of this broker. Raises ApiError COORDINATOR_LOAD_IN_PROGRESS while one is not complete."""
        if any(shard.state is ShardState.LOADING for shard in self._shards.values()):
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return [shard.coordinator for shard in self._active()]

    def _active(self) -> Iterator[GroupShard]:
        return (shard for shard in list(self._shards.values()) if shard.state is ShardState.ACTIVE)

    # --- what the metadata says

    def follow(self) -> None:
        """Take over the partitions that this broker leads now, give up those that it does not."""
        broker = self._broker
        topic = broker.metadata.image.topics.get(OFFSETS_TOPIC)
        self._partition_count = 0 if topic is None else len(topic.partitions)
        led = {}
        for index in range(self._partition_count):
            partition = broker.partitions.get((OFFSETS_TOPIC, index))
            if partition is not None and partition.is_leader and partition.log is not None:
                led[index] = partition
        for index, shard in list(self._shards.items()):
            if led.get(index) is not shard.partition:
                shard.close()
                del self._shards[index]
        for index, partition in led.items():
            if index not in self._shards:
                self._take_over(index, partition)

    def _take_over(self, index: int, partition: Partition) -> None:
        coordinator = Coordinator(self._config, self._new_id)
        shard = self._shards[index] = GroupShard(self._broker, partition, coordinator, self._codec)
        assert partition.log is not None
        if partition.log.log_end_offset == partition.log.log_start_offset:
            shard.start()
            return
        self._to_load.append(shard)
        if self._loading is None:
            self._loading = self._broker.loop.create_task(self._load_all())

    def _new_id(self) -> str:
        text = self._broker.ids.uuid().hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def topics_deleted(self, topics: Mapping[bytes, str]) -> None:
        """Topics, names by id, are gone."""
        for shard in list(self._shards.values()):
            if shard.state is ShardState.LOADING:
                shard.deleted_topics.update(topics)
            elif shard.state is ShardState.ACTIVE:
                shard.forget_topics(topics)

    # --- loading

    async def _load_all(self) -> None:
        try:
            while self._to_load:
                shard = self._to_load.pop(0)
                if shard.state is not ShardState.LOADING:
                    continue
                try:
                    await self._load(shard)
                except (ApiError, RecordError, WireError, OSError) as error:
                    # Serving what could be read would make consumers begin anew: as Apache Kafka, serve nothing.
                    log.error("groups could not be loaded", partition=shard.partition, error=error)
                    shard.close()
        finally:
            self._loading = None

    async def _load(self, shard: GroupShard) -> None:
        partition = shard.partition
        offset = partition.leader_log().log_start_offset
        started_ms = self._broker.clock.mono_ms()
        # To the end of the log, not only to the high watermark: a new leader has records that were committed, and
        # acknowledged, before it knows that they were. All of them will be committed in its epoch.
        while offset < (log_ := partition.leader_log()).log_end_offset:  # anew: it may move to another directory
            read = log_.read(offset, LOAD_SLICE_BYTES, isolation=Isolation.LOG_END, min_one=True)
            following = replay_batches(shard.coordinator, read.records, offset)
            if following == offset:
                break  # compaction has taken everything up to the end
            offset = following
            await asyncio.sleep(0)
            if shard.state is not ShardState.LOADING:
                return
        spent_ms = round(self._broker.clock.mono_ms() - started_ms)
        log.info("groups are loaded", partition=partition, groups=len(shard.coordinator.groups), ms=spent_ms)
        shard.start()

    # --- by the clock

    def expire(self) -> None:
        """Forget offsets and groups that are past their retention."""
        for shard in self._active():
            shard.perform(shard.coordinator.expire(shard.now()))

    async def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()


def _group_config(broker: "Broker") -> GroupConfig:
    config = broker.config
    return GroupConfig(
        min_session_timeout_ms=config["group.min.session.timeout.ms"],
        max_session_timeout_ms=config["group.max.session.timeout.ms"],
        initial_rebalance_delay_ms=config["group.initial.rebalance.delay.ms"],
        max_size=config["group.max.size"],
        offset_metadata_max_bytes=config["offset.metadata.max.bytes"],
        offsets_retention_ms=config["offsets.retention.minutes"] * 60_000,
    )
