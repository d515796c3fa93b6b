"""`riverport cluster`: brokers, partitions, metadata quorum, features and log directories; live with --watch."""

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from riverport.cli.command import UsageProblem, connect, json_error, make_parser, run_command
from riverport.cli.terminal import Screen, print_json, print_table, printable, size_text

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client

PARTS = ("brokers", "partitions", "quorum", "features", "log-dirs")
UNASKED = ("partitions",)
"""Shown only to who asks: a cluster has thousands."""
WATCH_TIMEOUT_MS = 1_500
"""Who watches wants to see that a broker does not answer, not to wait for it."""


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "cluster",
        "Brokers, partitions, the metadata quorum, features and log directories of a cluster.",
        ["riverport cluster", "riverport cluster log-dirs --json", "riverport cluster --watch"],
    )
    connect(made, _show)
    made.add_argument("part", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    made.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=1.0,
        metavar="S",
        help="show brokers and partitions as they change, every S seconds (default 1) until Ctrl-C",
    )
    made.add_argument("--internal", action="store_true", help="with partitions: those of internal topics, too")
    return made


def run(words: list[str]) -> int:
    return run_command(parser(), words)


async def _show(client: "Client", given: argparse.Namespace) -> None:
    from asyncio import gather

    from riverport.kafka.client.admin import Admin

    if unknown := [part for part in given.part if part not in PARTS]:
        raise UsageProblem(f"a cluster has no {unknown[0]!r}: choose from {', '.join(PARTS)}")
    if given.watch is not None:
        await _watch(client, given)
        return
    parts = [part for part in PARTS if (part in given.part if given.part else part not in UNASKED)]
    await client.nodes()
    # Metadata names any broker as the controller, since all of them forward what is for it (KIP-590).
    controller = (await Admin(client).quorum()).leader_id
    found = dict(zip(parts, await gather(*(_READERS[part](client, given) for part in parts))))
    cluster_id = client.view.cluster_id
    if given.json:
        document = {part.replace("-", "_"): value for part, value in found.items()}
        print_json({"cluster_id": cluster_id, "controller": controller, **document})
        return
    print(f"cluster {printable(cluster_id or '?')}, controller {controller}")
    for part in parts:
        print()
        _PRINTERS[part](found[part])


async def _watch(client: "Client", given: argparse.Namespace) -> None:
    """Until Ctrl-C, whatever happens to the cluster meanwhile."""
    import asyncio

    from riverport.cli.cluster_picture import broker_lines, partition_lines, take_picture
    from riverport.kafka.client.errors import ClientError

    if given.watch <= 0:
        raise UsageProblem(f"--watch {given.watch:g}: a number of seconds above 0")
    client.request_timeout_ms = client.connect_timeout_ms = WATCH_TIMEOUT_MS
    screen, lines = Screen(), ["nothing is known yet"]
    while True:
        try:
            picture = await take_picture(client, internal=given.internal)
        except ClientError as error:
            # What was seen last stays, and says that it is old.
            lines = [f"no answer: {printable(str(error))}", *lines[1:]]
            client.forget_view()
        else:
            if given.json:
                print_json(asdict(picture))
            lines = [
                f"cluster {printable(picture.cluster_id)}: {picture.summary}",
                "",
                *broker_lines(picture.brokers),
                "",
                *partition_lines(picture.partitions),
            ]
        if not given.json:
            screen.draw(lines)
        await asyncio.sleep(given.watch)


async def _brokers(client: "Client", given: argparse.Namespace) -> list[dict[str, Any]]:
    from riverport.cli.cluster_picture import take_picture

    picture = await take_picture(client, internal=True)
    return [
        {
            "id": b.id,
            "host": b.host,
            "port": b.port,
            "rack": b.rack,
            "fenced": b.state == "fenced",
            "role": b.role,
            "leaders": b.leaders,
            "replicas": b.replicas,
            "behind": b.behind,
            "lag": b.lag,
        }
        for b in picture.brokers
    ]


def _print_brokers(brokers: list[dict[str, Any]]) -> None:
    heads = ["BROKER", "HOST", "PORT", "RACK", "FENCED", "ROLE", "LEADERS", "REPLICAS", "BEHIND", "LAG"]
    print_table(heads, [tuple(broker.values()) for broker in brokers])


async def _partitions(client: "Client", given: argparse.Namespace) -> list[dict[str, Any]]:
    from riverport.cli.cluster_picture import take_picture

    return [asdict(partition) for partition in (await take_picture(client, internal=given.internal)).partitions]


def _print_partitions(partitions: list[dict[str, Any]]) -> None:
    from riverport.cli.cluster_picture import PartitionLine, partition_lines

    print("\n".join(partition_lines(PartitionLine(**partition) for partition in partitions)))


async def _quorum(client: "Client", given: argparse.Namespace) -> dict[str, Any]:
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


async def _features(client: "Client", given: argparse.Namespace) -> list[dict[str, Any]]:
    from riverport.kafka.client.admin import Admin

    answer = await Admin(client).features()
    finalized = {feature.name: feature.max_version_level for feature in answer.finalized_features}
    return [
        {"feature": f.name, "level": finalized.get(f.name, 0), "lowest": f.min_version, "highest": f.max_version}
        for f in sorted(answer.supported_features, key=lambda feature: str(feature.name))
    ]


def _print_features(features: list[dict[str, Any]]) -> None:
    print_table(["FEATURE", "LEVEL", "LOWEST", "HIGHEST"], [tuple(feature.values()) for feature in features])


async def _log_dirs(client: "Client", given: argparse.Namespace) -> list[dict[str, Any]]:
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


_READERS: dict[str, "Callable[[Client, argparse.Namespace], Awaitable[Any]]"] = {
    "brokers": _brokers,
    "partitions": _partitions,
    "quorum": _quorum,
    "features": _features,
    "log-dirs": _log_dirs,
}
_PRINTERS: dict[str, Callable[[Any], None]] = {
    "brokers": _print_brokers,
    "partitions": _print_partitions,
    "quorum": _print_quorum,
    "features": _print_features,
    "log-dirs": _print_log_dirs,
}
