"""`riverport up`: a broker or a cluster with embedded defaults, in the foreground, with nothing else needed.

One broker is this process. Of several each is a process of its own, and this one is their supervisor.
"""

import argparse
import json
import os
import signal
import sys
from contextlib import nullcontext
from typing import Any

from riverport.cli.command import Problem, guarded, make_parser
from riverport.cli.embedded import (
    HOST,
    client_port,
    embedded_properties,
    format_if_new,
    free_port,
    throwaway_directory,
)

MOST_BROKERS = 100


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "up",
        "Start a Kafka broker, or a cluster of several; Ctrl-C stops it.",
        [
            "riverport up                           # data goes when it stops",
            "riverport up --dir data --override num.partitions=3",
            "riverport up --brokers 3               # ports 9092, 9093, 9094",
        ],
    )
    made.add_argument("--brokers", type=int, default=1, metavar="N", help="brokers, each a process (default 1)")
    made.add_argument("--dir", metavar="DIR", help="keep the data here; without it the data goes with the brokers")
    made.add_argument(
        "--port",
        type=int,
        default=9092,
        metavar="P",
        help="the first broker's port for clients, others follow; 0 for any free ones (default 9092)",
    )
    made.add_argument("--racks", default="", metavar="A,B,...", help="broker.rack of the brokers, in turn")
    made.add_argument("--json", action="store_true", help="print one line of JSON once every broker answers")
    made.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="a server.properties entry")
    return made


def run(words: list[str]) -> int:
    made = parser()
    given = made.parse_args(words)
    if not 1 <= given.brokers <= MOST_BROKERS:
        made.error(f"--brokers {given.brokers}: a cluster has 1 to {MOST_BROKERS}")
    if not 0 <= given.port <= 65536 - given.brokers:
        made.error(f"--port {given.port}: a port is a number from 0 to {65536 - given.brokers}")
    # Ended before it runs, it would leave the directory behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    with nullcontext(given.dir) if given.dir is not None else throwaway_directory() as data:
        return _serve(given, data) if given.brokers == 1 else _supervise(given, data)


def _serve(given: argparse.Namespace, data: str) -> int:
    from riverport.base.logging import configure
    from riverport.cli.kafka import overrides
    from riverport.kafka.server.main import run as run_node

    configure()
    if given.dir is not None and _is_cluster(data):
        raise Problem(f"{data} holds a cluster of several brokers", "start it with --brokers")
    properties = embedded_properties(data, given.port, free_port(), overrides(given.override))
    format_if_new(properties)

    def ready(ports: dict[str, int]) -> None:
        port = client_port(ports)
        node = {"id": int(properties["node.id"]), "pid": os.getpid(), "port": port}
        _announce(given, f"{HOST}:{port}", [node])

    return run_node(properties, ready)


def _supervise(given: argparse.Namespace, data: str) -> int:
    from riverport.cli.cluster_plan import plan_cluster, write_plan
    from riverport.cli.kafka import overrides
    from riverport.cli.supervisor import Supervisor

    racks = [rack.strip() for rack in given.racks.split(",") if rack.strip()]
    plan = plan_cluster(data, given.brokers, given.port, racks, overrides(given.override))
    write_plan(data, plan)

    def answered(nodes: list[dict[str, Any]]) -> None:
        _announce(given, plan.bootstrap, [{key: node[key] for key in ("id", "pid", "port")} for node in nodes])

    return Supervisor(plan, answered).run()


def _is_cluster(data: str) -> bool:
    return os.path.exists(os.path.join(data, "node-1", "meta.properties"))


def _announce(given: argparse.Namespace, bootstrap: str, nodes: list[dict[str, int]]) -> None:
    if given.json:
        print(json.dumps({"bootstrap": bootstrap, "nodes": nodes}), flush=True)
        return
    kept = f"data in {given.dir}" if given.dir else "data goes when it stops (--dir keeps it)"
    broken = "" if len(nodes) == 1 else "; `riverport chaos` breaks it"
    print(f"Kafka is up: bootstrap.servers={bootstrap}\n{kept}; Ctrl-C stops it{broken}", flush=True)
