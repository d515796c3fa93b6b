"""`riverport consume`: the records of topics, alone or as a member of a group, until there is a reason to stop."""

import argparse
import json
import signal
import string
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from riverport.cli.command import (
    Problem,
    UsageProblem,
    at_least,
    connect,
    existing_topics,
    make_parser,
    run_command,
)
from riverport.cli.record_json import record_json
from riverport.cli.terminal import counted

if TYPE_CHECKING:
    import asyncio

    from riverport.kafka.client.client import Client
    from riverport.kafka.client.consumer import ConsumedRecord, Consumer

COMMIT_EVERY_S = 5
POLL_MS = 1000
POLL_RECORDS = 500
FIELDS = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")

Writer = Callable[["ConsumedRecord"], bytes]


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "consume",
        "Print the records of topics as they come; Ctrl-C commits, leaves the group and stops.",
        [
            "riverport consume orders --from-beginning",
            "riverport consume orders payments --group billing",
            "riverport consume orders --partition 0 --offset -10 --max 10",
            "riverport consume orders --format '{partition}:{offset} {key}={value}'",
        ],
    )
    connect(made, _consume, json=False)
    made.add_argument("topic", nargs="+", metavar="TOPIC")
    made.add_argument("--group", "-g", metavar="G", help="share the partitions with the other members, commit offsets")
    made.add_argument(
        "--partition", "-p", action="append", type=at_least(0), metavar="N", help="only these (not --group)"
    )
    start = made.add_mutually_exclusive_group()
    start.add_argument(
        "--from-beginning", action="store_true", help="start at the first record if nothing is committed"
    )
    start.add_argument(
        "--offset", "-o", type=_offset, metavar="N", help="start here: earliest, latest, N, or -N for the last N"
    )
    made.add_argument("--max", "-n", type=at_least(1), metavar="N", help="stop after N records")
    made.add_argument("--timeout", "-t", type=_seconds, metavar="S", help="stop when no record came for S seconds")
    made.add_argument("--read-committed", action="store_true", help="leave out what was not, or not yet, committed")
    made.add_argument("--verbose", "-v", action="store_true", help="say on standard error how many records there were")
    form = made.add_mutually_exclusive_group()
    form.add_argument("--format", metavar="TEXT", help=f"how a record is printed: {{{'}, {'.join(FIELDS)}}}")
    form.add_argument("--json", action="store_true", help="print one JSON object a line")
    return made


def run(words: list[str]) -> int:
    return run_command(parser(), words)


def _offset(text: str) -> int | str:
    return text if text in ("earliest", "latest") else int(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time to wait")
    return value


async def _consume(client: "Client", given: argparse.Namespace) -> None:
    import asyncio

    from riverport.kafka.client.consumer import Consumer

    write = _writer(given)
    if given.group is not None and (given.partition or given.offset is not None):
        raise UsageProblem(
            "--group decides partitions and offsets: leave out --partition and --offset",
            "`riverport groups reset-offsets` changes where a group goes on",
        )
    if given.partition and len(given.topic) > 1:
        raise UsageProblem("--partition needs a single topic")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, loop, number, stop)
    consumer = Consumer(
        client,
        group=given.group,
        reset="earliest" if given.from_beginning else "latest",
        read_committed=given.read_committed,
        commit_on_rebalance=True,
    )
    async with consumer:
        if given.group is not None:
            await existing_topics(client, given.topic)
            consumer.subscribe(given.topic)
        else:
            await _assign(client, given, consumer)
        count = await _stream(consumer, given, write, stop)
    if given.verbose:
        print(counted(count, "record"), file=sys.stderr)


def _stop(loop: "asyncio.AbstractEventLoop", number: int, stop: "asyncio.Event") -> None:
    """The first signal ends the stream in order; the next one, while that hangs, ends the process."""
    stop.set()
    loop.remove_signal_handler(number)


async def _stream(consumer: "Consumer", given: argparse.Namespace, write: Writer, stop: "asyncio.Event") -> int:
    """Print records until one of the reasons to stop; what was printed is committed."""
    import asyncio

    count = 0
    heard = committed = time.monotonic()
    stopped = asyncio.ensure_future(stop.wait())
    out = sys.stdout.buffer
    while not stop.is_set() and (given.max is None or count < given.max):
        left = POLL_MS / 1000 if given.timeout is None else heard + given.timeout - time.monotonic()
        if left <= 0:
            break
        most = POLL_RECORDS if given.max is None else min(POLL_RECORDS, given.max - count)
        poll = asyncio.ensure_future(consumer.poll(timeout_ms=min(left * 1000, POLL_MS), max_records=most))
        await asyncio.wait({poll, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            poll.cancel()
            await asyncio.wait({poll})
            break
        records = poll.result()
        out.write(b"".join(map(write, records)))
        out.flush()
        count += len(records)
        now = time.monotonic()
        if records:
            heard = now
        if given.group is not None and now - committed >= COMMIT_EVERY_S:
            await consumer.commit_if_owned()
            committed = now
    stopped.cancel()
    if given.group is not None:
        await consumer.commit_if_owned()
    return count


# --- where to start


async def _assign(client: "Client", given: argparse.Namespace, consumer: "Consumer") -> None:
    views = await existing_topics(client, given.topic)
    for view in views.values():
        for partition in given.partition or []:
            if partition not in view.partitions:
                raise Problem(f"topic {view.name!r} has partitions 0 to {len(view.partitions) - 1}, not {partition}")
    places = [(name, index) for name, view in views.items() for index in given.partition or view.partitions]
    consumer.assign(places)
    for (topic, partition), offset in (await _starts(client, given, places)).items():
        consumer.seek(topic, partition, offset)


async def _starts(
    client: "Client", given: argparse.Namespace, places: list[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """The offset to start from in each partition: all are asked for at once, so that no record slips in between."""
    from riverport.kafka.client.offsets import EARLIEST, LATEST, list_offsets

    if isinstance(given.offset, int) and given.offset >= 0:
        return dict.fromkeys(places, given.offset)
    first = {place: at.offset for place, at in (await list_offsets(client, dict.fromkeys(places, EARLIEST))).items()}
    if given.from_beginning or given.offset == "earliest":
        return first
    found = await list_offsets(client, dict.fromkeys(places, LATEST), read_committed=given.read_committed)
    back = -given.offset if isinstance(given.offset, int) else 0
    return {place: max(first[place], at.offset - back) for place, at in found.items()}


# --- how records are printed


def _writer(given: argparse.Namespace) -> Writer:
    """Values as they are, a line each, or as the options say. Raises UsageProblem for a format with unknown fields."""
    if given.json:
        return lambda record: json.dumps(record_json(record), separators=(",", ":")).encode() + b"\n"
    if given.format is None:
        return lambda record: (record.value or b"") + b"\n"
    try:
        pieces = list(string.Formatter().parse(given.format))
    except ValueError as error:
        raise UsageProblem(f"--format: {error}", "a brace that is no field is written twice: {{") from error
    for _, field, _, _ in pieces:
        if field is not None and field not in FIELDS:
            raise UsageProblem(f"--format: a record has no {field!r}", f"it has {', '.join(FIELDS)}")
    return lambda record: b"".join(_formatted(record, pieces)) + b"\n"


def _formatted(record: "ConsumedRecord", pieces: "list[tuple[str, str | None, str | None, str | None]]") -> list[bytes]:
    parts = []
    for literal, field, _, _ in pieces:
        parts.append(literal.encode())
        if field == "headers":
            parts.append(b",".join(name.encode() + b"=" + (value or b"") for name, value in record.headers))
        elif field is not None:
            value = getattr(record, field)
            parts.append(value if isinstance(value, bytes) else b"" if value is None else str(value).encode())
    return parts
