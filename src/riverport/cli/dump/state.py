"""Producer snapshots, checkpoints and the other small files of a log directory."""

import json

from riverport.base import properties
from riverport.cli.dump.items import Item, Items, damage
from riverport.kafka.log.producers import CorruptSnapshot, Producers


def producer_snapshot_items(raw: bytes) -> Items:
    producers = Producers()
    try:
        producers.load(raw)
    except CorruptSnapshot as error:
        yield damage(str(error))
        return
    for state in sorted(producers.states.values(), key=lambda state: state.producer_id):
        last = state.batches[-1] if state.batches else None
        yield Item(
            "producer",
            {
                "producer_id": state.producer_id,
                "producer_epoch": state.producer_epoch,
                "coordinator_epoch": state.coordinator_epoch,
                "last_timestamp": state.last_timestamp,
                "first_sequence": last.first_sequence if last else None,
                "last_sequence": last.last_sequence if last else None,
                "last_offset": last.last_offset if last else None,
                "open_transaction_offset": state.current_txn_first_offset
                if state.current_txn_first_offset >= 0
                else None,
            },
        )
    yield Item("total", {"producers": len(producers.states)})


def checkpoint_items(raw: bytes, names: tuple[str, ...]) -> Items:
    """A version, a number of entries, and one line for each, of as many words as there are `names`."""
    try:
        lines = raw.decode("utf-8").splitlines()
        version, count = int(lines[0]), int(lines[1])
    except (UnicodeDecodeError, ValueError, IndexError):
        if raw:
            yield damage("no checkpoint: it does not begin with a version and a number of entries")
        return
    if version != 0:
        yield damage(f"version {version}, known is 0")
        return
    entries = [line.split() for line in lines[2:] if line.strip()]
    for number, words in enumerate(entries):
        if len(words) != len(names) or not all(word.lstrip("-").isdecimal() for word in words[len(names) - 2 :]):
            yield damage(f"entry {number} is not {' '.join(names)}: {' '.join(words)}")
            continue
        fields = {name: word if name == "topic" else int(word) for name, word in zip(names, words)}
        yield Item("entry", fields)
    if len(entries) != count:
        yield damage(f"{len(entries)} entries where {count} are announced")


def properties_items(raw: bytes) -> Items:
    try:
        found = properties.loads(raw.decode("utf-8"))
    except ValueError as error:
        yield damage(f"no properties: {error}")
        return
    yield from (Item("property", {key: value}) for key, value in found.items())


def partition_metadata_items(raw: bytes) -> Items:
    """`version: 0` and `topic_id: ...`, a line each."""
    found = dict(line.split(": ", 1) for line in raw.decode("utf-8", "replace").splitlines() if ": " in line)
    if set(found) != {"version", "topic_id"}:
        yield damage("not a version and a topic_id")
    yield Item("partition", dict(found))


def json_items(raw: bytes) -> Items:
    try:
        found = json.loads(raw)
    except ValueError as error:
        yield damage(f"no JSON: {error}")
        return
    yield Item("state", found if isinstance(found, dict) else {"value": found})
