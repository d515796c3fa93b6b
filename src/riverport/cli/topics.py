"""`riverport topics`: list, create, describe, alter and delete topics."""

import argparse
from typing import TYPE_CHECKING, Any

from riverport.cli.command import (
    Problem,
    UsageProblem,
    Verbs,
    at_least,
    existing_topics,
    key_values,
    make_parser,
    run_command,
)
from riverport.cli.terminal import Progress, print_json, print_table, printable

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.cluster import TopicView


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "topics",
        "Topics of a cluster.",
        [
            "riverport topics list",
            "riverport topics create orders --partitions 3 --config retention.ms=86400000",
            "riverport topics describe orders",
        ],
    )
    verbs = Verbs(made)
    listing = verbs.add("list", _list, "list topics")
    listing.add_argument("--internal", action="store_true", help="with the topics that brokers keep for themselves")

    create = verbs.add("create", _create, "create topics", ["riverport topics create a b c --partitions 3"])
    create.add_argument("topic", nargs="+", metavar="TOPIC")
    create.add_argument("--partitions", type=at_least(1), default=-1, metavar="N", help="default: the broker's")
    create.add_argument("--replication-factor", type=at_least(1), default=-1, metavar="N", help="default: the broker's")
    create.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="a setting of the topics")
    create.add_argument("--if-not-exists", action="store_true", help="leave topics alone that are there")
    create.add_argument("--dry-run", action="store_true", help="only have the cluster check it")

    describe = verbs.add("describe", _describe, "show partitions, replicas, offsets and settings of topics")
    describe.add_argument("topic", nargs="*", metavar="TOPIC", help="default: every topic that is not internal")

    alter = verbs.add("alter", _alter, "give topics more partitions or other settings")
    alter.add_argument("topic", nargs="+", metavar="TOPIC")
    alter.add_argument("--partitions", type=at_least(1), metavar="N", help="the new number of partitions")
    alter.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="set a setting")
    alter.add_argument("--delete-config", action="append", default=[], metavar="KEY", help="back to the default")

    delete = verbs.add("delete", _delete, "delete topics and their records")
    delete.add_argument("topic", nargs="+", metavar="TOPIC")
    delete.add_argument("--if-exists", action="store_true", help="say nothing about topics that are not there")
    return made


def run(words: list[str]) -> int:
    return run_command(parser(), words)


async def _list(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    topics = [view for view in (await Admin(client).topics()).values() if given.internal or not view.internal]
    if given.json:
        print_json({"topics": [_summary(view) for view in topics]})
    elif topics:
        print_table(["TOPIC", "PARTITIONS", "REPLICAS"], [(v.name, len(v.partitions), _replicas(v)) for v in topics])
    else:
        print("no topics; make one with `riverport topics create NAME`")


async def _create(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin
    from riverport.kafka.client.errors import Refused
    from riverport.kafka.wire.errors import ErrorCode

    configs = key_values(given.config, "--config")
    results: list[dict[str, Any]] = []
    with Progress("creating topics", len(given.topic)) as progress:
        for name in given.topic:
            created = True
            try:
                await Admin(client).create_topic(
                    name,
                    partitions=given.partitions,
                    replication_factor=given.replication_factor,
                    configs=configs,
                    validate_only=given.dry_run,
                )
            except Refused as error:
                if error.code != ErrorCode.TOPIC_ALREADY_EXISTS:
                    raise
                if not given.if_not_exists:
                    raise Problem(f"topic {name!r} exists", "--if-not-exists leaves it as it is") from error
                created = False
            results.append({"topic": name, "created": created and not given.dry_run})
            progress.add(1)
    if given.json:
        print_json({"topics": results})
        return
    for result in results:
        text = "created" if result["created"] else "could be created" if given.dry_run else "exists already"
        print(f"{printable(result['topic'])}: {text}")


async def _describe(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    if given.topic:
        views = await existing_topics(client, given.topic)
    else:
        views = {name: view for name, view in (await Admin(client).topics()).items() if not view.internal}
    documents = []
    for number, view in enumerate(views.values()):
        described = await _described(client, view)
        if given.json:
            documents.append(described)
            continue
        if number:
            print()
        _print_topic(described)
    if given.json:
        print_json({"topics": documents})
    elif not views:
        print("no topics; make one with `riverport topics create NAME`")


async def _described(client: "Client", view: "TopicView") -> dict[str, Any]:
    from riverport.kafka.client.admin import Admin
    from riverport.kafka.client.offsets import EARLIEST, LATEST, list_offsets

    led = [(view.name, index) for index, p in view.partitions.items() if p.leader >= 0]
    first = await list_offsets(client, dict.fromkeys(led, EARLIEST))
    end = await list_offsets(client, dict.fromkeys(led, LATEST))
    settings = await Admin(client).configs("topic", view.name)
    partitions = []
    for index, p in view.partitions.items():
        place = (view.name, index)
        partitions.append(
            {
                "partition": index,
                "leader": p.leader if p.leader >= 0 else None,
                "leader_epoch": p.leader_epoch,
                "replicas": list(p.replicas),
                "isr": list(p.isr),
                "offline": list(p.offline),
                "first_offset": first[place].offset if place in first else None,
                "end_offset": end[place].offset if place in end else None,
            }
        )
    configs = {entry.name: entry.value for entry in settings if entry.source == "topic"}
    return {**_summary(view), "configs": configs, "partitions": partitions}


def _print_topic(topic: dict[str, Any]) -> None:
    print(f"topic     {printable(topic['topic'])}" + (" (internal)" if topic["internal"] else ""))
    print(f"id        {topic['id']}")
    for key, value in topic["configs"].items():
        print(f"setting   {key}={printable(str(value))}")
    print()
    print_table(
        ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "OFFLINE", "FIRST", "END"],
        [tuple(partition.values()) for partition in topic["partitions"]],
    )


async def _alter(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import DELETE, SET, Admin

    changes = [(key, SET, value) for key, value in key_values(given.config, "--config").items()]
    changes += [(key, DELETE, None) for key in given.delete_config]  # type: ignore[misc]
    if not changes and given.partitions is None:
        raise UsageProblem("nothing to alter: give --partitions, --config or --delete-config")
    await existing_topics(client, given.topic)
    for name in given.topic:
        if given.partitions is not None:
            await Admin(client).create_partitions(name, given.partitions)
        if changes:
            await Admin(client).alter_configs("topic", name, changes)
    if given.json:
        print_json({"topics": [{"topic": name, "altered": True} for name in given.topic]})
        return
    for name in given.topic:
        print(f"{printable(name)}: altered")


async def _delete(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    if given.if_exists:
        known = await Admin(client).topics()
        there = [name for name in given.topic if name in known]
    else:
        there = list(await existing_topics(client, given.topic))
    if there:
        await Admin(client).delete_topics(there)
    if given.json:
        print_json({"topics": [{"topic": name, "deleted": name in there} for name in given.topic]})
        return
    for name in given.topic:
        print(f"{printable(name)}: {'deleted' if name in there else 'is not there'}")


def _replicas(view: "TopicView") -> int:
    return max((len(partition.replicas) for partition in view.partitions.values()), default=0)


def _summary(view: "TopicView") -> dict[str, Any]:
    from riverport.base.ids import uuid_text

    return {
        "topic": view.name,
        "id": uuid_text(view.id),
        "internal": view.internal,
        "partition_count": len(view.partitions),
        "replication_factor": _replicas(view),
    }
