"""Tells the controller in which of its directories a broker's replicas lie (KIP-858, AssignReplicasToDirs)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.ids import ZERO_UUID
from riverport.base.logging import get_logger
from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller.cluster import DIRECTORIES_SINCE
from riverport.kafka.controller.features import METADATA_VERSION
from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.replica.assignments import Assignments
from riverport.kafka.replica.partition import Partition
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

MIGRATING, UNASSIGNED = ZERO_UUID, bytes(15) + b"\x01"
"""Directories of metadata that does not know of directories, and of replicas that are told to be in none yet."""


class DirectoryAssignments:
    """Used from the event loop only."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._core = Assignments(broker.node_id)
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._told: asyncio.Future[None] | None = None  # somebody waits for it

    def assigned(self, registration: PartitionRegistration) -> bytes:
        """Where the metadata says that this broker's replica lies."""
        if not registration.directories:
            return MIGRATING
        return registration.directories[registration.replicas.index(self._broker.node_id)]

    def check(self, partition: Partition, registration: PartitionRegistration) -> None:
        """Tell the controller where the replica lies, if the metadata says something else."""
        broker = self._broker
        if partition.log is None or broker.metadata.image.features.get(METADATA_VERSION, 0) < DIRECTORIES_SINCE:
            return
        actual = broker.logs.directory_of(partition.log).id
        if actual != ZERO_UUID and actual != self.assigned(registration):
            self._core.assign(partition.topic_id, partition.index, actual, broker.clock.mono_ms())
            self._schedule()

    def moved(self, partition: Partition) -> None:
        """The replica lies in another directory now."""
        topic = self._broker.metadata.image.topic_by_id(partition.topic_id)
        registration = None if topic is None else topic.partitions.get(partition.index)
        if registration is not None and self._broker.node_id in registration.replicas:
            self.check(partition, registration)

    async def told(self) -> None:
        """Returns once the controller knows everything, or has been asked in vain once."""
        if len(self._core):
            self._told = self._broker.loop.create_future()
            await self._told

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        due_ms = self._core.due_ms()
        if self._timer is None and due_ms is not None and not self._closed:
            delay_ms = max(due_ms - self._broker.clock.mono_ms(), 0)
            self._timer = self._broker.loop.call_later(delay_ms / 1000, self._send)

    def _send(self) -> None:
        self._timer = None
        broker = self._broker
        request = self._core.request(broker.broker_epoch, broker.metadata.image)
        if request is None:
            self._tell_who_waits()
            self._schedule()
            return
        broker.channel.send(request).add_done_callback(self._answered)

    def _answered(self, done: "asyncio.Future[Any]") -> None:
        if done.cancelled() or self._closed:
            return
        error = done.exception()
        if error is not None and not isinstance(error, ClientError):
            log.error("the controller could not be told where replicas lie", error=error)
        response = None if error is not None else done.result()
        again = self._core.answered(response, self._broker.clock.mono_ms())
        if again:
            code = ErrorCode(response.error_code).name if response is not None else ""
            log.info("the controller has to be told again where replicas lie", replicas=again, error=error, code=code)
        if again or not len(self._core):
            self._tell_who_waits()
        self._schedule()

    def _tell_who_waits(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)
