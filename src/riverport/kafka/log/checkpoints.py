"""Kafka's small text files: `version`, a count, one line an entry. Replaced atomically, never changed in place."""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TypeVar

from riverport.base.files import Files, StorageError

OffsetsByPartition = dict[tuple[str, int], int]

_Entry = TypeVar("_Entry")

MAX_OFFSET = 2**63 - 2**32
"""A greater one in a file is damage: the offsets of a whole segment must fit above each."""
PARSE = "parse"
"""The operation of the StorageError for a file that is there and is no checkpoint."""


def read_offsets(files: Files, path: str) -> OffsetsByPartition:
    """A checkpoint of `topic partition offset` lines; empty where there is no file. Raises StorageError."""
    return {(topic, partition): offset for topic, partition, offset in _entries(files, path, _offset_entry)}


def write_offsets(files: Files, path: str, offsets: Mapping[tuple[str, int], int]) -> None:
    lines = [f"{topic} {partition} {offset}" for (topic, partition), offset in sorted(offsets.items())]
    _write(files, path, lines)


def read_epochs(files: Files, path: str) -> list[tuple[int, int]]:
    """A leader-epoch-checkpoint: `epoch startOffset` lines, both ascending. Raises StorageError."""
    if not files.exists(path):
        return []
    if files.size(path) == 0:
        raise _malformed(path, "nothing in it")  # what a power cut may leave of a file that was not synced
    epochs = _entries(files, path, _epoch_entry)
    for (epoch, start), (next_epoch, next_start) in pairwise(epochs):
        if epoch >= next_epoch or start > next_start:
            raise _malformed(path, f"epoch {next_epoch} at {next_start} follows {epoch} at {start}")
    return epochs


def write_epochs(files: Files, path: str, epochs: Iterable[tuple[int, int]], *, sync: bool = True) -> None:
    _write(files, path, [f"{epoch} {start}" for epoch, start in epochs], sync=sync)


def _offset_entry(line: str) -> tuple[str, int, int]:
    topic, partition, offset = line.split()
    return topic, _count(partition), _count(offset)


def _epoch_entry(line: str) -> tuple[int, int]:
    epoch, start = line.split()
    return _count(epoch), _count(start)


def _count(digits: str) -> int:
    number = int(digits)
    if not 0 <= number <= MAX_OFFSET:
        raise ValueError(f"{number} is out of range")
    return number


def _entries(files: Files, path: str, parse: Callable[[str], _Entry]) -> list[_Entry]:
    if not files.exists(path):
        return []
    try:
        lines = files.read(path).decode("utf-8").splitlines()
        if not lines:
            return []
        version, count = int(lines[0]), int(lines[1])
        entries = [parse(line) for line in lines[2:] if line.strip()]
        if version != 0 or len(entries) != count:
            raise ValueError(f"version {version}, {len(entries)} entries where {count} are announced")
    except (ValueError, IndexError) as error:
        raise _malformed(path, str(error)) from error
    return entries


def _malformed(path: str, reason: str) -> StorageError:
    return StorageError(PARSE, path, 0, f"malformed checkpoint: {reason}")


def _write(files: Files, path: str, lines: list[str], *, sync: bool = True) -> None:
    content = ("\n".join(["0", str(len(lines)), *lines]) + "\n").encode("utf-8")
    if sync:
        files.replace(path, content)
    else:
        files.write(f"{path}.tmp", content, sync=False)
        files.rename(f"{path}.tmp", path)
