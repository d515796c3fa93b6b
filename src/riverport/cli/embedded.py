"""A broker with embedded defaults: what `up` runs in the foreground and `demo` beside itself."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

NODE_ID = 1
HOST = "127.0.0.1"
DEFAULTS = {
    "process.roles": "broker,controller",
    "node.id": str(NODE_ID),
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""What differs from Kafka's defaults: one node is all there is, and nobody waits for others to join a group."""


def embedded_properties(data: str, port: int, controller_port: int, overrides: dict[str, str]) -> dict[str, str]:
    """The `server.properties` of an embedded node. Port 0 for the clients' listener is any free one."""
    node_id = overrides.get("node.id", DEFAULTS["node.id"])
    return {
        **DEFAULTS,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "controller.quorum.voters": f"{node_id}@{HOST}:{controller_port}",
        "log.dirs": os.path.abspath(data),
        **overrides,
    }


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def client_port(ports: dict[str, int]) -> int:
    """The clients' port among the bound ports of a node's listeners."""
    return next(port for name, port in ports.items() if name != "CONTROLLER")


def format_if_new(properties: dict[str, str], cluster_id: str | None = None) -> None:
    """Format the directories of a node that has none yet; without an id, for a new cluster.

    Raises ConfigError, StorageError.
    """
    from riverport.base.files import OsFiles
    from riverport.base.ids import SystemIds, uuid_text
    from riverport.kafka.server.identity import META_PROPERTIES
    from riverport.kafka.server.settings import load
    from riverport.kafka.server.storage_format import format_storage

    config = load(properties)
    if os.path.exists(f"{config.metadata_log_dir}/{META_PROPERTIES}"):
        return
    ids = SystemIds()
    format_storage(OsFiles(), ids, config, cluster_id or uuid_text(ids.uuid()), now_ms=time.time_ns() // 1_000_000)


@contextmanager
def throwaway_directory() -> Iterator[str]:
    """A directory that goes with the block."""
    import shutil
    import tempfile

    path = tempfile.mkdtemp(prefix="riverport-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does: brokers stop and their directory goes."""
    import signal

    def unwind(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@asynccontextmanager
async def embedded_broker(data: str, overrides: dict[str, str]) -> AsyncIterator[str]:
    """A broker on this event loop and any free port; yields its address. Raises as `Broker.start` does."""
    import asyncio

    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.settings import load

    properties = embedded_properties(data, 0, free_port(), overrides)
    format_if_new(properties)
    broker = Broker(load(properties), asyncio.get_running_loop())
    try:
        await broker.start()
        yield f"{HOST}:{client_port(broker.ports)}"
    finally:
        await broker.stop()
