"""What a node does by the clock, each duty at the interval that its setting says."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from riverport.kafka.log.directory import HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_CHECKPOINTS = (
    (RECOVERY_POINTS, "log.flush.offset.checkpoint.interval.ms"),
    (LOG_STARTS, "log.flush.start.offset.checkpoint.interval.ms"),
    (HIGH_WATERMARKS, "replica.high.watermark.checkpoint.interval.ms"),
)
_METADATA_RETENTION_MS = 60_000
_SOON_MS = 1_000


def start_duties(broker: "Broker") -> None:
    """Begin all duties of the node's roles; `broker.housekeeping` ends them."""
    every, snapshots = broker.housekeeping.every, broker.snapshots
    every("idle connections", lambda: broker.server.idle_check_ms, broker.server.close_idle)
    if snapshots is not None:
        every("metadata retention", lambda: _METADATA_RETENTION_MS, snapshots.clean)
    if broker.controller is not None:
        every("metadata no-op", lambda: broker.config["metadata.max.idle.interval.ms"] or 500, partial(_noop, broker))
        for name, interval_ms, duty in broker.controller.duties():
            every(name, interval_ms, duty)
    if broker.is_broker:
        _start_log_duties(broker)
        broker.compaction.start()


def _start_log_duties(broker: "Broker") -> None:
    upkeep, clock, every = broker.upkeep, broker.clock, broker.housekeeping.every
    first_ms = broker.config["log.initial.task.delay.ms"]

    def setting(key: str) -> Callable[[], int]:
        # Looked up each time: what is dynamic has another value when it is changed.
        return lambda: broker.config[key]

    def apply_retention() -> None:
        upkeep.apply_retention(clock.wall_ms(), compacted=False)

    every("retention", setting("log.retention.check.interval.ms"), apply_retention, first_ms=first_ms)
    for name, key in _CHECKPOINTS:
        every(name, setting(key), partial(upkeep.checkpoint, name), first_ms=first_ms)
    every("deletion", lambda: _SOON_MS, lambda: upkeep.remove_dropped(clock.mono_ms()))
    every("lag of followers", lambda: broker.config["replica.lag.time.max.ms"] // 2, broker.replication.check_lag)
    every("rolled segments", lambda: _SOON_MS, upkeep.flush_rolled)
    flush_old = partial(_flush_old, broker)
    every("flushes by age", setting("log.flush.scheduler.interval.ms"), flush_old, first_ms=first_ms)
    every("producers", setting("producer.id.expiration.check.interval.ms"), partial(_expire_producers, broker))


def _noop(broker: "Broker") -> None:
    if broker.config["metadata.max.idle.interval.ms"] > 0:
        broker.metadata.write_noop()


def _flush_old(broker: "Broker") -> None:
    for found in broker.upkeep.due_flushes(broker.clock.wall_ms()):
        # Who fails is told to the directories; nobody waits for this one.
        broker.flusher.flush(found).add_done_callback(lambda done: done.cancelled() or done.exception())


def _expire_producers(broker: "Broker") -> None:
    broker.upkeep.expire_producers(broker.clock.wall_ms() - broker.config["producer.id.expiration.ms"] + 1)
