"""`riverport demo FILE`: the shortest way to see a broker work, with a text file of one's own; --cluster: a failover.

Everything happens in this process: broker, producer and consumer share its event loop and talk through the loopback
interface as they would from anywhere. Whatever ends the demo ends the broker, and its directory goes with it.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from riverport.cli.command import Problem, explained, guarded, make_parser
from riverport.cli.embedded import embedded_broker, ended_by_signals, throwaway_directory
from riverport.cli.lines import opened, progress_over, read_lines
from riverport.cli.terminal import (
    Progress,
    Verbatim,
    counted,
    print_json,
    print_table,
    printable,
    printable_bytes,
    shortened,
    size_text,
    terminal_width,
)

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.consumer import ConsumedRecord

TOPIC = "demo"
GROUP = "demo"
PARTITIONS = 3
SHOWN_PER_PARTITION = 40
"""Records shown of each partition without --all: a README fits, a novel does not flood the terminal."""
LINE_BYTES_MAX = 64 * 1024 * 1024
"""The longest line: it has to fit in a request (socket.request.max.bytes, 100 MiB)."""
SETTINGS = {"max.message.bytes": str(LINE_BYTES_MAX + 1024 * 1024)}
OVERRIDES = {"offsets.topic.num.partitions": "1"}
"""One group needs no fifty partitions of offsets."""
STALLED_S = 30
"""Without a record for this long, the demo gives up."""
PLAIN_WIDTH = 160


@dataclass(slots=True)
class Seen:
    """What the consumer got from one partition."""

    records: int = 0
    first: int | None = None
    last: int | None = None
    committed: int | None = None
    shown: "list[ConsumedRecord]" = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """What happened, for the summary. Times are seconds."""

    bootstrap: str = ""
    started_s: float = 0.0
    produced: int = 0
    produced_bytes: int = 0
    produced_s: float = 0.0
    produced_sum: int = 0
    consumed: int = 0
    consumed_s: float = 0.0
    consumed_sum: int = 0
    partitions: dict[int, Seen] = field(default_factory=lambda: {index: Seen() for index in range(PARTITIONS)})


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "demo",
        f"Start a broker, produce a file's lines to a topic with {PARTITIONS} partitions, consume them with a group.\n"
        "Or start a cluster of three, kill a leader while it is written to, and see that nothing is lost.",
        ["riverport demo README.md", "git log | riverport demo -", "riverport demo --cluster"],
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE", help="any file, - for standard input")
    what.add_argument("--cluster", action="store_true", help="three brokers, of which one dies and returns")
    made.add_argument("--all", action="store_true", help=f"show every record, not {SHOWN_PER_PARTITION} a partition")
    made.add_argument("--json", action="store_true", help="print one JSON document")
    return made


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    if given.cluster:
        from riverport.cli.demo_cluster import perform

        return guarded(lambda: perform(as_json=given.json))
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    import asyncio
    import logging

    began = time.monotonic()
    # Nobody asked for the broker's log here; what it warns of still shows.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    with opened(given.file) as file, throwaway_directory() as data, ended_by_signals():
        story = asyncio.run(_play(given, file, data))
    took = time.monotonic() - began
    if given.json:
        print_json(_document(given, story, took))
    else:
        _print(given, story, took)
    if (story.consumed, story.consumed_sum) != (story.produced, story.produced_sum):
        raise Problem("what was consumed is not what was produced: this is a defect, please report it")


async def _play(given: argparse.Namespace, file: int, data: str) -> Story:
    from riverport.kafka.client.admin import Admin
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.errors import ClientError

    story = Story()
    began = time.monotonic()
    async with embedded_broker(data, OVERRIDES) as story.bootstrap:
        story.started_s = time.monotonic() - began
        try:
            async with Client(story.bootstrap, client_id="riverport-demo") as client:
                await Admin(client).create_topic(TOPIC, partitions=PARTITIONS, replication_factor=1, configs=SETTINGS)
                await _produce(client, file, story)
                await _consume(client, given, story)
        except ClientError as error:
            raise explained(error) from error
    return story


async def _produce(client: "Client", file: int, story: Story) -> None:
    """Each line is a record with its number as the key, so that a line's partition is that of its key's hash."""
    from riverport.cli.sending import Sending
    from riverport.kafka.client.producer import Producer

    began = time.monotonic()
    async with Producer(client, idempotent=True) as producer:
        sending = Sending(producer)
        with progress_over(file, "producing") as progress:
            async for lines in read_lines(file, LINE_BYTES_MAX):
                for line in lines:
                    key = b"%d" % (sending.sent + 1)
                    await sending.send(TOPIC, key=key, value=line)
                    story.produced_bytes += len(line)
                    story.produced_sum += crc32(line, crc32(key))
                    progress.add(len(line) + 1)
            await sending.finish()
    story.produced = sending.delivered
    story.produced_s = time.monotonic() - began


async def _consume(client: "Client", given: argparse.Namespace, story: Story) -> None:
    from riverport.kafka.client.consumer import Consumer
    from riverport.kafka.client.offsets import committed_offsets

    began = last = time.monotonic()
    async with Consumer(client, group=GROUP) as consumer:
        consumer.subscribe([TOPIC])
        with Progress("consuming", story.produced) as progress:
            while story.consumed < story.produced:
                records = await consumer.poll(timeout_ms=1000, max_records=5000)
                if records:
                    last = time.monotonic()
                elif time.monotonic() - last > STALLED_S:
                    raise Problem(f"no record for {STALLED_S} s, {story.produced - story.consumed} are missing")
                for record in records:
                    _see(given, story, record)
                progress.add(len(records))
        if story.produced:
            await consumer.commit()
    for (_, partition), at in (await committed_offsets(client, GROUP)).items():
        story.partitions[partition].committed = at.offset
    story.consumed_s = time.monotonic() - began


def _see(given: argparse.Namespace, story: Story, record: "ConsumedRecord") -> None:
    seen = story.partitions[record.partition]
    if seen.first is None:
        seen.first = record.offset
    seen.last = record.offset
    seen.records += 1
    story.consumed += 1
    story.consumed_sum += crc32(record.value or b"", crc32(record.key or b""))
    if given.all or len(seen.shown) < SHOWN_PER_PARTITION:
        seen.shown.append(record)


# --- what is shown


def _print(given: argparse.Namespace, story: Story, took: float) -> None:
    digits = len(str(story.produced))
    room = max(20, terminal_width(PLAIN_WIDTH) - len("PARTITION  ") - max(6, digits) - max(3, digits) - 4)
    what = "standard input" if given.file == "-" else printable(given.file)
    lines, size = counted(story.produced, "line"), size_text(story.produced_bytes)
    print(f"broker    up at {story.bootstrap} in {story.started_s:.2f} s, topic {TOPIC!r} with {PARTITIONS} partitions")
    print(f"produced  {lines} of {what}, {size}, in {story.produced_s:.2f} s, keyed by line number")
    print(f"consumed  {counted(story.consumed, 'record')} as group {GROUP!r} in {story.consumed_s:.2f} s")
    print()
    shown = [record for seen in story.partitions.values() for record in seen.shown]
    if shown:
        rows = [(r.partition, r.offset, int(r.key or 0), _line_text(r.value or b"", room)) for r in shown]
        print_table(["PARTITION", "OFFSET", "KEY", "VALUE"], rows)
        if len(shown) < story.consumed:
            print(f"… and {story.consumed - len(shown)} more; --all shows them")
        print()
    print_table(
        ["PARTITION", "RECORDS", "FIRST OFFSET", "LAST OFFSET", "COMMITTED"],
        [(index, s.records, s.first, s.last, s.committed) for index, s in story.partitions.items()],
    )
    print(f"\nall of it took {took:.2f} s; the broker is stopped and its data removed")


def _line_text(value: bytes, room: int) -> Verbatim:
    """A value in `room` cells of a row; a huge one is not even decoded whole."""
    return Verbatim(shortened(printable_bytes(value[: room * 4]), room))


def _document(given: argparse.Namespace, story: Story, took: float) -> dict[str, object]:
    from riverport.cli.record_json import record_json

    records: dict[int, list[dict[str, object]]] = defaultdict(list)
    for index, seen in story.partitions.items():
        records[index] = [record_json(record) for record in seen.shown]
    return {
        "file": given.file,
        "bootstrap": story.bootstrap,
        "topic": TOPIC,
        "group": GROUP,
        "produced": {"records": story.produced, "bytes": story.produced_bytes, "seconds": round(story.produced_s, 3)},
        "consumed": {"records": story.consumed, "seconds": round(story.consumed_s, 3)},
        "partitions": [
            {
                "partition": index,
                "record_count": seen.records,
                "first_offset": seen.first,
                "last_offset": seen.last,
                "committed_offset": seen.committed,
                "records": records[index],
            }
            for index, seen in story.partitions.items()
        ],
        "seconds": round(took, 3),
    }
