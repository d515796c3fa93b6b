"""One node in a test process: its directory, its start, clean stop and crash. Lives in the broker's thread.

Its files are not synced: what a test's broker wrote survives its own crash, which takes back nothing that the system
has been given, but need not survive the machine's.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping

from riverport.base.clock import SystemClock
from riverport.base.files import Buffer, OsFile, OsFiles
from riverport.base.ids import SystemIds, uuid_text
from riverport.base.settings import ConfigError
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.dispatch import RequestFilter
from riverport.kafka.server.identity import META_PROPERTIES
from riverport.kafka.server.settings import PLUGIN_PREFIXES, TABLE, load, setting_of
from riverport.kafka.server.storage_format import format_storage


class HostedNode:
    """`node` is None while it is stopped. Ports that were free ones at the first start stay what they became."""

    def __init__(
        self, properties: Mapping[str, str], request_filter: RequestFilter, cluster_id: str | None = None
    ) -> None:
        """Without a cluster id, a new cluster is begun in a directory that is new.

        Raises ConfigError, also for a key that does not exist: in a test it is a slip of the pen.
        """
        _check_keys(properties)
        self._properties = dict(properties)
        self._config = load(properties)
        self._request_filter = request_filter
        self._cluster_id = cluster_id
        self._files = UnsyncedFiles()
        self.node: Node | None = None
        self.failure: Exception | None = None  # what made the last node give up

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first listener, which is one for clients where the node is a broker."""
        endpoint = (self._config.broker_listeners or self._config.controller_listeners)[0]
        return endpoint.host or "127.0.0.1", endpoint.port

    async def start(self) -> None:
        if not self._files.exists(f"{self._config.metadata_log_dir}/{META_PROPERTIES}"):
            ids, now_ms = SystemIds(), SystemClock().wall_ms()
            format_storage(self._files, ids, self._config, self._cluster_id or uuid_text(ids.uuid()), now_ms=now_ms)
        node = Node(self._config, asyncio.get_running_loop(), files=self._files)
        node.request_filter = self._request_filter
        try:
            await node.start()
        except BaseException:
            await node.stop()
            raise
        self.node = node
        self._keep_ports(node.ports)

    async def stop(self, *, take_leave: bool = True) -> None:
        """A clean stop; without leave-taking where the whole cluster stops."""
        node = self._given_up()
        node.takes_leave = take_leave
        await node.stop()

    async def kill(self) -> None:
        """A killed process leaves its files as they were when it last told anybody anything: those are what we keep."""
        node = self._given_up()
        await node.withdraw(tell=False)
        dirs = dict.fromkeys((*self._config.log_dirs, self._config.metadata_log_dir))
        for dir in dirs:
            shutil.copytree(dir, f"{dir}.killed")
        node.close_files()
        for dir in dirs:
            shutil.rmtree(dir)
            os.rename(f"{dir}.killed", dir)

    def _given_up(self) -> Node:
        node, self.node = self.node, None
        assert node is not None
        self.failure = node.failed.result() if node.failed.done() else None
        return node

    def _keep_ports(self, ports: Mapping[str, int]) -> None:
        listeners = []
        for endpoint in self._config.listeners:
            host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
            listeners.append(f"{endpoint.listener}://{host}:{ports[endpoint.listener]}")
        self._properties["listeners"] = ",".join(listeners)
        self._config = load(self._properties)


def _check_keys(properties: Mapping[str, str]) -> None:
    problems = []
    for key in properties:
        if setting_of(key) is None and not key.startswith(PLUGIN_PREFIXES):
            nearest = " or ".join(TABLE.nearest(key))
            problems.append(f"there is no setting {key}" + (f"; did you mean {nearest}?" if nearest else ""))
    if problems:
        raise ConfigError(problems)


class _UnsyncedFile(OsFile):
    __slots__ = ()

    def sync(self) -> None:
        pass


class UnsyncedFiles(OsFiles):
    """Files that the system brings to the disk when it likes."""

    file_type = _UnsyncedFile

    def write(self, path: str, content: Buffer, *, sync: bool = True) -> None:
        super().write(path, content, sync=False)

    def sync_dir(self, path: str) -> None:
        pass
