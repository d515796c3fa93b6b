"""Kafka's small text files: `version`, a count, one line an entry. Replaced atomically, never changed in place."""

from collections.abc import Iterable, Mapping

from riverport.base.files import Files, StorageError

OffsetsByPartition = dict[tuple[str, int], int]


def read_offsets(files: Files, path: str) -> OffsetsByPartition:
    """A checkpoint of `topic partition offset` lines; empty where there is no file. Raises StorageError."""
    found: OffsetsByPartition = {}
    for line in _entries(files, path, 3):
        found[(line[0], int(line[1]))] = int(line[2])
    return found


def write_offsets(files: Files, path: str, offsets: Mapping[tuple[str, int], int]) -> None:
    lines = [f"{topic} {partition} {offset}" for (topic, partition), offset in sorted(offsets.items())]
    _write(files, path, lines)


def read_epochs(files: Files, path: str) -> list[tuple[int, int]]:
    """A leader-epoch-checkpoint: `epoch startOffset` lines, ascending."""
    return [(int(epoch), int(start)) for epoch, start in _entries(files, path, 2)]


def write_epochs(files: Files, path: str, epochs: Iterable[tuple[int, int]]) -> None:
    _write(files, path, [f"{epoch} {start}" for epoch, start in epochs])


def _entries(files: Files, path: str, width: int) -> list[list[str]]:
    if not files.exists(path):
        return []
    try:
        lines = files.read(path).decode("utf-8").splitlines()
        if not lines:
            return []
        version, count = int(lines[0]), int(lines[1])
        entries = [line.split() for line in lines[2:] if line.strip()]
        if version != 0 or len(entries) != count or any(len(entry) != width for entry in entries):
            raise ValueError(f"version {version}, {len(entries)} entries where {count} are announced")
    except (ValueError, IndexError) as error:
        raise StorageError("parse", path, 0, f"malformed checkpoint: {error}") from error
    return entries


def _write(files: Files, path: str, lines: list[str]) -> None:
    text = "\n".join(["0", str(len(lines)), *lines]) + "\n"
    files.replace(path, text.encode("utf-8"))
