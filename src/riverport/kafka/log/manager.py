"""All logs of one node, in one or several directories (KIP-112: one directory may fail, the others go on).

Which logs there are and where each lies is decided here; `directory` has what one directory remembers of its logs,
`partition_directory` what theirs are called. What is done by the clock is in `upkeep`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Literal

from riverport.base.files import Files, StorageError
from riverport.base.ids import ZERO_UUID
from riverport.base.logging import get_logger
from riverport.kafka.log import checkpoints
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.directory import CLEANED, HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS, Directory, offsets_of
from riverport.kafka.log.log import Log
from riverport.kafka.log.partition_directory import (
    future_index,
    is_leftover,
    name_aside,
    partition_of,
    read_topic_id,
    write_topic_id,
)
from riverport.kafka.log.recovery import open_log
from riverport.kafka.log.segment import Segment

log = get_logger(__name__)

METADATA_DIR = "__cluster_metadata-0"
CallEach = Callable[[Callable[[Log], None], Iterable[Log]], Iterable[None]]
"""`map`, or one that does the same on threads."""


class DuplicateLog(StorageError):
    """A partition lies in two directories: which one is right only the operator can say."""

    def __init__(self, topic: str, partition: int, first: str, second: str) -> None:
        super().__init__(
            f"Duplicate log directories for {topic}-{partition} are found in both {first} and {second}. It is likely "
            "because log directory failure happened while broker was replacing current replica with future replica. "
            "Recover broker from this failure by manually deleting one of the two directories for this partition. It "
            "is recommended to delete the partition in the log directory that is known to have failed recently."
        )


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
        self.broker_epoch = -1  # of the previous run, where it ended cleanly everywhere
        self._paths = dirs
        self._new_id = new_id
        self._failed_dir = failed_dir
        self.cordoned: tuple[str, ...] = ()  # directories in which no log is made while there are others
        self.preferred: dict[tuple[str, int], str] = {}  # directories for logs that are not made yet, by the operator
        self._logs: dict[tuple[str, int], Log] = {}
        self.doomed: list[tuple[float, str | Segment]] = []  # when to remove what: directories, and segments' files
        self._unfinished: dict[tuple[bytes, int], str] = {}  # moves that the last run has begun
        self._outdated: set[str] = set()  # directories whose checkpoints name logs that are gone
        self._being_written = 0  # checkpoints, by jobs

    def __iter__(self) -> Iterator[Log]:
        return iter(self._logs.values())

    def __len__(self) -> int:
        return len(self._logs)

    # --- opening and closing

    def lock(self, directory_ids: Mapping[str, bytes], unusable: Mapping[str, StorageError] | None = None) -> None:
        """Take the directories, except those that are known to be unusable: they are offline from the start.

        Raises StorageError where another process has one, or where none can be used.
        """
        for path in self._paths:
            directory = self.directories[path] = Directory(path, directory_ids.get(path, ZERO_UUID))
            try:
                if unusable and path in unusable:
                    raise unusable[path]
                directory.take(self.files)
            except StorageError as error:
                if error.operation == "lock":
                    raise
                self.fail(path, error)
        self._check_one_is_online()
        # One that is offline, or was when the others were closed, may have lost what was acknowledged (KIP-966).
        epochs = {-1 if found.failed is not None else found.broker_epoch for found in self.directories.values()}
        self.broker_epoch = epochs.pop() if len(epochs) == 1 else -1

    def _check_one_is_online(self) -> None:
        failed = [directory.failed for directory in self.directories.values()]
        if failed and None not in failed:
            raise StorageError(f"no log directory can be used: {failed[0]}") from failed[0]

    def load(self, config_of: Callable[[str], LogConfig], now_ms: int) -> None:
        """Open every partition's directory. Raises DuplicateLog, StorageError where no directory can be used."""
        of_topic = cache(config_of)
        for directory in self.directories.values():
            if directory.failed is not None:
                continue
            try:
                for name in self.files.listdir(directory.path):
                    self._load_one(directory, name, of_topic, now_ms)
                self._lower_recovery_points(directory)
                directory.loaded = True
            except DuplicateLog:
                raise
            except StorageError as error:
                self.fail(directory.path, error)
        self._check_one_is_online()

    def _lower_recovery_points(self, directory: Directory) -> None:
        """A log that was cut has less on the disk than its checkpoint says, and the cut itself is not there either."""
        known, now = directory.found[RECOVERY_POINTS], self.offsets(directory, RECOVERY_POINTS)
        if any(point < known.get(partition, 0) for partition, point in now.items()):
            checkpoints.write_offsets(self.files, f"{directory.path}/{RECOVERY_POINTS}", now)

    def _load_one(self, directory: Directory, name: str, config_of: Callable[[str], LogConfig], now_ms: int) -> None:
        path = f"{directory.path}/{name}"
        if is_leftover(name):
            self.doomed.append((0, path))
            index = future_index(name)
            if index is not None and (topic_id := read_topic_id(self.files, path)) is not None:
                self._unfinished[topic_id, index] = directory.path
            return
        found = partition_of(name)
        if found is None or name == METADATA_DIR or not self.files.is_dir(path):
            return
        known = self._logs.get(found)
        if known is not None:
            raise DuplicateLog(*found, known.dir, path)
        topic, partition = found
        topic_id = read_topic_id(self.files, path)
        if topic_id is None:
            self._set_aside(path, topic, partition)
            return
        self._keep(self._open(directory, path, topic, partition, topic_id, config_of(topic), now_ms))

    def _set_aside(self, path: str, topic: str, partition: int) -> None:
        """Whose log it is cannot be known: what is in it is kept under another name, as Kafka keeps stray logs."""
        segments = [entry for entry in self.files.listdir(path) if entry.endswith(".log")]
        if not any(self.files.size(f"{path}/{entry}") for entry in segments):
            self.files.rmtree(path)
            return
        stray = f"{path.rpartition('/')[0]}/{name_aside(topic, partition, self._new_id(), 'stray')}"
        log.warning("a log without its topic's id is set aside", path=path, to=stray)
        self.files.rename(path, stray)

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
        points, key = directory.found, (topic, partition)
        opened = open_log(
            self.files,
            path,
            topic,
            partition,
            topic_id,
            config,
            now_ms,
            clean=directory.clean,
            recovery_point=points[RECOVERY_POINTS].get(key),
            log_start=points[LOG_STARTS].get(key, 0),
            high_watermark=points[HIGH_WATERMARKS].get(key, 0),
        )
        opened.cleaned_to = points[CLEANED].get(key, -1)
        return opened

    def close(self, broker_epoch: int, each: CallEach = map) -> None:
        """A clean stop: everything synced, checkpoints written, directories marked clean.

        One that was not loaded, because the start failed before, stays what it was when it was locked. `each` calls a
        function with each log, on threads if it likes: syncs that wait together take a fraction of the time.
        """
        for directory in self.directories.values():
            if directory.failed is not None:
                continue
            try:
                if directory.loaded:
                    self._close_logs(directory, each)
                if directory.loaded or directory.clean:
                    directory.mark_clean(self.files, broker_epoch if directory.loaded else directory.broker_epoch)
            except StorageError as error:
                self.fail(directory.path, error)
        for directory in self.directories.values():
            if directory.lock is not None:
                directory.lock.release()

    def _close_logs(self, directory: Directory, each: CallEach) -> None:
        for _ in each(Log.close, self.logs_in(directory.path)):
            pass  # raises what a close has raised
        directory.write_checkpoints(self.files, self.logs_in(directory.path))

    # --- logs

    def get(self, topic: str, partition: int) -> Log | None:
        return self._logs.get((topic, partition))

    def get_or_create(
        self,
        topic: str,
        partition: int,
        topic_id: bytes,
        config: LogConfig,
        now_ms: int,
        *,
        is_new: bool = True,
        wanted: str | None = None,
    ) -> Log:
        """The log of a partition, made in the `wanted` directory or in the one with the fewest. Raises StorageError.

        One that is not new to this broker is not made while a directory is offline: that is where it may be. What the
        operator prefers goes before what is wanted.
        """
        found = self._logs.get((topic, partition))
        if found is not None:
            if found.topic_id == topic_id:
                return found
            # A topic of this name was deleted and made again while this broker was away.
            self.delete(topic, partition, 0)
        offline = [directory.path for directory in self.directories.values() if directory.failed is not None]
        if offline and not is_new:
            raise StorageError(
                f"Can not create log for {topic}-{partition} because log directories {', '.join(offline)} are offline"
            )
        wanted = self.preferred.pop((topic, partition), wanted)
        while True:
            directory = self.directories[wanted] if wanted is not None and self.is_online(wanted) else self._emptiest()
            self._forget_former(directory, topic, partition)
            if directory.failed is not None:
                continue
            try:
                created = self._create(
                    f"{directory.path}/{topic}-{partition}", topic, partition, topic_id, config, now_ms
                )
            except StorageError as error:
                self.fail(directory.path, error)
                continue
            self._keep(created)
            return created

    def _keep(self, found: Log) -> None:
        self._logs[(found.topic, found.partition)] = found
        self.directory_of(found).logs += 1

    def _forget_former(self, directory: Directory, topic: str, partition: int) -> None:
        """Let no checkpoint say something of a log that is to be made: a start would take it for this log's."""
        if (topic, partition) in directory.named:
            self._outdated.add(directory.path)
            self._write_outdated()

    def were_cut(self, cut: Iterable[Log]) -> None:
        """Followers' logs were truncated: let no checkpoint vouch for what is written in the place of what is gone."""
        for found in cut:
            if found.failed is None:
                self._outdated.add(self.directory_of(found).path)
        self._write_outdated()

    def _write_outdated(self) -> None:
        if self._being_written:
            return  # `checkpoint_written` comes back to it
        for path in sorted(self._outdated):
            try:
                self.directories[path].write_checkpoints(self.files, self.logs_in(path))
            except StorageError as error:
                self.fail(path, error)
        self._outdated.clear()

    def _create(self, path: str, topic: str, partition: int, topic_id: bytes, config: LogConfig, now_ms: int) -> Log:
        self.files.mkdir(path)
        write_topic_id(self.files, path, topic_id)
        return open_log(self.files, path, topic, partition, topic_id, config, now_ms, clean=True)

    def open_future(self, found: Log, target: str, now_ms: int) -> Log:
        """An empty copy of a log in another directory; nothing here knows of it until `replace`."""
        name = name_aside(found.topic, found.partition, self._new_id(), "future")
        made = self._create(f"{target}/{name}", found.topic, found.partition, found.topic_id, found.config, now_ms)
        made.is_future = True
        return made

    def take_unfinished(self) -> dict[tuple[bytes, int], str]:
        """Where replicas were on their way to when the last run ended: the directory by topic id and partition."""
        unfinished, self._unfinished = self._unfinished, {}
        return unfinished

    def replace(self, old: Log, new: Log, now_mono_ms: float) -> None:
        """`new` has all that `old` has, in another directory: it is the log from now on, the old one is deleted."""
        self.delete(old.topic, old.partition, now_mono_ms)
        self._keep(new)

    def _emptiest(self) -> Directory:
        online = [d for d in self.directories.values() if d.failed is None]
        if not online:
            raise StorageError("no log directory is online")
        online = [d for d in online if d.path not in self.cordoned] or online
        return min(online, key=lambda directory: directory.logs)

    def delete(self, topic: str, partition: int, now_mono_ms: float) -> None:
        """Take a log away: its directory is renamed at once and removed after `file.delete.delay.ms`."""
        doomed = self._logs[(topic, partition)]
        path = self._take_away(doomed, "delete")
        if path is not None:
            self.doomed.append((now_mono_ms + doomed.config.file_delete_delay_ms, path))

    def set_aside(self, topic: str, partition: int) -> None:
        """Take a log away that should not be here: it is kept under another name, for the operator to look at."""
        stray = self._logs[(topic, partition)]
        path = self._take_away(stray, "stray")
        if path is not None:
            log.warning("a log that should not be here is set aside", path=stray.dir, to=path)

    def _take_away(self, found: Log, kind: Literal["delete", "stray"]) -> str | None:
        """The new name of the log's directory, None where it could not be renamed."""
        del self._logs[(found.topic, found.partition)]
        self.directory_of(found).logs -= 1
        found.is_deleted = True
        for segment in (*found.segments, *found.take_dropped()):
            segment.release()
        parent = found.dir.rpartition("/")[0]
        path = f"{parent}/{name_aside(found.topic, found.partition, self._new_id(), kind)}"
        try:
            self.files.rename(found.dir, path)
        except StorageError as error:
            self.fail(parent, error)
            return None
        return path

    def update_config(self, topic: str, config: LogConfig) -> None:
        for (name, _), found in self._logs.items():
            if name == topic:
                found.update_config(config)

    def update_configs(self, config_of: Callable[[str], LogConfig]) -> None:
        """`update_config` for every topic that has logs here, in one walk over them."""
        of_topic = cache(config_of)
        for (name, _), found in self._logs.items():
            found.update_config(of_topic(name))

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

    def checkpoint_begun(self, directory: Directory, offsets: checkpoints.OffsetsByPartition) -> None:
        """A job is going to write a checkpoint; it says `checkpoint_written` when it has, or could not."""
        directory.named.update(offsets)
        self._being_written += 1

    def checkpoint_written(self) -> None:
        self._being_written -= 1
        self._write_outdated()

    def offsets(self, directory: Directory, checkpoint: str) -> checkpoints.OffsetsByPartition:
        """What one of a directory's checkpoints says now."""
        return offsets_of(self.logs_in(directory.path), checkpoint)
