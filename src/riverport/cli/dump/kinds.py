"""Which reader is for which file, by its name and the directory it is in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from os import fstat, scandir
from os.path import basename, dirname, exists, isdir

from riverport.cli.dump.indexes import offset_index_items, time_index_items, transaction_index_items
from riverport.cli.dump.items import Items
from riverport.cli.dump.state import (
    checkpoint_items,
    json_items,
    partition_metadata_items,
    producer_snapshot_items,
    properties_items,
)

OFFSET_NAME = re.compile(r"(\d{20})(?:-\d{10})?(?:_[\w-]+)?\.(log|index|timeindex|txnindex|snapshot|checkpoint)")
"""Segments and what belongs to them; `.deleted`, `.cleaned` and `.swap` stand behind that."""
PARTITION_DIR = re.compile(r"(.+)-(\d+)(?:\.[0-9a-f]+-(?:delete|future|stray))?")
PASSING_SUFFIXES = (".deleted", ".cleaned", ".swap", ".part")
OFFSET_CHECKPOINTS = frozenset(
    (
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
        "cleaner-offset-checkpoint",
    )
)


@dataclass(slots=True)
class Reading:
    """How to read. `bases` keeps, by path, the batches of the segments that were read, for their indexes."""

    with_records: bool = False
    bases: dict[str, dict[int, int]] = field(default_factory=dict)


def files_under(path: str) -> Iterator[str]:
    """Every file below a directory, in order; the segments of a partition stand before their indexes."""
    if not isdir(path):
        yield path
        return
    with scandir(path) as entries:
        found = sorted(entries, key=lambda entry: (entry.is_dir(), _order(entry.name)))
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from files_under(entry.path)
        elif entry.is_file():
            yield entry.path


def _order(name: str) -> tuple[str, int, str]:
    stem, _, suffix = name.partition(".")
    return (stem, 0 if suffix.startswith("log") else 1, suffix)


def is_known(path: str) -> bool:
    """Whether the file is one that a log directory holds; others are left out of a directory's dump."""
    return _kind(path) != "unknown"


def items_of(path: str, reading: Reading) -> Items | None:
    """What a file says; None where its name is none of a log directory's. Raises OSError."""
    kind = _kind(path)
    if kind in ("log", "checkpoint"):
        return _segment(path, reading)
    if kind == "unknown":
        return None
    with open(path, "rb") as file:
        raw = file.read()
    match kind:
        case "index":
            return offset_index_items(raw, _base_offset(path), _bases_beside(path, reading))
        case "timeindex":
            return time_index_items(raw, _base_offset(path))
        case "txnindex":
            return transaction_index_items(raw)
        case "snapshot":
            return producer_snapshot_items(raw)
        case "offsets":
            return checkpoint_items(raw, ("topic", "partition", "offset"))
        case "epochs":
            return checkpoint_items(raw, ("epoch", "start_offset"))
        case "properties":
            return properties_items(raw)
        case "partition":
            return partition_metadata_items(raw)
        case "json":
            return json_items(raw)
    return iter(())


def _kind(path: str) -> str:
    name = basename(path)
    for suffix in PASSING_SUFFIXES:
        name = name.removesuffix(suffix)
    if (found := OFFSET_NAME.fullmatch(name)) is not None:
        return found[2]
    if name == "bootstrap.checkpoint":
        return "checkpoint"
    if name in OFFSET_CHECKPOINTS:
        return "offsets"
    return _SMALL.get(name, "unknown")


_SMALL = {
    "leader-epoch-checkpoint": "epochs",
    "meta.properties": "properties",
    "partition.metadata": "partition",
    "quorum-state": "json",
    ".kafka_cleanshutdown": "json",
    ".lock": "empty",
}


def _base_offset(path: str) -> int:
    return int(basename(path)[:20])


def _segment(path: str, reading: Reading) -> Items:
    from riverport.cli.dump.decoded import meaning_of
    from riverport.cli.dump.segments import Totals, segment_items

    name = basename(path)
    is_checkpoint = ".checkpoint" in name
    topic = PARTITION_DIR.fullmatch(basename(dirname(path)))
    meaning = meaning_of("__cluster_metadata" if is_checkpoint else topic[1] if topic else "")
    totals = Totals()
    with _mapped(path) as raw:
        yield from segment_items(
            raw,
            base_offset=None if is_checkpoint else _base_offset(path),
            with_records=reading.with_records,
            meaning=meaning,
            totals=totals,
        )
    reading.bases = {path: totals.bases}


def _bases_beside(path: str, reading: Reading) -> dict[int, int] | None:
    """The batches of the segment that an index belongs to."""
    from riverport.kafka.records.batch import iter_headers
    from riverport.kafka.records.errors import RecordError

    segment = path.replace(".index", ".log")
    if segment in reading.bases:
        return reading.bases[segment]
    if not exists(segment):
        return None
    bases = {}
    with _mapped(segment) as raw:
        try:
            for header in iter_headers(raw):
                bases[header.position] = header.base_offset
        except RecordError:
            return bases  # the segment's own dump tells of it
    return bases


@contextmanager
def _mapped(path: str) -> Iterator[memoryview]:
    """A file's bytes without reading them all: segments have a gigabyte by default."""
    with open(path, "rb") as file:
        if not fstat(file.fileno()).st_size:
            yield memoryview(b"")
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped, memoryview(mapped) as raw:
            yield raw
