"""`riverport produce`: lines of a file or of standard input become records."""

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from riverport.cli.command import (
    Problem,
    UsageProblem,
    at_least,
    connect,
    existing_topics,
    key_values,
    make_parser,
    run_command,
)
from riverport.cli.lines import opened, progress_over, read_lines
from riverport.cli.record_json import json_bytes
from riverport.cli.terminal import counted, print_json, printable_bytes, shortened

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ACKS = {"all": -1, "-1": -1, "0": 0, "1": 1}
LINGER_MS = 5
LINE_BYTES_MAX = 64 * 1024 * 1024
"""A record has to fit in a request (socket.request.max.bytes, 100 MiB); most topics take less."""
RECORD_FIELDS = {"topic", "partition", "offset", "timestamp", "key", "value", "headers"}
"""What a line of `--json-lines` may have: all that `consume --json` prints. Topic and offset are not taken from it."""

Record = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "produce",
        "Send lines to a topic, one record each.",
        [
            "riverport produce orders --file orders.txt",
            "echo 'anna:2 apples' | riverport produce orders --key-separator :",
            "riverport consume orders --json --timeout 1 | riverport produce copies --json-lines",
        ],
    )
    connect(made, _produce)
    made.add_argument("topic", metavar="TOPIC")
    made.add_argument("--file", "-f", metavar="FILE", default="-", help="read its lines; default: standard input")
    made.add_argument("--key-separator", "-k", metavar="S", help="what stands before S in a line is the record's key")
    made.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="a header of every record")
    made.add_argument("--partition", "-p", type=at_least(0), metavar="N", help="default: by key, else in turn")
    made.add_argument("--acks", choices=ACKS, default="all", help="who must have a record: all in sync, 1, or nobody")
    made.add_argument("--compression", "-z", choices=CODECS, default="none")
    made.add_argument("--idempotent", action="store_true", help="no record twice, whatever is retried")
    made.add_argument(
        "--json-lines", action="store_true", help="each line is a JSON object, as `consume --json` prints"
    )
    made.add_argument("--create", action="store_true", help="let the broker make the topic if it is not there")
    return made


def run(words: list[str]) -> int:
    return run_command(parser(), words)


async def _produce(client: "Client", given: argparse.Namespace) -> None:
    from riverport.cli.sending import Sending
    from riverport.kafka.client.producer import Producer
    from riverport.kafka.records.codecs import Codec

    _check_options(given)
    if not given.create:
        (view,) = (await existing_topics(client, [given.topic])).values()
        if given.partition is not None and given.partition not in view.partitions:
            raise Problem(
                f"topic {given.topic!r} has partitions 0 to {len(view.partitions) - 1}, not {given.partition}"
            )
    acknowledged: dict[int, list[int]] = {}  # by partition: records, first offset, last offset
    producer = Producer(
        client,
        acks=ACKS[given.acks],
        idempotent=given.idempotent,
        codec=Codec[given.compression.upper()],
        linger_ms=LINGER_MS,
    )
    began = time.monotonic()
    with opened(given.file) as file:
        async with producer:
            sending = Sending(producer, lambda delivery: _count(acknowledged, delivery.partition, delivery.offset))
            with progress_over(file, "producing") as progress:
                async for lines in read_lines(file, LINE_BYTES_MAX):
                    for line in lines:
                        await sending.send(given.topic, **_record(given, line, sending.sent + 1))
                        progress.add(len(line) + 1)
                await sending.finish()
    _report(given, sending.delivered, acknowledged, time.monotonic() - began)


def _check_options(given: argparse.Namespace) -> None:
    given.headers = [(name, value.encode()) for name, value in key_values(given.header, "--header").items()]
    if given.json_lines and given.key_separator is not None:
        raise UsageProblem("--json-lines has keys of its own: leave out --key-separator")
    if given.key_separator == "":
        raise UsageProblem("--key-separator needs at least one character")
    if given.idempotent and given.acks != "all":
        raise UsageProblem("--idempotent needs --acks all")


def _record(given: argparse.Namespace, line: bytes, number: int) -> Record:
    """What `Producer.send` takes. Raises Problem for a line that is not what the options say."""
    if given.json_lines:
        try:
            return _json_record(given, line)
        except (ValueError, TypeError) as error:
            raise Problem(
                f"line {number}: {error}", "each line is an object as `riverport consume --json` prints"
            ) from error
    key = None
    if given.key_separator is not None:
        before, found, after = line.partition(given.key_separator.encode())
        if not found:
            text = shortened(printable_bytes(line[:240]), 60)
            raise Problem(f"line {number} has no {given.key_separator!r}, so no key: {text}")
        key, line = before, after
    return {"key": key, "value": line, "headers": given.headers, "partition": given.partition}


def _json_record(given: argparse.Namespace, line: bytes) -> Record:
    """Raises ValueError, TypeError."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    if unknown := sorted(set(found) - RECORD_FIELDS):
        raise ValueError(f"unknown field {unknown[0]!r}: a record has {', '.join(sorted(RECORD_FIELDS))}")
    timestamp = found.get("timestamp")
    if timestamp is not None and not isinstance(timestamp, int):
        raise ValueError("timestamp: expected milliseconds since 1970 as a whole number")
    headers = [(str(name), json_bytes(value)) for name, value in found.get("headers") or []]
    return {
        "key": json_bytes(found.get("key")),
        "value": json_bytes(found.get("value")),
        "headers": [*headers, *given.headers],
        "partition": given.partition,
        "timestamp": timestamp,
    }


def _count(acknowledged: dict[int, list[int]], partition: int, offset: int) -> None:
    seen = acknowledged.setdefault(partition, [0, offset, offset])
    seen[0] += 1
    if offset >= 0:
        seen[1] = min(seen[1], offset) if seen[1] >= 0 else offset
        seen[2] = max(seen[2], offset)


def _report(given: argparse.Namespace, total: int, acknowledged: dict[int, list[int]], took: float) -> None:
    if given.json:
        partitions = [
            {
                "partition": partition,
                "record_count": count,
                "first_offset": first if first >= 0 else None,
                "last_offset": last if last >= 0 else None,
            }
            for partition, (count, first, last) in sorted(acknowledged.items())
        ]
        print_json({"topic": given.topic, "record_count": total, "partitions": partitions, "seconds": round(took, 3)})
        return
    places = ", ".join(
        f"{count} to partition {partition}" + (f" (offsets {first}-{last})" if first >= 0 else "")
        for partition, (count, first, last) in sorted(acknowledged.items())
    )
    print(f"{counted(total, 'record')} in {took:.2f} s" + (f": {places}" if places else ""))
