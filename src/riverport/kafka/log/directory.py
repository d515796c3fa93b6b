"""One log directory: whose it is, how the last run left it, and its checkpoints.

`.kafka_cleanshutdown` is removed when a directory is taken and written at the end of a clean stop: while it is missing,
every log of the directory is recovered. A checkpoint has a line for each log that has something to say in it; none may
ever name a log that is gone, or a start would take it for another one's of the same name.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from riverport.base.files import Files, StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log import checkpoints
from riverport.kafka.log.checkpoints import OffsetsByPartition
from riverport.kafka.log.log import Log

log = get_logger(__name__)

CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
CLEANED = "cleaner-offset-checkpoint"
CHECKPOINTS = (RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS, CLEANED)


@dataclass(slots=True)
class Directory:
    path: str
    id: bytes
    lock: Any = None
    clean: bool = False  # how the last run ended
    broker_epoch: int = -1  # of the last run, where it ended cleanly
    loaded: bool = False  # a stop before that has nothing to add to what the last run left
    failed: Exception | None = None
    logs: int = 0  # how many lie in it
    found: dict[str, OffsetsByPartition] = field(default_factory=dict)  # its checkpoints, as they were at the start
    named: set[tuple[str, int]] = field(default_factory=set)  # partitions that its checkpoints may name

    def take(self, files: Files) -> None:
        """Lock it for this process, and read how the last one left it. Raises StorageError."""
        files.mkdir(self.path)
        self.lock = files.lock(f"{self.path}/.lock")
        self.found = {name: _read_checkpoint(files, f"{self.path}/{name}") for name in CHECKPOINTS}
        self.named = {partition for offsets in self.found.values() for partition in offsets}
        mark = f"{self.path}/{CLEAN_SHUTDOWN}"
        self.clean = files.exists(mark)
        if self.clean:
            self.broker_epoch = _epoch_in(files.read(mark))
            # From now on a stop is unclean until `mark_clean` says otherwise, and a power cut must not undo that.
            files.remove(mark)
            files.sync_dir(self.path)

    def mark_clean(self, files: Files, broker_epoch: int) -> None:
        """A clean stop: everything in it is synced, and its checkpoints say so."""
        mark = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":"))
        files.write(f"{self.path}/{CLEAN_SHUTDOWN}", mark.encode())
        files.sync_dir(self.path)

    def write_checkpoints(self, files: Files, logs: Iterable[Log]) -> None:
        """All four, from the logs that lie here: they name no other afterwards."""
        logs = list(logs)
        for name in CHECKPOINTS:
            checkpoints.write_offsets(files, f"{self.path}/{name}", offsets_of(logs, name))
        self.named = {(found.topic, found.partition) for found in logs}


def offsets_of(logs: Iterable[Log], checkpoint: str) -> OffsetsByPartition:
    """What one checkpoint says of these logs."""
    if checkpoint == RECOVERY_POINTS:
        return {(item.topic, item.partition): item.recovery_point for item in logs}
    if checkpoint == HIGH_WATERMARKS:
        return {(item.topic, item.partition): item.high_watermark for item in logs}
    if checkpoint == CLEANED:
        return {(item.topic, item.partition): item.cleaned_to for item in logs if item.cleaned_to >= 0}
    assert checkpoint == LOG_STARTS, checkpoint
    # A log that starts with its first segment needs no line.
    moved = (item for item in logs if item.log_start_offset > item.segments[0].base_offset)
    return {(item.topic, item.partition): item.log_start_offset for item in moved}


def _read_checkpoint(files: Files, path: str) -> OffsetsByPartition:
    try:
        return checkpoints.read_offsets(files, path)
    except StorageError as error:
        if error.operation != checkpoints.PARSE:
            raise
        log.warning("a damaged checkpoint is taken for an empty one", path=path, error=error)
        return {}


def _epoch_in(mark: bytes) -> int:
    """What a mark of a clean stop says of the broker's epoch; -1 where it says nothing."""
    try:
        return int(json.loads(mark or b"{}").get("brokerEpoch", -1))
    except (ValueError, AttributeError, TypeError):
        return -1
