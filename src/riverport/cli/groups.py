"""`riverport groups`: list, describe and delete consumer groups, set and delete what they have committed."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from riverport.cli.command import (
    Problem,
    Verbs,
    at_least,
    existing_topics,
    make_parser,
    nearest,
    run_command,
    topic_partitions,
)
from riverport.cli.terminal import print_json, print_table, printable

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.offsets import TopicPartition

ACTIVE = ("Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling")
"""States of a group that has members: what it committed is theirs to change."""


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "groups",
        "Consumer groups: members, committed offsets, lag.",
        [
            "riverport groups list",
            "riverport groups describe billing",
            "riverport groups reset-offsets billing --topic orders --to-earliest --execute",
        ],
    )
    verbs = Verbs(made)
    verbs.add("list", _list, "list groups")
    describe = verbs.add("describe", _describe, "show members, committed offsets and lag")
    describe.add_argument("group", nargs="*", metavar="GROUP", help="default: every group")
    describe.add_argument("--members", action="store_true", help="the members and what they have, not the offsets")

    delete = verbs.add("delete", _delete, "delete groups that have no members")
    delete.add_argument("group", nargs="+", metavar="GROUP")

    forget = verbs.add("delete-offsets", _delete_offsets, "forget what a group has committed for topics")
    forget.add_argument("group", metavar="GROUP")
    forget.add_argument("--topic", action="append", required=True, metavar="TOPIC[:N,...]", help="of these partitions")
    _add_reset(verbs)
    return made


def _add_reset(verbs: Verbs) -> None:
    reset = verbs.add(
        "reset-offsets",
        _reset,
        "set the committed offsets of a group without members; only shows what would be without --execute",
        [
            "riverport groups reset-offsets billing --topic orders:0,1 --to-offset 100",
            "riverport groups reset-offsets billing --all-topics --to-datetime 2026-01-31T12:00:00Z --execute",
        ],
    )
    reset.add_argument("group", metavar="GROUP")
    which = reset.add_mutually_exclusive_group(required=True)
    which.add_argument("--topic", action="append", default=[], metavar="TOPIC[:N,...]", help="these partitions")
    which.add_argument("--all-topics", action="store_true", help="everything the group has committed")
    target = reset.add_mutually_exclusive_group(required=True)
    target.add_argument("--to-earliest", action="store_true", help="the first record")
    target.add_argument("--to-latest", action="store_true", help="behind the last record")
    target.add_argument("--to-offset", type=at_least(0), metavar="N")
    target.add_argument("--to-datetime", type=_datetime, metavar="T", help="ISO 8601; UTC unless it says otherwise")
    target.add_argument("--by-duration", type=_duration, metavar="D", help="this long ago: 90s, 15m, 2h, 7d, PT1H30M")
    target.add_argument("--shift-by", type=int, metavar="N", help="from where it is; a negative number goes back")
    target.add_argument("--to-current", action="store_true", help="where it is, within what is there")
    what = reset.add_mutually_exclusive_group()
    what.add_argument("--execute", action="store_true", help="do it")
    what.add_argument("--dry-run", action="store_true", help="show what would be done (the default)")


def run(words: list[str]) -> int:
    return run_command(parser(), words)


def _datetime(text: str) -> int:
    """Milliseconds since 1970. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _duration(text: str) -> timedelta:
    """`90s`, `2h` or Kafka's ISO 8601 durations. Raises ValueError."""
    pattern = r"P?(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?"
    found = re.fullmatch(pattern, text.upper())
    if found is None or not any(found.groups()):
        raise ValueError(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


_datetime.__name__ = "ISO 8601 time"
_duration.__name__ = "duration"


# --- what is there


async def _list(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    groups = await Admin(client).groups()
    if given.json:
        rows = [{"group": g.id, "type": g.type, "protocol": g.protocol_type, "state": g.state} for g in groups]
        print_json({"groups": rows})
    elif groups:
        print_table(["GROUP", "TYPE", "PROTOCOL", "STATE"], [(g.id, g.type, g.protocol_type, g.state) for g in groups])
    else:
        print("no groups")


async def _describe(client: "Client", given: argparse.Namespace) -> None:
    known = await _known(client, given.group)
    documents = []
    for number, name in enumerate(given.group or known):
        document = await _described(client, name, known[name])
        if given.json:
            documents.append(document)
            continue
        if number:
            print()
        _print_group(document, given.members)
    if given.json:
        print_json({"groups": documents})
    elif not known:
        print("no groups")


async def _known(client: "Client", names: list[str]) -> dict[str, str]:
    """The type of each group there is. Raises Problem for a name that is not among them."""
    from riverport.kafka.client.admin import Admin

    known = {group.id: group.type for group in await Admin(client).groups()}
    for name in names:
        if name not in known:
            raise Problem(f"there is no group {name!r}", nearest(name, known) or "`riverport groups list` shows them")
    return known


async def _described(client: "Client", name: str, kind: str) -> dict[str, Any]:
    from riverport.kafka.client.admin import Admin
    from riverport.kafka.client.offsets import committed_offsets

    group = await Admin(client).describe_members(name, kind)
    committed = await committed_offsets(client, name) if kind in ("classic", "consumer") else {}
    owners = {place: member for member in group.members for place in member.assigned}
    places = sorted({*committed, *owners})
    ends = await _ends(client, places)
    offsets = []
    for topic, partition in places:
        at, end = committed.get((topic, partition)), ends.get((topic, partition))
        owner = owners.get((topic, partition))
        offsets.append(
            {
                "topic": topic,
                "partition": partition,
                "committed_offset": at.offset if at else None,
                "end_offset": end,
                "lag": max(0, end - at.offset) if at and end is not None else None,
                "member": owner.id if owner else None,
                "client_id": owner.client_id if owner else None,
                "host": owner.host if owner else None,
            }
        )
    members = [
        {
            "member": member.id,
            "instance_id": member.instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "partitions": [{"topic": topic, "partition": partition} for topic, partition in member.assigned],
        }
        for member in group.members
    ]
    return {
        "group": name,
        "type": kind,
        "state": group.state,
        "assignor": group.assignor or None,
        "coordinator": await client.coordinator(name),
        "offsets": offsets,
        "members": members,
    }


async def _ends(client: "Client", places: "list[TopicPartition]") -> "dict[TopicPartition, int]":
    """Where each partition ends; those of topics that are gone are left out."""
    from riverport.kafka.client.offsets import LATEST, list_offsets

    view = await client.refresh(sorted({topic for topic, _ in places}))
    there = [(t, p) for t, p in places if t in view.topics and p in view.topics[t].partitions]
    return {place: at.offset for place, at in (await list_offsets(client, dict.fromkeys(there, LATEST))).items()}


def _print_group(group: dict[str, Any], members: bool) -> None:
    assignor = f", assignor {group['assignor']}" if group["assignor"] else ""
    count = len(group["members"])
    print(
        f"group {printable(group['group'])}: {group['type']}, {group['state']}, {count} member{'s' * (count != 1)}"
        f"{assignor}, coordinator {group['coordinator']}\n"
    )
    if members:
        rows = [
            (m["member"], m["client_id"], m["host"], [f"{p['topic']}:{p['partition']}" for p in m["partitions"]])
            for m in group["members"]
        ]
        print_table(["MEMBER", "CLIENT", "HOST", "PARTITIONS"], rows)
        return
    heads = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST"]
    print_table(heads, [tuple(offset.values()) for offset in group["offsets"]])


# --- what is changed


async def _delete(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin

    await _known(client, given.group)
    for name in given.group:
        await _without_members(client, name, "delete it")
        await Admin(client).delete_group(name)
    if given.json:
        print_json({"groups": [{"group": name, "deleted": True} for name in given.group]})
        return
    for name in given.group:
        print(f"{printable(name)}: deleted")


async def _delete_offsets(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.admin import Admin
    from riverport.kafka.client.offsets import committed_offsets

    wanted = topic_partitions(given.topic, "--topic")
    await _known(client, [given.group])
    committed = await committed_offsets(client, given.group)
    places = [(t, p) for t, p in sorted(committed) if t in wanted and (not wanted[t] or p in wanted[t])]
    for topic in wanted:
        if not any(topic == name for name, _ in places):
            raise Problem(f"group {given.group!r} has committed nothing there for topic {topic!r}")
    await Admin(client).delete_offsets(given.group, places)
    rows = [{"topic": topic, "partition": partition, "deleted": True} for topic, partition in places]
    if given.json:
        print_json({"group": given.group, "offsets": rows})
    else:
        print_table(["TOPIC", "PARTITION", "DELETED"], [tuple(row.values()) for row in rows])


async def _without_members(client: "Client", name: str, purpose: str) -> None:
    """Raises Problem for a group that has members: they would write over what is changed here."""
    from riverport.kafka.client.admin import Admin

    state = next((group.state for group in await Admin(client).groups() if group.id == name), "")
    if state in ACTIVE:
        raise Problem(f"group {name!r} has members ({state})", f"stop its consumers first, then {purpose}")


async def _reset(client: "Client", given: argparse.Namespace) -> None:
    from riverport.kafka.client.offsets import CommittedOffset, commit_offsets, committed_offsets

    await _without_members(client, given.group, "reset its offsets")
    committed = await committed_offsets(client, given.group)
    places = await _places(client, given, list(committed))
    current = {place: committed[place].offset for place in places if place in committed}
    new = await _targets(client, given, places, current)
    if given.execute:
        await commit_offsets(client, given.group, {place: CommittedOffset(offset) for place, offset in new.items()})
    rows = [
        {"topic": topic, "partition": partition, "old_offset": current.get((topic, partition)), "new_offset": offset}
        for (topic, partition), offset in sorted(new.items())
    ]
    if given.json:
        print_json({"group": given.group, "executed": given.execute, "offsets": rows})
        return
    print_table(["TOPIC", "PARTITION", "OLD OFFSET", "NEW OFFSET"], [tuple(row.values()) for row in rows])
    if not given.execute:
        print("\nnothing is changed yet: --execute does it")


async def _places(
    client: "Client", given: argparse.Namespace, committed: "list[TopicPartition]"
) -> "list[TopicPartition]":
    if given.all_topics:
        if not committed:
            raise Problem(f"group {given.group!r} has committed nothing", "name the topics: --topic TOPIC")
        return sorted(committed)
    wanted = topic_partitions(given.topic, "--topic")
    places = []
    for name, view in (await existing_topics(client, wanted)).items():
        for partition in wanted[name] or view.partitions:
            if partition not in view.partitions:
                raise Problem(f"topic {name!r} has partitions 0 to {len(view.partitions) - 1}, not {partition}")
            places.append((name, partition))
    return places


async def _targets(
    client: "Client",
    given: argparse.Namespace,
    places: "list[TopicPartition]",
    current: "dict[TopicPartition, int]",
) -> "dict[TopicPartition, int]":
    """The new offset of each partition, within what it holds."""
    from riverport.kafka.client.offsets import EARLIEST, LATEST, list_offsets

    first = {place: at.offset for place, at in (await list_offsets(client, dict.fromkeys(places, EARLIEST))).items()}
    end = {place: at.offset for place, at in (await list_offsets(client, dict.fromkeys(places, LATEST))).items()}
    if given.to_earliest:
        return first
    if given.to_latest:
        return end
    if given.to_offset is not None:
        wanted = dict.fromkeys(places, given.to_offset)
    elif given.to_datetime is not None or given.by_duration is not None:
        when = given.to_datetime
        if when is None:
            when = int((datetime.now(UTC) - given.by_duration).timestamp() * 1000)
        # Numbers below 0 ask for other things than times; no record is older than 1970.
        found = await list_offsets(client, dict.fromkeys(places, max(0, when)))
        # No record as late as that: behind the last one, as Kafka's tool does.
        wanted = {place: at.offset if at.offset >= 0 else end[place] for place, at in found.items()}
    else:
        shift = given.shift_by or 0
        missing = [f"{topic}-{partition}" for topic, partition in places if (topic, partition) not in current]
        if missing and not given.to_current:
            raise Problem(f"nothing is committed for {', '.join(missing)}: there is nothing to shift from")
        wanted = {place: current.get(place, end[place]) + shift for place in places}
    return {place: min(max(offset, first[place]), end[place]) for place, offset in wanted.items()}
