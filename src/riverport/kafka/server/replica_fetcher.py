"""One connection to one leader, over which a broker replicates the partitions that are led there.

It connects, runs a `ReplicaExchange` until the connection is lost, and performs the effects of answers on partitions.
What happens elsewhere (metadata, a failed directory) rings the bell.
"""

import asyncio
from typing import TYPE_CHECKING

from riverport.base.logging import get_logger
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError, Disconnected
from riverport.kafka.replica import follower
from riverport.kafka.replica.fetcher import Effect, Fetcher, FetchLimits, Refused, StartAt, Take, Truncate
from riverport.kafka.replica.quota import ReplicationQuota
from riverport.kafka.server.leader_doubts import LeaderDoubts
from riverport.kafka.server.replica_exchange import ReplicaExchange
from riverport.kafka.server.waiting import wake
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.controller.registrations import Endpoint
    from riverport.kafka.log import Log
    from riverport.kafka.replica.followed import Followed
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

FIRST_RECONNECT_MS = 20
"""After a connection was lost or refused; doubles up to `replica.fetch.backoff.ms`."""
CONNECT_TIMEOUT_MS = 10_000
_EXPECTED = frozenset(
    (
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.OFFSET_OUT_OF_RANGE,
    )
)
"""Errors that come with changes of leaders and topics, and go with them."""


class ReplicaFetcher:
    """Runs one `Fetcher` on one connection."""

    def __init__(self, broker: "Broker", leader_id: int, number: int, doubts: LeaderDoubts) -> None:
        config = broker.config
        self.leader_id = leader_id
        self.core = Fetcher(
            broker.node_id,
            FetchLimits(
                config["replica.fetch.wait.max.ms"],
                config["replica.fetch.min.bytes"],
                config["replica.fetch.response.max.bytes"],
                config["replica.fetch.max.bytes"],
                config["replica.fetch.backoff.ms"],
            ),
        )
        self._broker = broker
        self._doubts = doubts
        self._client_id = f"broker-{broker.node_id}-fetcher-{number}"
        self._timeout_ms: int = config["replica.socket.timeout.ms"]
        self._most_reconnect_ms: int = config["replica.fetch.backoff.ms"]
        self._bell: asyncio.Future[None] | None = None
        self._told = ""  # the last reason for not reaching the leader, so that it is logged once
        self._task = broker.loop.create_task(self._run())

    def ring(self) -> None:
        """There may be something to do."""
        bell = self._bell
        if bell is not None and not bell.done():
            bell.set_result(None)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # --- the connection

    async def _run(self) -> None:
        pause_ms = 0
        while True:
            endpoint = self._endpoint()
            try:
                if endpoint is None:
                    raise ClientError("its address is not known")
                connection = await Connection.open(
                    endpoint.host, endpoint.port, client_id=self._client_id, timeout_ms=CONNECT_TIMEOUT_MS
                )
                try:
                    self._told, pause_ms = "", 0
                    self._doubts.settled(self.leader_id)
                    self.core.fetch_version = connection.version_for(ApiKey.FETCH)
                    await self._exchange(connection)
                except Disconnected:
                    self._doubts.connection_lost(self.leader_id)
                    raise
                finally:
                    self.core.disconnected()
                    await connection.close()
            except ClientError as error:
                self._unreachable(error)
            except Exception:
                log.exception("replication from a leader failed", leader=self.leader_id)
            pause_ms = min(max(pause_ms * 2, FIRST_RECONNECT_MS), max(self._most_reconnect_ms, FIRST_RECONNECT_MS))
            await self._rest(pause_ms)

    def _endpoint(self) -> "Endpoint | None":
        broker = self._broker
        leader = broker.metadata.image.brokers.get(self.leader_id)
        return None if leader is None else leader.endpoint(broker.config.inter_broker_listener)

    def _unreachable(self, error: ClientError) -> None:
        if str(error) != self._told:
            self._told = str(error)
            log.warning("a leader cannot be reached", leader=self.leader_id, error=error)

    async def _rest(self, most_ms: float | None) -> None:
        """Wait until the bell rings, at most for a time."""
        loop = self._broker.loop
        self._bell = bell = loop.create_future()
        timer = None if most_ms is None else loop.call_later(max(most_ms, 0) / 1000, self.ring)
        try:
            await bell
        finally:
            self._bell = None
            if timer is not None:
                timer.cancel()

    async def _exchange(self, connection: Connection) -> None:
        """Send and answer until the connection is lost: raises ClientError then."""
        exchange = ReplicaExchange(self._broker, self.core, connection, self._timeout_ms, self._perform, self.ring)
        try:
            while True:
                await self._rest(exchange.run())
        finally:
            exchange.close()

    # --- effects

    def _perform(self, effects: list[Effect]) -> None:
        broker = self._broker
        now_ms, quota = broker.clock.wall_ms(), broker.replication.follower_quota
        cut: list[Log] = []
        for effect in effects:
            partition = effect.followed.partition
            try:
                if isinstance(effect, Take):
                    # Consumers may read from followers (KIP-392).
                    if self._take(effect, now_ms) and partition.waiters:
                        wake(partition, 0, broker.loop)
                    if quota.is_active and quota.is_throttled(partition.topic, partition.index):
                        self._throttle(effect, quota)
                elif isinstance(effect, Refused):
                    self._note(effect)
                elif self._cut(effect, now_ms) and partition.log is not None:
                    cut.append(partition.log)
            except ApiError as error:
                self._failed(effect.followed, error)
        if cut:
            # Before anything is appended: no checkpoint vouches for what was cut, and copies on their way follow.
            broker.logs.were_cut(cut)
            broker.replica_moves.were_cut(cut)

    def _take(self, take: Take, now_ms: int) -> bool:
        return follower.take(take.followed.partition, take.records, take.high_watermark, take.log_start, now_ms)

    def _throttle(self, take: Take, quota: ReplicationQuota) -> None:
        """Who is in sync is never held up: it would not be so for long (KIP-73)."""
        now_ms, own = self._broker.clock.mono_ms(), take.followed.partition.log
        if take.records:
            quota.record(len(take.records), now_ms)
        is_behind = own is not None and own.log_end_offset < take.high_watermark
        if is_behind and (excess_ms := quota.excess_ms(now_ms)) > 0:
            self.core.hold(take.followed, now_ms + excess_ms)

    def _cut(self, effect: Truncate | StartAt, now_ms: int) -> bool:
        partition = effect.followed.partition
        log.info("a log is cut to its leader's", partition=partition, offset=effect.offset, leader=self.leader_id)
        if isinstance(effect, StartAt):
            return follower.start_at(partition, effect.offset, now_ms)
        return follower.truncate(partition, effect.offset, now_ms)

    def _failed(self, followed: "Followed", error: ApiError) -> None:
        if error.code == ErrorCode.KAFKA_STORAGE_ERROR:
            self.core.fail(followed)
            return
        log.error("an answer of a leader cannot be taken", partition=followed.partition, error=error)
        self.core.delay(followed, self._broker.clock.mono_ms(), self._most_reconnect_ms)

    def _note(self, refused: Refused) -> None:
        tell = log.debug if refused.code in _EXPECTED else log.warning
        tell(
            "a leader refuses a partition",
            partition=refused.followed.partition,
            leader=self.leader_id,
            epoch=refused.followed.leader_epoch,
            error=ErrorCode(refused.code).name,
        )
