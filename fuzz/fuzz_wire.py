"""Throws damaged bytes at every decoder of the wire package: `python fuzz/fuzz_wire.py --seconds 60 [--seed N]`.

Cases are made from valid messages, so that damage reaches deep: bytes flipped, cut out, doubled and spliced, lengths
and counts replaced by the worst ones. The same seed makes the same cases. A case passes if it is read or raises
WireError within a second and without a growth of memory; the first other one is printed in full and ends the run with
exit code 1.
"""

import argparse
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.kafka.wire.values import Chances, every_version, random_value

from riverport.kafka.wire import frame, messages, schema
from riverport.kafka.wire.codec import decode, encode
from riverport.kafka.wire.coordinator_records import Family, decode_key, decode_value, encode_key, encode_value
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.metadata_records import decode_record, encode_record

SECONDS_PER_CASE = 1.0
GROWTH_KIB = 256 * 1024
WORST = [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x80\x00\x00\x00",
    b"\x7f\xff",
    b"\xff\xfe",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x01",
    b"\xff" * 11,
    b"\x00" * 64,
]

Target = tuple[str, bytes, Callable[[bytes], object]]


def damage(rng: random.Random, data: bytes) -> bytes:
    """One to six wounds."""
    wounded = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(wounded))
        match rng.randrange(7):
            case 0 if wounded:
                wounded[at % len(wounded)] ^= 1 << rng.randrange(8)
            case 1 if wounded:
                wounded[at % len(wounded)] = rng.randrange(256)
            case 2:
                del wounded[at : at + rng.randint(1, 8)]
            case 3:
                wounded[at:at] = wounded[at : at + rng.randint(1, 64)]
            case 4:
                worst = rng.choice(WORST)
                wounded[at : at + len(worst)] = worst
            case 5:
                wounded[at:at] = rng.choice(WORST)
            case _:
                del wounded[at:]
    return bytes(wounded)


def message_target(rng: random.Random, name: str, version: int) -> Target:
    value = random_value(name, version, Chances(rng, most_elements=rng.choice([1, 2, 5])))
    cls = type(value)
    return f"{name} v{version}", encode(value, version), lambda data: decode(cls, version, data)


def header_target(rng: random.Random) -> Target:
    key, version = rng.randint(-1, 95), rng.randint(-1, 20)
    tags = bytes([rng.randint(0, 3)])
    head = key.to_bytes(2, "big", signed=True) + version.to_bytes(2, "big", signed=True) + bytes(4)
    name = rng.choice([b"\xff\xff", b"\x00\x00", b"\x00\x05hello"])
    return "request header", head + name + tags, lambda data: frame.read_request_header(memoryview(data))


def record_target(rng: random.Random, name: str, version: int) -> Target:
    value = random_value(name, version, Chances(rng))
    match value._message.kind:
        case "metadata":
            return name, encode_record(value, version), decode_record
        case "coordinator-key":
            family = family_of(name)
            return name, encode_key(value), lambda data: decode_key(data, family)
        case _:
            cls = type(value)
            return name, encode_value(value, version), lambda data: decode_value(cls, data)


def family_of(name: str) -> Family:
    families: tuple[Family, ...] = ("group", "transaction", "share")
    return next(family for family in families if name in schema.blocks_of(f"{family}_records"))


def targets(rng: random.Random) -> Callable[[], Target]:
    versions = list(every_version())
    records = [(name, version) for name, version in versions if getattr(messages, name)._message.kind in RECORD_KINDS]

    def choose() -> Target:
        match rng.randrange(10):
            case 0:
                return header_target(rng)
            case 1 | 2:
                return record_target(rng, *rng.choice(records))
            case _:
                return message_target(rng, *rng.choice(versions))

    return choose


RECORD_KINDS = ("metadata", "coordinator-key", "coordinator-value")


def run(seconds: float, seed: int) -> int:
    rng = random.Random(seed)
    choose = targets(rng)
    start = last_shown = time.monotonic()
    cases = refused = 0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - start < seconds:
        name, whole, read = choose()
        for _ in range(20):
            data = damage(rng, whole)
            cases += 1
            before = time.monotonic()
            try:
                read(data)
            except WireError:
                refused += 1
            except Exception:
                traceback.print_exc()
                return failed(seed, cases, name, data, "raised something else than WireError")
            if time.monotonic() - before > SECONDS_PER_CASE:
                return failed(seed, cases, name, data, f"took {time.monotonic() - before:.1f} s")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory > GROWTH_KIB:
            return failed(seed, cases, name, data, f"memory grew by more than {GROWTH_KIB} KiB")
        if sys.stderr.isatty() and time.monotonic() - last_shown > 1:
            last_shown = time.monotonic()
            print(f"\r{last_shown - start:.0f} of {seconds:.0f} s, {cases:,} cases", end="", file=sys.stderr)
    print(f"fuzz_wire: {cases:,} cases, {refused:,} refused, none wrong (seed {seed})")
    return 0


def failed(seed: int, cases: int, name: str, data: bytes, why: str) -> int:
    print(f"fuzz_wire: {name}: {why} (seed {seed}, case {cases})\n{data.hex()}", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return run(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
