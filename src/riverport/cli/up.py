"""`riverport up`: a broker with embedded defaults, in the foreground, with nothing else needed."""

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from riverport.base.files import OsFiles, StorageError
from riverport.base.settings import ConfigError

DEFAULTS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""What differs from Kafka's defaults: one node is all there is, and nobody waits for others to join a group."""
HOST = "127.0.0.1"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="riverport up", description="Start a Kafka broker; Ctrl-C stops it.")
    made.add_argument("--brokers", type=int, default=1, metavar="N", help="brokers (one in this release)")
    made.add_argument("--dir", metavar="DIR", help="keep the data here; without it the data goes with the broker")
    made.add_argument("--port", type=int, default=9092, metavar="P", help="port for clients, 0 for any free one")
    made.add_argument("--json", action="store_true", help="print one line of JSON once the broker answers")
    made.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="a server.properties entry")
    return made


def run(words: list[str]) -> int:
    made = parser()
    given = made.parse_args(words)
    if given.brokers != 1:
        made.error(f"--brokers {given.brokers}: this release runs one broker per cluster")
    if not 0 <= given.port <= 65535:
        made.error(f"--port {given.port}: a port is a number from 0 to 65535")
    data, throwaway = given.dir, given.dir is None
    if throwaway:
        data = tempfile.mkdtemp(prefix="riverport-")
        # Ended before it runs, it would leave the directory behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _serve(given, data)
    except ConfigError as error:
        for problem in error.problems:
            print(f"riverport: {problem}", file=sys.stderr)
        return 1
    except (OSError, StorageError) as error:
        print(f"riverport: {error}", file=sys.stderr)
        return 1
    finally:
        if throwaway:
            shutil.rmtree(data, ignore_errors=True)


def embedded_properties(data: str, port: int, controller_port: int) -> dict[str, str]:
    """The `server.properties` of an embedded node. Port 0 for the clients' listener is any free one."""
    return {
        **DEFAULTS,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "controller.quorum.voters": f"{DEFAULTS['node.id']}@{HOST}:{controller_port}",
        "log.dirs": os.path.abspath(data),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def format_if_new(properties: dict[str, str]) -> None:
    """Format the directories of a node that has none yet. Raises ConfigError, StorageError."""
    from riverport.base.ids import SystemIds, uuid_text
    from riverport.kafka.server.identity import META_PROPERTIES
    from riverport.kafka.server.settings import load
    from riverport.kafka.server.storage_format import format_storage

    config = load(properties)
    if os.path.exists(f"{config.metadata_log_dir}/{META_PROPERTIES}"):
        return
    ids = SystemIds()
    format_storage(OsFiles(), ids, config, uuid_text(ids.uuid()), now_ms=time.time_ns() // 1_000_000)


def _serve(given: argparse.Namespace, data: str) -> int:
    from riverport.base.logging import configure
    from riverport.cli.kafka import overrides
    from riverport.kafka.server.main import run as run_node

    configure()
    properties = {**embedded_properties(data, given.port, free_port()), **overrides(given.override)}
    format_if_new(properties)

    def ready(ports: dict[str, int]) -> None:
        port = next(port for name, port in ports.items() if name != "CONTROLLER")
        _announce(given, int(properties["node.id"]), port, data)

    return run_node(properties, ready)


def _announce(given: argparse.Namespace, node_id: int, port: int, data: str) -> None:
    bootstrap = f"{HOST}:{port}"
    if given.json:
        line: dict[str, Any] = {
            "bootstrap": bootstrap,
            "nodes": [{"id": node_id, "pid": os.getpid(), "port": port}],
        }
        print(json.dumps(line), flush=True)
        return
    kept = f"data in {data}" if given.dir else "data goes when it stops (--dir keeps it)"
    print(f"Kafka is up: bootstrap.servers={bootstrap}\n{kept}; Ctrl-C stops it", flush=True)
