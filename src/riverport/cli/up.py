"""`riverport up`: a broker with embedded defaults, in the foreground, with nothing else needed."""

import argparse
import json
import os
import signal
import sys
from contextlib import nullcontext

from riverport.cli.command import guarded, make_parser
from riverport.cli.embedded import (
    HOST,
    client_port,
    embedded_properties,
    format_if_new,
    free_port,
    throwaway_directory,
)


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "up",
        "Start a Kafka broker; Ctrl-C stops it.",
        [
            "riverport up                           # data goes when it stops",
            "riverport up --dir data --override num.partitions=3",
        ],
    )
    made.add_argument("--brokers", type=int, default=1, metavar="N", help="brokers (one in this release)")
    made.add_argument("--dir", metavar="DIR", help="keep the data here; without it the data goes with the broker")
    made.add_argument(
        "--port", type=int, default=9092, metavar="P", help="port for clients, 0 for any free one (default 9092)"
    )
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
    # Ended before it runs, it would leave the directory behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    with nullcontext(given.dir) if given.dir is not None else throwaway_directory() as data:
        return _serve(given, data)


def _serve(given: argparse.Namespace, data: str) -> int:
    from riverport.base.logging import configure
    from riverport.cli.kafka import overrides
    from riverport.kafka.server.main import run as run_node

    configure()
    properties = embedded_properties(data, given.port, free_port(), overrides(given.override))
    format_if_new(properties)

    def ready(ports: dict[str, int]) -> None:
        _announce(given, int(properties["node.id"]), client_port(ports), data)

    return run_node(properties, ready)


def _announce(given: argparse.Namespace, node_id: int, port: int, data: str) -> None:
    bootstrap = f"{HOST}:{port}"
    if given.json:
        line = {"bootstrap": bootstrap, "nodes": [{"id": node_id, "pid": os.getpid(), "port": port}]}
        print(json.dumps(line), flush=True)
        return
    kept = f"data in {data}" if given.dir else "data goes when it stops (--dir keeps it)"
    print(f"Kafka is up: bootstrap.servers={bootstrap}\n{kept}; Ctrl-C stops it", flush=True)
