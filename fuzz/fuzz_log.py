"""Throws damaged log directories at recovery: `python fuzz/fuzz_log.py --seconds 60 [--seed N]`.

Cases are made from directories that a broker could have left behind: several segments with their indexes, snapshots,
transactions, leader epochs and checkpoints, after a clean stop or a killed process. Files are then flipped, cut, grown,
zeroed, spliced, swapped for one another, renamed, removed, or invented; checksums are put right in a part of the cases,
so that damage reaches deep. The same seed makes the same cases. What is asked of each:

* opening it raises StorageError, or gives logs that keep their invariants: ends in order, offsets that ascend;
* whatever is then done to a log (reading all of it, look-ups, append, roll, truncation, retention, a clean stop) raises
  nothing but RecordError where all batches are in order, ApiError or StorageError where damage lies below what is
  checked at a start, and what is appended is read back;
* opening it once more, after a clean stop or not, gives the same batches;
* all of it within two seconds and without a growth of memory.

The first case that does otherwise is printed, and its directory written to a file, which `--replay FILE` runs again;
the exit code is then 1.
"""

import argparse
import json
import logging
import random
import resource
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.kafka.log.kit import NOW_MS, ROOT, SMALL, append, end_transaction, manager_of

from riverport.base.files import StorageError
from riverport.kafka.log import Isolation, Log
from riverport.kafka.log.manager import CHECKPOINTS, CLEAN_SHUTDOWN, LogManager
from riverport.kafka.log.retention import drop_old_segments
from riverport.kafka.records import batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.errors import RecordError
from riverport.kafka.wire.errors import ApiError
from riverport.sim.disk import SimDisk

SECONDS_PER_CASE = 2.0
GROWTH_KIB = 256 * 1024
MAX_BATCHES = 10_000
TOPICS = ("t", "u")
Tree = dict[str, bytes]
"""Path below the log directory -> content."""
SUFFIXES = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")
STATES = ("", ".swap", ".cleaned", ".deleted", ".tmp")
WORST = [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x7f" + b"\xff" * 7,
    b"\xff" * 8,
    b"\x80" + b"\x00" * 7,
    b"\x00" * 8,
    b"\x00" * 61,
    b"\xff" * 61,
    b"\n99999999999999999999 0\n",
    b"-1",
]
NAMES = [
    "99999999999999999999.log",
    "09223372036854775807.log",
    "09223372036854775807.snapshot",
    "00000000000000000007.log",
    "\u0660" * 20 + ".log",  # digits, but not ours
    ".log",
    "leader-epoch-checkpoint.tmp",
    "x",
]


# --- directories as brokers leave them


def grown(rng: random.Random) -> SimDisk:
    """A disk with the logs of two topics, some of them rolled, truncated or cut at their start."""
    disk = SimDisk()
    manager = manager_of(disk, (ROOT,), replace(SMALL, segment_bytes=rng.choice((400, 1_000, 4_000))))
    for topic in TOPICS:
        config = replace(SMALL, segment_bytes=rng.choice((400, 1_000, 4_000)))
        log = manager.get_or_create(topic, 0, rng.randbytes(16), config, NOW_MS)
        for _ in range(rng.choice((0, 1, 5, 20, 40))):
            grow(rng, log)
    if rng.random() < 0.6:
        manager.close(7)
    else:
        for name in CHECKPOINTS:
            write_checkpoint(disk, manager, name)
    return disk


def write_checkpoint(disk: SimDisk, manager: LogManager, name: str) -> None:
    offsets = manager.offsets(manager.directories[ROOT], name)
    lines = [f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items()]
    disk.write(f"{ROOT}/{name}", "\n".join(["0", str(len(lines)), *lines, ""]).encode())


def grow(rng: random.Random, log: Log) -> None:
    producer = rng.choice((None, 1, 2))
    state = log.producers.states.get(producer or -1)
    sequence = state.last_sequence + 1 if state is not None else 0
    match rng.randrange(12):
        case 0 if producer is not None and state is not None and state.current_txn_first_offset >= 0:
            end_transaction(log, producer, commit=rng.random() < 0.5)
        case 1:
            log.flush()
        case 2 if rng.random() < 0.2:
            log.truncate_to(rng.randint(log.log_start_offset, log.log_end_offset))
        case 3 if rng.random() < 0.2:
            log.delete_records(rng.randint(log.log_start_offset, log.high_watermark))
        case _:
            in_transaction = state is not None and state.current_txn_first_offset >= 0
            append(
                log,
                *[rng.randbytes(rng.choice((0, 10, 200))) for _ in range(rng.choice((1, 2, 7)))],
                epoch=log.leader_epochs.latest + (1 if rng.random() < 0.05 or log.leader_epochs.latest < 0 else 0),
                timestamp=NOW_MS + rng.choice((0, -5, 10**6)),
                producer=None if producer is None else (producer, 0, sequence),
                transactional=producer is not None and (in_transaction or rng.random() < 0.3),
                codec=rng.choice((Codec.NONE, Codec.NONE, Codec.LZ4)),
            )


def tree_of(disk: SimDisk) -> Tree:
    found = {}
    for name in disk.listdir(ROOT):
        path = f"{ROOT}/{name}"
        if disk.is_dir(path):
            found |= {f"{name}/{inner}": disk.read(f"{path}/{inner}") for inner in disk.listdir(path)}
        else:
            found[name] = disk.read(path)
    return found


def disk_of(tree: Tree) -> SimDisk:
    disk = SimDisk()
    disk.mkdir(ROOT)
    for path, content in tree.items():
        disk.mkdir(f"{ROOT}/{path}".rpartition("/")[0])
        disk.write(f"{ROOT}/{path}", content)
    return disk


# --- damage


def damage(rng: random.Random, tree: Tree) -> None:
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        path = rng.choice(sorted(tree))
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                wounded = wound(rng, tree[path])
                tree[path] = mended(wounded) if path.endswith(".log") and rng.random() < 0.7 else wounded
            case 5:
                del tree[path]
                if not tree:
                    return
            case 6:
                tree[path] = tree[rng.choice(sorted(tree))]
            case 7:
                tree[renamed(rng, path)] = tree.pop(path)
            case 8:
                tree[renamed(rng, path)] = tree[path]
            case _:
                directory = rng.choice(("t-0/", "u-0/", "", "t-00/", "w-0/", "t-0.0123456789abcdef-delete/"))
                tree[directory + rng.choice(NAMES)] = rng.choice((b"", b"x", rng.randbytes(100)))


def wound(rng: random.Random, content: bytes) -> bytes:
    wounded = bytearray(content)
    at = rng.randint(0, len(wounded))
    match rng.randrange(8):
        case 0 if wounded:
            wounded[at % len(wounded)] ^= 1 << rng.randrange(8)
        case 1:
            del wounded[at:]
        case 2:
            del wounded[at : at + rng.randint(1, 70)]
        case 3:
            wounded += bytes(rng.choice((1, 61, 4096)))
        case 4:
            wounded[at:] = bytes(len(wounded) - at)
        case 5:
            wounded[at:at] = wounded[at : at + rng.randint(1, 400)]
        case 6:
            return bytes(wounded + wounded)
        case _:
            worst = rng.choice(WORST)
            # Fields of batches stand at known places: hit one of them more often than chance would.
            at = rng.choice((at, rng.choice((0, 8, 12, 16, 21, 23, 27, 35, 43, 51, 53, 57))))
            wounded[at : at + len(worst)] = worst
    return bytes(wounded)


def mended(content: bytes) -> bytes:
    """With the checksums of all batches put right, up to the first that cannot be one."""
    whole = bytearray(content)
    try:
        for header in batch.iter_headers(whole):
            if header.magic == batch.CURRENT_MAGIC:
                batch.write_crc(whole, header.position)
    except RecordError:
        pass
    return bytes(whole)


def renamed(rng: random.Random, path: str) -> str:
    directory, _, name = path.rpartition("/")
    if len(name) < 24 or not name[:20].isdigit():
        return f"{rng.choice(('t-0', 'u-0'))}/{name}"
    base = rng.choice((name[:20], f"{rng.choice((0, 1, 5, 10, 2**31, 2**32, 2**63 - 1)):020d}"))
    suffix = rng.choice((name[20:].split(".")[1], *(kind[1:] for kind in SUFFIXES)))
    return f"{directory}/{base}.{suffix}{rng.choice(STATES)}"


# --- what is asked


def check(tree: Tree) -> bool:
    """Run one case; True if a log could be opened. Raises AssertionError, or whatever should not have been raised."""
    disk = disk_of(tree)
    try:
        manager = manager_of(disk)
    except StorageError:
        return False
    found = {log.dir: batches(log) for log in manager}
    for log in manager:
        hold(log)
    disk.kill()
    again = manager_of(disk)
    if CLEAN_SHUTDOWN not in tree:  # what a clean stop vouches for is not checked the first time
        assert {log.dir: batches(log) for log in again} == found, "a second recovery sees another log"
    for log in again:
        hold(log)
        is_orderly = orderly(log)
        try:
            use(log)
        except (ApiError, StorageError) as error:
            # Not checked at the start: what a clean stop vouches for, segments below the recovery point (whoever reads
            # them meets their damage), and records behind a right checksum.
            if is_orderly and CLEAN_SHUTDOWN not in tree and not isinstance(error, RecordError):
                raise
            return True
    before = {log.dir: batches(log) for log in again}
    again.close(8)
    disk.kill()
    last = manager_of(disk)
    assert {log.dir: batches(log) for log in last} == before, "a clean stop changes a log"
    return bool(found)


def batches(log: Log) -> list[tuple[int, int, int]]:
    """(base offset, last offset, checksum) of every batch, to the first that cannot be read."""
    found = []
    try:
        for segment in log.segments:
            for header in segment.headers():
                found.append((header.base_offset, header.last_offset, header.crc))
                assert len(found) < MAX_BATCHES, "no end of batches"
    except RecordError:
        found.append((-1, -1, -1))
    return found


def orderly(log: Log) -> bool:
    """Whether every batch lies behind the one before and within its segment."""
    found = batches(log)
    bases = [segment.base_offset for segment in log.segments]
    ends = [*bases[1:], log.log_end_offset]
    following, at = bases[0], 0
    for base, last, _ in found:
        while at < len(ends) and base >= ends[at]:
            at += 1
        if base < following or last < base or at == len(ends) or last >= ends[at]:
            return False
        following = last + 1
    return True


def hold(log: Log) -> None:
    """A log's invariants."""
    bases = [segment.base_offset for segment in log.segments]
    assert bases == sorted(set(bases)), bases
    assert log.segments[0].base_offset <= log.log_start_offset <= log.log_end_offset, log
    assert log.log_start_offset <= log.high_watermark <= log.log_end_offset, log
    assert log.active.base_offset <= log.log_end_offset < 2**63, log
    starts = [start for _, start in log.leader_epochs.entries]
    assert starts == sorted(starts)


def use(log: Log) -> None:
    """Everything that is done to logs."""
    log.update_high_watermark(log.log_end_offset)
    for isolation in Isolation:
        read_through(log, isolation)
    for timestamp in (-1, 0, NOW_MS, NOW_MS + 10**6, 2**63 - 1):
        log.offset_for_timestamp(timestamp)
    log.max_timestamp_offset()
    at = append(log, b"canary", epoch=max(log.leader_epochs.latest, 0))
    assert canary(log, at), "what was appended is not read back"
    log.flush()
    if log.active.base_offset < log.log_end_offset:
        log.roll(NOW_MS)
    at = append(log, b"canary", epoch=max(log.leader_epochs.latest, 0))
    log.truncate_to(log.log_start_offset + (at - log.log_start_offset) * 2 // 3)
    hold(log)
    append(log, b"canary", epoch=max(log.leader_epochs.latest, 0))
    log.delete_records(log.log_start_offset + (log.log_end_offset - log.log_start_offset) // 3)
    drop_old_segments(log, NOW_MS)
    hold(log)


def read_through(log: Log, isolation: Isolation) -> None:
    offset = log.log_start_offset
    for _ in range(MAX_BATCHES):
        headers = list(batch.iter_headers(log.read(offset, 1_000, isolation=isolation, min_one=True).records))
        if not headers:
            return
        assert headers[0].next_offset > offset, "reading does not come forward"
        # A batch below the recovery point may say that it ends behind the log.
        offset = min(max(header.next_offset for header in headers), log.log_end_offset)
    raise AssertionError("no end of reading")


def canary(log: Log, at: int) -> bool:
    raw = log.read(at, 1_000, isolation=Isolation.LOG_END, min_one=True).records
    return b"canary" in bytes(raw)


def timed(tree: Tree) -> bool:
    started = time.process_time()  # a busy machine is no finding
    opened = check(tree)
    took = time.process_time() - started
    assert took < SECONDS_PER_CASE, f"took {took:.1f} s"
    return opened


def keep(path: Path, tree: Tree) -> None:
    path.write_text(json.dumps({name: content.hex() for name, content in tree.items()}))


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz the recovery of log directories")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="run the case in this file only")
    parser.add_argument("--crash-file", type=Path, default=Path("fuzz_log.crash"))
    options = parser.parse_args()
    if options.replay:
        check({name: bytes.fromhex(content) for name, content in json.loads(options.replay.read_text()).items()})
        print("passed")
        return 0
    logging.disable()
    rng = random.Random(options.seed)
    cases = opened = memory = 0
    started = time.monotonic()
    while time.monotonic() - started < options.seconds:
        tree = tree_of(grown(rng))
        for _ in range(10):
            case = dict(tree)
            damage(rng, case)
            if rng.random() < 0.3:
                case[CLEAN_SHUTDOWN] = b"{}"
            try:
                opened += timed(case)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                memory = memory or peak
                assert peak - memory < GROWTH_KIB, f"memory grew by {peak - memory} KiB"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    break
                traceback.print_exc()
                keep(options.crash_file, case)
                print(f"seed {options.seed}, case {cases}: kept in {options.crash_file}")
                return 1
            cases += 1
    took = time.monotonic() - started
    print(f"seed {options.seed}: {cases} cases, {cases / took:.0f} a second, {opened} opened, no crash")
    return 0


if __name__ == "__main__":
    sys.exit(main())
