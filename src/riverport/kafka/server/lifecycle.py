"""A broker's life with the controller: registration, heartbeats, leave-taking (KIP-631).

register     until the controller gives an epoch; the broker is known, and fenced
join         once it has read the metadata up to its registration it is unfenced
heartbeats   every broker.heartbeat.interval.ms, so that the controller knows it is there
leave        its leaderships are given up, and when the others know, it is fenced and stops
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.base.tasks import Tasks
from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller import features
from riverport.kafka.controller.cluster import CORDONED_SINCE, DIRECTORIES_SINCE
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.server.controller import SECURITY_PROTOCOLS
from riverport.kafka.server.endpoints import reachable
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

RETRY_MS = 100
LEAVE_TIMEOUT_MS = 5_000
"""How long a stopping broker waits for the controller's leave."""
LEAVE_RETRY_MS = 20


class Lifecycle:
    """`epoch` is this broker's incarnation, -1 until it is registered."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.epoch = -1
        self._incarnation_id = broker.ids.uuid()
        self._unheard = asyncio.Event()  # the last heartbeat was refused, or reached nobody
        self._controller_epoch = -1
        self._beating: asyncio.Task[None] | None = None
        self._telling = Tasks(broker.loop)
        self._told_offline: frozenset[bytes] = frozenset()  # failed directories that the controller knows of

    async def register(self) -> None:
        """Raises StorageError when the controller cannot be had within `initial.broker.registration.timeout.ms`."""
        broker = self._broker
        request = self._registration()
        timeout_ms: int = broker.config["initial.broker.registration.timeout.ms"]
        deadline = broker.clock.mono_ms() + timeout_ms
        while True:
            reason = await self._try_register(request)
            if not reason:
                return
            if broker.clock.mono_ms() >= deadline:
                raise StorageError(f"the broker could not be registered within {timeout_ms} ms: {reason}")
            await asyncio.sleep(RETRY_MS / 1000)

    async def _try_register(self, request: m.BrokerRegistrationRequest) -> str:
        """Why it did not work, "" where it did."""
        offline = frozenset(self._broker.directories.offline_ids())
        try:
            response = await self._broker.channel.send(request)
        except ClientError as error:
            return str(error)
        if response.error_code:
            return ErrorCode(response.error_code).name
        self.epoch = response.broker_epoch
        self._told_offline = offline
        return ""

    def _registration(self) -> m.BrokerRegistrationRequest:
        broker = self._broker
        listener = m.BrokerRegistrationRequest.Listener
        return m.BrokerRegistrationRequest(
            broker_id=broker.node_id,
            cluster_id=broker.cluster_id,
            incarnation_id=self._incarnation_id,
            listeners=[
                listener(e.listener, *reachable(e, broker.ports), SECURITY_PROTOCOLS[e.protocol])
                for e in broker.config.advertised_listeners
            ],
            features=[
                m.BrokerRegistrationRequest.Feature(name, low, high) for name, (low, high) in features.SUPPORTED.items()
            ],
            rack=broker.config.rack,
            log_dirs=broker.directories.online_ids(),
            previous_broker_epoch=broker.logs.broker_epoch,
        )

    async def join(self) -> None:
        """Returns once the controller has unfenced this broker."""
        while (answer := await self._beat()) is None or answer.is_fenced:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(RETRY_MS / 1000)
        broker = self._broker
        self._controller_epoch = broker.metadata.image.epoch
        broker.metadata.subscribe(self._followed)
        self._beating = broker.loop.create_task(self._beat_on())

    async def _beat_on(self) -> None:
        while True:
            await self._until_next()
            try:
                await self._beat()
            except Exception:
                log.exception("a heartbeat failed")

    async def _until_next(self) -> None:
        """An interval, or RETRY_MS from when one is not heard: also one that was told in between, as `_followed` does.

        A controller that has just been elected refuses heartbeats until it is active, and watches for death only who
        it has heard of (ADR 7).
        """
        interval_ms: int = self._broker.config["broker.heartbeat.interval.ms"]
        retry_ms = min(interval_ms, RETRY_MS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((interval_ms - retry_ms) / 1000):
                await self._unheard.wait()
        await asyncio.sleep(retry_ms / 1000)

    async def _beat(self, *, want_shut_down: bool = False) -> m.BrokerHeartbeatResponse | None:
        """The controller's answer; None where it could not be asked, or does not know this broker."""
        broker = self._broker
        request = m.BrokerHeartbeatRequest(
            broker_id=broker.node_id,
            broker_epoch=self.epoch,
            current_metadata_offset=broker.metadata.image.offset,
            want_shut_down=want_shut_down,
            offline_log_dirs=broker.directories.offline_ids(),
            cordoned_log_dirs=self._cordoned(),
        )
        try:
            response: m.BrokerHeartbeatResponse = await broker.channel.send(request)
        except ClientError as error:
            if not self._unheard.is_set():
                log.warning("no heartbeat reached the controller", error=error)
            self._unheard.set()
            return None
        if response.error_code in (0, ErrorCode.STALE_BROKER_EPOCH):
            self._unheard.clear()
        else:
            self._unheard.set()
        if response.error_code == ErrorCode.STALE_BROKER_EPOCH and not want_shut_down:
            # The controller has forgotten this registration: get a new one, as a broker that is new.
            log.warning("the controller does not know this broker any more, it registers again")
            await self._try_register(self._registration())
            return None
        if response.error_code == ErrorCode.STALE_BROKER_EPOCH:
            response.should_shut_down = True  # nobody waits for who is not known
        elif response.error_code:
            return None
        else:
            self._told_offline = frozenset(request.offline_log_dirs)
        return response

    def _followed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Tell at once how far the metadata is read where somebody waits for that.

        A broker that leaves may go when all others know who leads in its place, and a controller that is new in its
        office holds those for dead that it does not hear of.
        """
        nodes = [image.brokers[id_] for id_ in delta.brokers if id_ in image.brokers and id_ != self._broker.node_id]
        is_new = image.epoch != self._controller_epoch
        self._controller_epoch = image.epoch
        if is_new or any(node.in_controlled_shutdown and not node.fenced for node in nodes):
            self._tell(self._beat())

    def _cordoned(self) -> list[bytes] | None:
        """The directories that take no new partitions; None where the cluster does not know of such a thing yet."""
        broker = self._broker
        if broker.metadata.image.features.get(features.METADATA_VERSION, 0) < CORDONED_SINCE:
            return None
        return [broker.directories.id_of(path) for path in broker.config.cordoned_log_dirs]

    def level_changed(self) -> None:
        """An upgrade may have brought room for what this broker's registration could not tell: its directories."""
        image = self._broker.metadata.image
        own = image.brokers.get(self._broker.node_id)
        knows = image.features.get(features.METADATA_VERSION, 0) >= DIRECTORIES_SINCE
        if knows and own is not None and own.epoch == self.epoch and not own.log_dirs:
            self._tell(self._try_register(self._registration()))

    def directories_changed(self) -> None:
        """Tell the controller at once, not with the next heartbeat, which directories are cordoned or have failed."""
        if self.epoch < 0:
            return
        self._tell(self._beat())
        if not self._told_offline.issuperset(offline := self._broker.directories.offline_ids()):
            self._tell(self._insist(offline))

    async def _insist(self, offline: list[bytes]) -> None:
        """The node may not go on for long with directories of which the controller believes that they are good.

        It would leave leaders there that nobody can reach (KIP-858).
        """
        await asyncio.sleep(self._broker.config["log.dir.failure.timeout.ms"] / 1000)
        if not self._told_offline.issuperset(offline):
            self._broker.directories.could_not_be_told(offline)

    def _tell(self, what: Coroutine[Any, Any, object]) -> None:
        self._telling.start(what)

    async def close(self) -> None:
        """No more heartbeats, and nothing else is told by itself."""
        tasks = [*self._telling, *([self._beating] if self._beating is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Give up leaderships and get fenced, if the controller can be asked and that is wanted."""
        if self.epoch < 0 or not self._broker.config["controlled.shutdown.enable"]:
            return
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_MS / 1000):
                while (answer := await self._beat(want_shut_down=True)) is None or not answer.should_shut_down:  # noqa: ASYNC110
                    await asyncio.sleep(LEAVE_RETRY_MS / 1000)
        except TimeoutError:
            log.warning("the controller did not let the broker go in time, it goes all the same")
