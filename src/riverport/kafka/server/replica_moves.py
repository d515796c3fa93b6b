"""Replicas on their way between the directories of this broker (KIP-113), one task for each.

A move ends with the replica in its new place, or it is abandoned: because its topic is deleted, a directory goes
offline, or another target is named. One that a stop or a crash interrupts is begun anew by the next start. All of them
together copy no more bytes a second than `replica.alter.log.dirs.io.max.bytes.per.second`.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log import Log
from riverport.kafka.log.move import Move
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.waiting import wake
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)

PAUSE_SECONDS = 0.001
"""Between two pieces, so that a move never takes the loop for itself."""
QUOTA_PAUSE_SECONDS = 0.2
"""Until the quota is looked at again where it is exceeded: it may have been changed."""
BUSY_PAUSE_SECONDS = 0.1
"""Until a log that is being cleaned is looked at again."""


class ReplicaMoves:
    """The moves of one broker; everything here is on the loop."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._moves: dict[Partition, tuple[Move, asyncio.Task[None]]] = {}

    def futures_in(self, path: str) -> list[Log]:
        """The unfinished copies in a directory."""
        return [move.future for move, _ in self._moves.values() if move.target == path]

    def start(self, partition: Partition, target: str) -> None:
        """Move a partition's log to another directory, or back to where it is. Raises StorageError."""
        known = self._moves.get(partition)
        if known is not None and known[0].target == target:
            return
        if known is not None:
            known[1].cancel()
            self._end(partition, known[0])
        found = partition.log
        assert found is not None, f"{partition} is offline"
        if self._broker.logs.directory_of(found).path == target:
            return
        move = Move(self._broker.logs, found, target, self._broker.clock.wall_ms())
        task = self._broker.loop.create_task(self._run(partition, move))
        self._moves[partition] = (move, task)

    def were_cut(self, logs: Sequence[Log]) -> None:
        """Followers' logs were truncated: copies that are on their way must not keep what is gone."""
        for move, _ in list(self._moves.values()):
            if move.found in logs:
                try:
                    move.was_cut()
                except StorageError as error:
                    self._broker.logs.fail(move.target, error)

    def take_up(self) -> None:
        """Begin anew what the last stop has interrupted; every replica that this broker still has is there by now."""
        broker = self._broker
        for (topic_id, index), target in broker.logs.take_unfinished().items():
            partition = broker.partitions.get((broker.topic_names.get(topic_id), index))
            if partition is None or partition.log is None or not broker.logs.is_online(target):
                continue
            log.info("a move between directories begins anew", log=partition.log, dir=target)
            try:
                self.start(partition, target)
            except StorageError as error:
                broker.logs.fail(target, error)

    async def close(self) -> None:
        """Interrupt what is not done."""
        moves, self._moves = self._moves, {}
        for _, task in moves.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in moves.values()), return_exceptions=True)
        for move, _ in moves.values():
            move.leave()

    async def _run(self, partition: Partition, move: Move) -> None:
        try:
            if await self._copy(partition, move):
                # No await from here on: nobody writes in between.
                self._finish(partition, move)
                return
            log.warning("a move between directories is abandoned", log=move.found, dir=move.target)
        except StorageError as error:
            log.error("a move between directories failed", log=move.found, dir=move.target, error=error)
            if error.path.startswith(move.target + "/") or error.path == move.target:
                self._broker.logs.fail(move.target, error)
        except ApiError as error:
            log.error("a log that is to move is damaged", log=move.found, error=error)
        self._end(partition, move)

    async def _copy(self, partition: Partition, move: Move) -> bool:
        """True once the copy is level and synced and the log may be replaced; False where there is nothing to move."""
        broker, synced = self._broker, False
        quota = broker.replication.moves_quota
        while self._is_wanted(partition, move):
            excess_ms = 0.0 if move.is_level else quota.excess_ms(broker.clock.mono_ms())
            if excess_ms > 0:
                await asyncio.sleep(min(excess_ms / 1000, QUOTA_PAUSE_SECONDS))
            elif not self._copy_piece(move):
                await asyncio.sleep(PAUSE_SECONDS)
            elif not synced:
                # What is left for `finish` to sync is little then.
                await broker.flusher.flush(move.future)
                synced = True
            elif move.found.is_being_cleaned or move.found.swap is not None:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)
            else:
                return True
        return False

    def _copy_piece(self, move: Move) -> bool:
        """Whether the copy is level now."""
        clock, before = self._broker.clock, move.copied_bytes
        is_level = move.copy(clock.wall_ms())
        if move.copied_bytes > before:
            self._broker.replication.moves_quota.record(move.copied_bytes - before, clock.mono_ms())
        return is_level

    def _is_wanted(self, partition: Partition, move: Move) -> bool:
        broker = self._broker
        return (
            partition.log is move.found
            and move.found.failed is None
            and broker.partitions.get((partition.topic, partition.index)) is partition
            and broker.logs.is_online(move.target)
        )

    def _finish(self, partition: Partition, move: Move) -> None:
        broker = self._broker
        moved = move.finish(broker.clock.wall_ms(), broker.clock.mono_ms())
        del self._moves[partition]
        partition.log = moved
        if partition.is_leader:
            moved.start_leader_epoch(partition.leader_epoch)
        broker.directory_assignments.moved(partition)
        wake(partition, 0, broker.loop)

    def _end(self, partition: Partition, move: Move) -> None:
        known = self._moves.get(partition)
        if known is not None and known[0] is move:
            del self._moves[partition]
        _abandon(move)


def _abandon(move: Move) -> None:
    try:
        move.abandon()
    except StorageError as error:
        log.warning("the copy of an abandoned move stays until the next start", log=move.found, error=error)
