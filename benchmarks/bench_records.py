"""What checking a produced batch costs: `python benchmarks/bench_records.py`. A row per kind of payload, best of some.

The numbers in docs/adr/0003-record-validation.md are this script's.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable

from riverport.kafka.records import validation
from riverport.kafka.records.batch import check_crc, read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec, decompress
from riverport.kafka.records.record import iter_section, records_section
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.records.walk import walk, walk_python

NOW_MS = 1_700_000_000_000
POLICY = ValidationPolicy(max_message_bytes=2**30)
WORDS = b"lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore "


def best_us(run: Callable[[], object], rounds: int) -> float:
    least = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - started)
    return least * 1e6


def same(size: int) -> Callable[[int], bytes]:
    return lambda _: b"x" * size


def json_of_about(size: int) -> Callable[[int], bytes]:
    chance = random.Random(1)

    def value(number: int) -> bytes:
        text = (WORDS * (1 + size // len(WORDS)))[: chance.randrange(size // 2, size * 3 // 2) - 30]
        return b'{"id":%d,"user":"u%d","text":"%s"}' % (number, number * 7919 % 10_000, text)

    return value


def row(name: str, count: int, value: Callable[[int], bytes], codec: Codec, rounds: int) -> str:
    records = [NewRecord(None, value(n), (), NOW_MS + n // 300) for n in range(count)]
    payload = memoryview(build_batch(records, codec=codec))
    header = read_header(payload)
    section = bytes(records_section(payload, header))

    def ns_a_record(run: Callable[[], object], times: int = rounds) -> float:
        return best_us(run, times) / count * 1e3

    columns = [
        ns_a_record(lambda: check_crc(payload, header)),
        ns_a_record(lambda: decompress(codec, payload[61:])) if codec else 0.0,
        ns_a_record(lambda: walk(section, count)) if walk is not walk_python else float("nan"),
        ns_a_record(lambda: walk_python(section, count)),
        ns_a_record(lambda: list(iter_section(section, header)), 2),
        ns_a_record(lambda: validate(payload, POLICY, NOW_MS)),
    ]
    return f"{name:<22}{len(payload):>9}" + "".join(f"{value:>12.0f}" for value in columns)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bytes", type=int, default=900_000, help="size of a batch before compression")
    options = parser.parse_args()
    print("ns a record; the compiled walk is " + ("in use" if validation.walk is not walk_python else "missing"))
    head = ("crc", "decompress", "walk C", "walk Python", "open", "validate")
    print(f"{'payload':<22}{'bytes':>9}" + "".join(f"{name:>12}" for name in head))
    kinds = [("100 B alike", 100, same), ("100 B JSON", 100, json_of_about), ("1 KB JSON", 1_000, json_of_about)]
    for name, size, values in kinds:
        for codec in Codec:
            count = max(2, options.bytes // (size + 9))
            print(row(f"{name}, {codec.name.lower()}", count, values(size), codec, options.rounds))
    one = memoryview(build_batch([NewRecord(None, b"x" * 100, (), NOW_MS)]))
    many = range(1_000)
    print(
        f"one record of 100 B: {best_us(lambda: [validate(one, POLICY, NOW_MS) for _ in many], 9) / 1e3:.1f} us a batch"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
