"""All logs of one node, in one or several directories (KIP-112: one directory may fail, the others go on).

A directory is locked, has its `meta.properties`, and four checkpoints: recovery points, log starts, high watermarks,
and up to where the cleaner has been. `.kafka_cleanshutdown` is removed at the start and written at the end of a clean
stop: while it is missing, every log of the directory is recovered. What is done by the clock is in `upkeep`.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from riverport.base.files import Files, StorageError
from riverport.base.ids import uuid_bytes, uuid_text
from riverport.base.logging import get_logger
from riverport.kafka.log import checkpoints
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.log import Log
from riverport.kafka.log.recovery import open_log
from riverport.kafka.log.segment import Segment

log = get_logger(__name__)

CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
CLEANED = "cleaner-offset-checkpoint"
CHECKPOINTS = (RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS, CLEANED)
METADATA_DIR = "__cluster_metadata-0"
PARTITION_METADATA = "partition.metadata"


@dataclass(slots=True)
class Directory:
    """One log directory."""

    path: str
    id: bytes
    lock: Any
    clean: bool
    failed: Exception | None = None


class LogManager:
    """Finds, makes and deletes logs. `failed_dir(path, error)` is told when a directory goes offline."""

    def __init__(
        self,
        files: Files,
        dirs: list[str],
        new_id: Callable[[], bytes],
        failed_dir: Callable[[str, Exception], None] = lambda path, error: None,
    ) -> None:
        self.files = files
        self.directories: dict[str, Directory] = {}
        self.broker_epoch = -1  # of the previous run, where it ended cleanly
        self._paths = dirs
        self._new_id = new_id
        self._failed_dir = failed_dir
        self._logs: dict[tuple[str, int], Log] = {}
        self.doomed: list[tuple[float, str | Segment]] = []  # when to remove what: directories, and segments' files
        self._points: dict[str, dict[str, checkpoints.OffsetsByPartition]] = {}  # as they were found at the start

    def __iter__(self) -> Iterator[Log]:
        return iter(self._logs.values())

    def __len__(self) -> int:
        return len(self._logs)

    # --- opening and closing

    def lock(self, directory_ids: dict[str, bytes]) -> None:
        """Take the directories. Raises StorageError where another process has one."""
        for path in self._paths:
            self.files.mkdir(path)
            lock = self.files.lock(f"{path}/.lock")
            clean = self.files.exists(f"{path}/{CLEAN_SHUTDOWN}")
            if clean:
                self._read_clean_shutdown(path)
            self.directories[path] = Directory(path, directory_ids[path], lock, clean)
            self._points[path] = {
                name: checkpoints.read_offsets(self.files, f"{path}/{name}") for name in CHECKPOINTS
            }

    def _read_clean_shutdown(self, path: str) -> None:
        try:
            found = json.loads(self.files.read(f"{path}/{CLEAN_SHUTDOWN}") or b"{}")
            self.broker_epoch = int(found.get("brokerEpoch", -1))
        except (ValueError, AttributeError):
            self.broker_epoch = -1

    def unmark_clean(self) -> None:
        """From now on a stop is unclean until `close` says otherwise."""
        for directory in self.directories.values():
            self.files.remove(f"{directory.path}/{CLEAN_SHUTDOWN}")

    def load(self, config_of: Callable[[str], LogConfig], now_ms: int) -> None:
        """Open every partition's directory."""
        for directory in self.directories.values():
            try:
                for name in self.files.listdir(directory.path):
                    self._load_one(directory, name, config_of, now_ms)
            except StorageError as error:
                self.fail(directory.path, error)
        self.unmark_clean()

    def _load_one(self, directory: Directory, name: str, config_of: Callable[[str], LogConfig], now_ms: int) -> None:
        path = f"{directory.path}/{name}"
        if name.endswith("-delete"):
            self.doomed.append((0, path))
            return
        topic, dash, index = name.rpartition("-")
        if not dash or not index.isdigit() or name == METADATA_DIR or not self.files.is_dir(path):
            return
        partition = int(index)
        topic_id = self._read_topic_id(path)
        opened = self._open(directory, path, topic, partition, topic_id, config_of(topic), now_ms)
        self._logs[(topic, partition)] = opened

    def _read_topic_id(self, path: str) -> bytes:
        for line in self.files.read(f"{path}/{PARTITION_METADATA}").decode().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "topic_id":
                return uuid_bytes(value.strip())
        raise StorageError("parse", f"{path}/{PARTITION_METADATA}", 0, "no topic_id")

    def _open(
        self,
        directory: Directory,
        path: str,
        topic: str,
        partition: int,
        topic_id: bytes,
        config: LogConfig,
        now_ms: int,
    ) -> Log:
        points = self._points[directory.path]
        key = (topic, partition)
        opened = open_log(
            self.files,
            path,
            topic,
            partition,
            topic_id,
            config,
            now_ms,
            clean=directory.clean,
            recovery_point=points[RECOVERY_POINTS].get(key, 0),
            log_start=points[LOG_STARTS].get(key, 0),
            high_watermark=points[HIGH_WATERMARKS].get(key, 0),
        )
        opened.cleaned_to = points[CLEANED].get(key, -1)
        return opened

    def close(self, broker_epoch: int) -> None:
        """A clean stop: everything synced, checkpoints written, directories marked clean."""
        for directory in self.directories.values():
            if directory.failed is not None:
                continue
            try:
                for opened in self.logs_in(directory.path):
                    opened.close()
                for name in CHECKPOINTS:
                    checkpoints.write_offsets(self.files, f"{directory.path}/{name}", self.offsets(directory, name))
                mark = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":"))
                self.files.write(f"{directory.path}/{CLEAN_SHUTDOWN}", mark.encode())
                self.files.sync_dir(directory.path)
            except StorageError as error:
                self.fail(directory.path, error)
            directory.lock.release()

    # --- logs

    def get(self, topic: str, partition: int) -> Log | None:
        return self._logs.get((topic, partition))

    def get_or_create(self, topic: str, partition: int, topic_id: bytes, config: LogConfig, now_ms: int) -> Log:
        """The log of a partition, made in the directory with the fewest logs. Raises StorageError."""
        found = self._logs.get((topic, partition))
        if found is not None:
            if found.topic_id == topic_id:
                return found
            # A topic of this name was deleted and made again while this broker was away.
            self.delete(topic, partition, 0)
        directory = self._emptiest()
        path = f"{directory.path}/{topic}-{partition}"
        try:
            self.files.mkdir(path)
            text = f"version: 0\ntopic_id: {uuid_text(topic_id)}"
            self.files.write(f"{path}/{PARTITION_METADATA}", text.encode(), sync=False)
            created = open_log(self.files, path, topic, partition, topic_id, config, now_ms, clean=True)
        except StorageError as error:
            self.fail(directory.path, error)
            raise
        self._logs[(topic, partition)] = created
        return created

    def _emptiest(self) -> Directory:
        online = [d for d in self.directories.values() if d.failed is None]
        if not online:
            raise StorageError("no log directory is online")
        if len(online) == 1:
            return online[0]
        return min(online, key=lambda directory: sum(1 for _ in self.logs_in(directory.path)))

    def delete(self, topic: str, partition: int, now_mono_ms: float) -> None:
        """Take a log away: its directory is renamed at once and removed after `file.delete.delay.ms`."""
        doomed = self._logs.pop((topic, partition))
        doomed.is_deleted = True
        for segment in (*doomed.segments, *doomed.take_dropped()):
            segment.release()
        unique = uuid_text(self._new_id()).replace("-", "_")
        name = f"{topic}-{partition}.{unique}-delete"
        if len(name) > 255:
            name = f"{topic[: 255 - len(name)]}-{partition}.{unique}-delete"
        path = f"{doomed.dir.rpartition('/')[0]}/{name}"
        self.files.rename(doomed.dir, path)
        self.doomed.append((now_mono_ms + doomed.config.file_delete_delay_ms, path))

    def update_config(self, topic: str, config: LogConfig) -> None:
        for (name, _), found in self._logs.items():
            if name == topic:
                found.update_config(config)

    # --- directories

    def is_online(self, path: str) -> bool:
        directory = self.directories.get(path)
        return directory is not None and directory.failed is None

    def logs_in(self, path: str) -> Iterator[Log]:
        prefix = path + "/"
        return (found for found in self._logs.values() if found.dir.startswith(prefix))

    def fail(self, path: str, error: Exception) -> None:
        """A directory is lost: its logs refuse everything from now on."""
        directory = self.directories[path]
        if directory.failed is not None:
            return
        directory.failed = error
        log.error("a log directory is offline", path=path, error=error)
        for found in self.logs_in(path):
            found.failed = error
        self._failed_dir(path, error)

    def directory_of(self, found: Log) -> Directory:
        return self.directories[found.dir.rpartition("/")[0]]

    def offsets(self, directory: Directory, checkpoint: str) -> checkpoints.OffsetsByPartition:
        """What one of a directory's checkpoints says now."""
        logs = self.logs_in(directory.path)
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
