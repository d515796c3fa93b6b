"""Throws damaged batches at validation and at the readers: `python fuzz/fuzz_records.py --seconds 60 [--seed N]`.

Cases are made from valid batches of every codec, mostly with the checksum put right, so that damage reaches deep: bytes
flipped, cut out, doubled and spliced, varints and counts replaced by the worst ones, in the header, in the compressed
bytes or in the records before they are compressed. The same seed makes the same cases. What is asked of each:

* validation refuses it with RecordError and leaves it untouched, or its result is a batch that opens in full, with the
  counts, offsets and greatest timestamp that its header says;
* the walk in Python and the compiled one say the same as opening the records does;
* headers, old message sets and compaction raise nothing but RecordError;
* all of it within a second and without a growth of memory.

The first case that does otherwise is written to a file, which `--replay FILE` runs again; the exit code is then 1.
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

from riverport.kafka.records import batch
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec, compress
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_records, iter_section, records_section, varint
from riverport.kafka.records.retain import retain
from riverport.kafka.records.validation import ValidationPolicy, validate
from riverport.kafka.records.walk import Walk, walk, walk_python

SECONDS_PER_CASE = 1.0
GROWTH_KIB = 256 * 1024
LIMIT = 4 * 1024 * 1024
NOW_MS = 1_700_000_000_000
WORST = [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x80\x00\x00\x00",
    b"\x01",
    b"\x00",
    varint(2**31 - 1),
    varint(-(2**31)),
    varint(2**63 - 1),
    b"\x80" * 5 + b"\x01",
    b"\xff" * 11,
    b"\x00" * 64,
]
POLICIES = [
    ValidationPolicy(max_decompressed_bytes=LIMIT),
    ValidationPolicy(max_decompressed_bytes=LIMIT, log_append_time=True),
    ValidationPolicy(max_decompressed_bytes=LIMIT, compacted=True, codec=Codec.NONE),
    ValidationPolicy(max_decompressed_bytes=LIMIT, codec=Codec.ZSTD, before_max_ms=10, after_max_ms=10),
]


def damage(rng: random.Random, data: bytes | bytearray, wounds: int) -> bytearray:
    wounded = bytearray(data)
    for _ in range(rng.randint(1, wounds)):
        at = rng.randint(0, len(wounded))
        match rng.randrange(6):
            case 0 if wounded:
                wounded[at % len(wounded)] ^= 1 << rng.randrange(8)
            case 1 if wounded:
                wounded[at % len(wounded)] = (wounded[at % len(wounded)] + rng.choice((-2, -1, 1, 2))) % 256
            case 2:
                del wounded[at : at + rng.randint(1, 8)]
            case 3:
                wounded[at:at] = wounded[at : at + rng.randint(1, 64)]
            case 4:
                worst = rng.choice(WORST)
                wounded[at : at + len(worst)] = worst
            case _:
                wounded[at:at] = rng.choice(WORST)
    return wounded


def records(rng: random.Random) -> list[NewRecord]:
    """A few records of all shapes, or many of one shape, or runs of one shape among others."""
    found: list[NewRecord] = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        key = None if rng.random() < 0.3 else rng.randbytes(rng.choice((0, 1, 8, 70)))
        value = None if rng.random() < 0.1 else rng.randbytes(rng.choice((0, 5, 63, 64, 100, 300)))
        headers = [("name", rng.choice((None, b"", b"value")))] * rng.choice((0, 0, 1, 3))
        step = rng.choice((0, 0, 1, 50, -3))
        start = NOW_MS + rng.choice((0, 0, -1, 5_000, 10**9))
        many = rng.choice((1, 1, 3, 20, 100, 400))
        found += [NewRecord(key, value, headers, start + step * n) for n in range(many)]
    return found


def case(rng: random.Random) -> bytearray:
    """A batch with damage in one of its layers."""
    codec = rng.choice((Codec.NONE, Codec.NONE, *Codec))
    whole = build_batch(
        records(rng),
        codec=codec,
        producer_id=rng.choice((-1, -1, 7)),
        producer_epoch=0,
        base_sequence=rng.choice((0, 5, 2**31 - 1)),
        transactional=rng.random() < 0.1,
    )
    layer = rng.randrange(10)
    if layer == 0:
        return damage(rng, whole, 4)
    if layer == 1:
        whole[: batch.BATCH_OVERHEAD] = damage(rng, whole[: batch.BATCH_OVERHEAD], 2)[: batch.BATCH_OVERHEAD]
    elif layer == 2:
        whole[batch.BATCH_OVERHEAD :] = damage(rng, whole[batch.BATCH_OVERHEAD :], 4)
    elif layer == 3:
        # An old message set: the magic and what follows it mean something else.
        whole[batch.MAGIC_AT] = rng.randrange(2)
        return damage(rng, whole, 3)
    else:
        section = bytes(records_section(whole, batch.read_header(whole)))
        whole[batch.BATCH_OVERHEAD :] = compress(codec, damage(rng, section, rng.choice((1, 1, 3))))
    if len(whole) >= batch.BATCH_OVERHEAD and rng.random() < 0.95:
        whole[8:12] = (len(whole) - batch.LOG_OVERHEAD).to_bytes(4, "big")
        batch.write_crc(whole, 0)
    return whole


def check(payload: bytearray) -> bool:
    """Run one case; True if it was accepted. Raises AssertionError, or whatever should not have been raised."""
    before = bytes(payload)
    accepted = False
    for policy in POLICIES:
        try:
            result = validate(payload, policy, NOW_MS)
        except RecordError:
            assert payload == before, "a refused payload was changed"
            continue
        accepted = True
        header = result.header
        assert batch.check_crc(result.records, header)
        opened = list(iter_records(result.records, header))
        assert [record.offset for record in opened] == list(range(header.count))
        assert header.max_timestamp == max(-1, *(record.timestamp for record in opened))
        assert header.size == len(result.records)
        payload[:] = before
    for reader in (read_all, agree_on_the_walk, compact):
        try:
            reader(payload)
        except RecordError:
            assert payload == before
    return accepted


def read_all(payload: bytearray) -> None:
    for header in batch.iter_headers(payload):
        batch.check_crc(payload, header)
        for _ in iter_records(payload, header, LIMIT):
            pass


def compact(payload: bytearray) -> None:
    for header in batch.iter_headers(payload):
        retain(
            payload, header, lambda record: record.offset % 2 == 0, keep_empty=True, delete_horizon_ms=5, limit=LIMIT
        )


def agree_on_the_walk(payload: bytearray) -> None:
    header = batch.read_header(payload)
    if header.magic != batch.CURRENT_MAGIC or header.count > 10_000:
        return
    section = records_section(payload, header, LIMIT)
    expected: Walk | None = None
    try:
        header.base_offset = header.base_timestamp = header.attributes = 0
        opened = list(iter_section(section, header)) if header.count > 0 else []
        if opened:
            times = [record.timestamp for record in opened]
            consecutive = [record.offset for record in opened] == list(range(header.count))
            expected = (min(times), max(times), any(record.key is None for record in opened), consecutive)
    except RecordError:
        pass
    for each in (walk, walk_python):
        found = each(section, header.count)
        assert found == expected, f"{each} says {found}, opening the records {expected}"


def timed(run: Callable[[bytearray], bool], payload: bytearray) -> bool:
    started = time.process_time()  # a busy machine is no finding
    accepted = run(payload)
    took = time.process_time() - started
    assert took < SECONDS_PER_CASE, f"took {took:.1f} s"
    return accepted


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz the record batches")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="run the case in this file only")
    parser.add_argument("--crash-file", type=Path, default=Path("fuzz_records.crash"))
    options = parser.parse_args()
    if options.replay:
        check(bytearray(options.replay.read_bytes()))
        print("passed")
        return 0
    rng = random.Random(options.seed)
    cases = accepted = 0
    started = time.monotonic()
    memory = 0
    while time.monotonic() - started < options.seconds:
        payload = case(rng)
        copy = bytes(payload)
        try:
            accepted += timed(check, payload)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            memory = memory or peak
            assert peak - memory < GROWTH_KIB, f"memory grew by {peak - memory} KiB"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                break
            traceback.print_exc()
            options.crash_file.write_bytes(copy)
            print(f"seed {options.seed}, case {cases}: kept in {options.crash_file}\n{copy.hex()}")
            return 1
        cases += 1
    took = time.monotonic() - started
    print(f"seed {options.seed}: {cases} cases, {cases / took:.0f} a second, {accepted} accepted, no crash")
    return 0


if __name__ == "__main__":
    sys.exit(main())
