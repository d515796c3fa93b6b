"""`riverport cluster`: brokers, metadata quorum, features and log directories."""

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from riverport.cli.command import UsageProblem, connect, json_error, make_parser, run_command
from riverport.cli.terminal import print_json, print_table, printable, size_text

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client

PARTS = ("brokers", "quorum", "features", "log-dirs")


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "cluster",
        "Brokers, the metadata quorum, features and log directories of a cluster.",
        ["riverport cluster", "riverport cluster log-dirs --json"],
    )
    connect(made, _show)
    made.add_argument("part", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    return made


def run(words: list[str]) -> int:
    return run_command(parser(), words)


async def _show(client: "Client", given: argparse.Namespace) -> None:
    from asyncio import gather

    readers: dict[str, Callable[[Client], Awaitable[Any]]] = {
        "brokers": _brokers,
        "quorum": _quorum,
        "features": _features,
        "log-dirs": _log_dirs,
    }
    if unknown := [part for part in given.part if part not in PARTS]:
        raise UsageProblem(f"a cluster has no {unknown[0]!r}: choose from {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in (given.part or PARTS)]
    await client.nodes()
    found = dict(zip(parts, await gather(*(readers[part](client) for part in parts))))
    view = client.view
    if given.json:
        document = {part.replace("-", "_"): value for part, value in found.items()}
        print_json({"cluster_id": view.cluster_id, "controller": view.controller, **document})
        return
    print(f"cluster {printable(view.cluster_id or '?')}, controller {view.controller}")
    for part in parts:
        print()
        _PRINTERS[part](found[part])


async def _brokers(client: "Client") -> list[dict[str, Any]]:
    from riverport.kafka.client.admin import Admin

    answer = await Admin(client).describe_cluster()
    return [
        {"id": b.broker_id, "host": b.host, "port": b.port, "rack": b.rack, "fenced": b.is_fenced}
        for b in sorted(answer.brokers, key=lambda b: b.broker_id)
    ]


def _print_brokers(brokers: list[dict[str, Any]]) -> None:
    print_table(["BROKER", "HOST", "PORT", "RACK", "FENCED"], [tuple(broker.values()) for broker in brokers])


async def _quorum(client: "Client") -> dict[str, Any]:
    from riverport.base.ids import uuid_text
    from riverport.kafka.client.admin import Admin

    quorum = await Admin(client).quorum()
    members = [("voter", state) for state in quorum.current_voters] + [("observer", s) for s in quorum.observers]
    return {
        "leader": quorum.leader_id,
        "epoch": quorum.leader_epoch,
        "high_watermark": quorum.high_watermark,
        "members": [
            {
                "id": state.replica_id,
                "directory_id": uuid_text(state.replica_directory_id),
                "role": "leader" if state.replica_id == quorum.leader_id else kind,
                "end_offset": state.log_end_offset,
            }
            for kind, state in members
        ],
    }


def _print_quorum(quorum: dict[str, Any]) -> None:
    print(f"quorum: leader {quorum['leader']}, epoch {quorum['epoch']}, high watermark {quorum['high_watermark']}")
    print_table(["NODE", "DIRECTORY", "ROLE", "END"], [tuple(member.values()) for member in quorum["members"]])


async def _features(client: "Client") -> list[dict[str, Any]]:
    from riverport.kafka.client.admin import Admin

    answer = await Admin(client).features()
    finalized = {feature.name: feature.max_version_level for feature in answer.finalized_features}
    return [
        {"feature": f.name, "level": finalized.get(f.name, 0), "lowest": f.min_version, "highest": f.max_version}
        for f in sorted(answer.supported_features, key=lambda feature: str(feature.name))
    ]


def _print_features(features: list[dict[str, Any]]) -> None:
    print_table(["FEATURE", "LEVEL", "LOWEST", "HIGHEST"], [tuple(feature.values()) for feature in features])


async def _log_dirs(client: "Client") -> list[dict[str, Any]]:
    from riverport.kafka.client.admin import Admin

    return [
        {
            "broker": found.node,
            "path": found.path,
            "error": json_error(found.error),
            "partition_count": len(found.partitions),
            "used_bytes": sum(size for size, _, _ in found.partitions.values()),
            "usable_bytes": found.usable_bytes,
            "total_bytes": found.total_bytes,
        }
        for found in await Admin(client).log_dirs()
    ]


def _print_log_dirs(dirs: list[dict[str, Any]]) -> None:
    def size(value: int) -> str | None:
        return size_text(value) if value >= 0 else None

    rows = []
    for d in dirs:
        sizes = [size(d[key]) for key in ("used_bytes", "usable_bytes", "total_bytes")]
        rows.append((d["broker"], d["path"], d["error"] or "ok", d["partition_count"], *sizes))
    print_table(["BROKER", "LOG DIRECTORY", "STATE", "PARTITIONS", "USED", "FREE", "DISK"], rows)


_PRINTERS: dict[str, Callable[[Any], None]] = {
    "brokers": _print_brokers,
    "quorum": _print_quorum,
    "features": _print_features,
    "log-dirs": _print_log_dirs,
}
