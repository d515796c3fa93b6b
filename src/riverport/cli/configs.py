"""`riverport configs`: what is set for topics, brokers and groups, and changes to it."""

import argparse
from typing import TYPE_CHECKING, Any

from riverport.cli.command import Problem, UsageProblem, Verbs, existing_topics, make_parser, nearest, run_command
from riverport.cli.terminal import print_json, print_table, printable

if TYPE_CHECKING:
    from riverport.kafka.client.admin import ConfigEntry
    from riverport.kafka.client.client import Client

KINDS = ("topic", "broker", "group", "broker-logger", "client-metrics")
HIDDEN = "(hidden)"


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "configs",
        "Settings of topics, brokers and groups.",
        [
            "riverport configs describe topic orders",
            "riverport configs set topic orders retention.ms=3600000 cleanup.policy=compact",
            "riverport configs unset broker 1 log.cleaner.threads",
        ],
    )
    verbs = Verbs(made)
    describe = verbs.add("describe", _describe, "show what is set, or with --all what holds")
    _add_resource(describe)
    describe.add_argument("key", nargs="*", metavar="KEY", help="only these settings")
    describe.add_argument("--all", action="store_true", help="with everything that is at its default")
    change = verbs.add("set", _set, "set settings; KEY+=VALUE and KEY-=VALUE change lists")
    _add_resource(change)
    change.add_argument("entry", nargs="+", metavar="KEY=VALUE")
    change.add_argument("--dry-run", action="store_true", help="only have the cluster check it")
    unset = verbs.add("unset", _unset, "take settings back to what holds without them")
    _add_resource(unset)
    unset.add_argument("key", nargs="+", metavar="KEY")
    unset.add_argument("--dry-run", action="store_true", help="only have the cluster check it")
    return made


def _add_resource(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", help="a topic, broker id, group ...; '' for the default of all brokers")


def run(words: list[str]) -> int:
    return run_command(parser(), words)


async def _describe(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    await _check_name(client, given)
    entries = await Admin(client).configs(given.kind, given.name, given.key or None)
    for key in given.key:
        if not any(entry.name == key for entry in entries):
            known = await Admin(client).configs(given.kind, given.name)
            hint = nearest(key, [entry.name for entry in known])
            raise Problem(f"a {given.kind} has no setting {key!r}", hint or "--all shows what there is")
    own = [entry for entry in entries if given.all or given.key or entry.source != "default"]
    if given.json:
        print_json({"kind": given.kind, "name": given.name, "configs": [_entry_json(entry) for entry in own]})
    elif own:
        print_table(["KEY", "VALUE", "SOURCE"], [(e.name, _value(e), _source(e)) for e in own])
    else:
        print("everything is at its default; --all shows the values")


def _value(entry: "ConfigEntry") -> str:
    return HIDDEN if entry.sensitive else entry.value or ""


def _source(entry: "ConfigEntry") -> str:
    return entry.source + (", read-only" if entry.read_only else "")


def _entry_json(entry: "ConfigEntry") -> dict[str, Any]:
    return {
        "key": entry.name,
        "value": entry.value,
        "source": entry.source,
        "read_only": entry.read_only,
        "sensitive": entry.sensitive,
    }


async def _set(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import APPEND, SET, SUBTRACT

    changes: list[tuple[str, int, str | None]] = []
    for entry in given.entry:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip("+-"):
            raise UsageProblem(f"{entry}: write KEY=VALUE")
        operation = {"+": APPEND, "-": SUBTRACT}.get(key[-1], SET)
        changes.append((key.rstrip("+-") if operation != SET else key, operation, value))
    await _change(client, given, changes)


async def _unset(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import DELETE

    await _change(client, given, [(key, DELETE, None) for key in given.key])


async def _change(client: "Client", given: argparse.Namespace, changes: list[tuple[str, int, str | None]]) -> None:
    from riverport.kafka.client.admin import Admin

    await _check_name(client, given)
    await Admin(client).alter_configs(given.kind, given.name, changes, validate_only=given.dry_run)
    if given.json:
        keys = [key for key, _, _ in changes]
        print_json({"kind": given.kind, "name": given.name, "keys": keys, "changed": not given.dry_run})
        return
    done = "could be changed" if given.dry_run else "changed"
    print(f"{given.kind} {printable(given.name)}: {', '.join(printable(key) for key, _, _ in changes)} {done}")


async def _check_name(client: "Client", given: argparse.Namespace) -> None:
    """Raises Problem where no such topic or broker is there."""
    if given.kind == "topic":
        await existing_topics(client, [given.name])
    elif given.kind.startswith("broker") and given.name:
        nodes = {str(node.id) for node in await client.nodes()}
        if given.name not in nodes:
            raise Problem(f"there is no broker {given.name!r}", f"there are {', '.join(sorted(nodes))}")
