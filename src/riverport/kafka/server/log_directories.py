"""The log directories of a node: the id of each in the metadata (KIP-858), and what is lost when one fails (KIP-112).

A disk that did not do what a log asked of it is not trusted with anything else that lies beside that log: the whole
directory goes offline. The node gives up when it has none left, or when the metadata log's own is lost.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from riverport.base.files import StorageError
from riverport.base.logging import get_logger
from riverport.kafka.log import Log
from riverport.kafka.server.identity import give_identities, load_identities, not_formatted
from riverport.kafka.server.waiting import wake

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

log = get_logger(__name__)


class LogDirectories:
    """Known by path in the settings, by id in the metadata."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._ids: dict[str, bytes] = {}

    def identify(self) -> str:
        """Lock the directories, read the id of each, give one to who is new; returns the cluster's id.

        Raises StorageError where none is formatted, or one for somebody else.
        """
        broker = self._broker
        config, files = broker.config, broker.files
        unusable: dict[str, StorageError] = {}
        dirs = dict.fromkeys((*config.log_dirs, config.metadata_log_dir))
        identities = load_identities(files, dirs, config.node_id, unusable)
        if broker.is_controller and config.metadata_log_dir not in identities:
            # Without it the cluster would begin anew, and take its topics' logs for those of nobody.
            raise unusable.get(config.metadata_log_dir, not_formatted(config.metadata_log_dir))
        give_identities(files, identities, dirs, broker.ids.uuid, unusable)
        if config.metadata_log_dir in unusable:
            raise unusable[config.metadata_log_dir]
        self._ids = {dir: identity.directory_id for dir, identity in identities.items()}
        broker.logs.lock(self._ids, unusable)
        return next(iter(identities.values())).cluster_id

    def id_of(self, path: str) -> bytes:
        return self._ids[path]

    def online_ids(self) -> list[bytes]:
        logs = self._broker.logs
        return [self._ids[path] for path in self._broker.config.log_dirs if logs.is_online(path)]

    def offline_ids(self) -> list[bytes]:
        failed = (found.path for found in self._broker.logs.directories.values() if found.failed is not None)
        return [self._ids[path] for path in failed if path in self._ids]

    def online_path(self, id_: bytes) -> str | None:
        """The path of one of this broker's directories, None where it has none of that id, or has lost it."""
        paths = (path for path, directory_id in self._ids.items() if directory_id == id_)
        return next((path for path in paths if self._broker.logs.is_online(path)), None)

    # --- failures

    def log_failed(self, failed: Log, error: Exception) -> None:
        """The disk did not do what a log asked of it."""
        if failed.is_deleted:
            return  # somebody came too late: its files have another name by now, or none
        if failed.topic == "__cluster_metadata":
            failed.failed = error
            self._give_up(error)
            return
        logs = self._broker.logs
        logs.fail(logs.directory_of(failed).path, error)

    def file_failed(self, error: StorageError) -> None:
        """As `log_failed`, where the log is not at hand: by the path of the file."""
        for found in [found for found in self._broker.logs if error.path.startswith(f"{found.dir}/")]:
            self.log_failed(found, error)

    def failed(self, path: str, error: Exception) -> None:
        """The directory is offline, its logs have failed: nobody may wait for them."""
        broker = self._broker
        for partition in broker.partitions.values():
            if partition.log is not None and partition.log.failed is not None:
                broker.replica_fetchers.unfollow(partition)
                partition.log = None
                wake(partition, 0, broker.loop)
        if broker.has_groups:
            broker.groups.follow()
        all_failed = all(found.failed is not None for found in broker.logs.directories.values())
        if all_failed or path == broker.config.metadata_log_dir:
            self._give_up(error)
        else:
            broker.lifecycle.directories_changed()

    def could_not_be_told(self, ids: Iterable[bytes]) -> None:
        """The controller has not heard of these failed directories in time."""
        paths = ", ".join(path for path, id_ in self._ids.items() if id_ in ids)
        self._give_up(StorageError(f"the controller could not be told of the failed log directories {paths}"))

    def _give_up(self, error: Exception) -> None:
        if not self._broker.failed.done():
            log.error("the node stops, its directories have failed", error=error)
            self._broker.failed.set_result(error)
