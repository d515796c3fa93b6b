"""What a container has changed: its upper directory compared with the layers below."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from riverport.engine.storage import trees
from riverport.engine.storage.lowers import Lowers


class Kind(IntEnum):
    """The numbers of the API's `/containers/{id}/changes`."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    path: bytes
    """From the root, with a slash."""
    kind: Kind


def changes(upper: Path, lowers: Sequence[Path]) -> list[Change]:
    """By path. A directory counts as modified when something in it was added, deleted or modified, as in Docker."""
    found: dict[bytes, Kind] = {}
    waiting = [(b"", Lowers.of(lowers))]
    top = os.fsencode(upper)
    while waiting:
        directory, below = waiting.pop()
        real = top + directory
        opaque = bool(directory) and trees.is_opaque(real)
        present: set[bytes] = set()
        for name in os.listdir(real):
            path = directory + b"/" + name
            status = os.lstat(top + path)
            present.add(name)
            kind = _kind(status, below.find(name))
            if kind is not None:
                _note(found, path, kind)
            if stat.S_ISDIR(status.st_mode):
                waiting.append((path, below.enter(name)))
        if opaque:
            for name in below.names():
                if name not in present:
                    _note(found, directory + b"/" + name, Kind.DELETED)
    return [Change(path, found[path]) for path in sorted(found)]


def _kind(status: os.stat_result, below: tuple[os.stat_result, bytes] | None) -> Kind | None:
    if trees.is_whiteout(status):
        return Kind.DELETED if below is not None else None
    if below is None:
        return Kind.ADDED
    same = stat.S_ISDIR(status.st_mode) and _directory_facts(status) == _directory_facts(below[0])
    return None if same else Kind.MODIFIED


def _directory_facts(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns


def _note(found: dict[bytes, Kind], path: bytes, kind: Kind) -> None:
    found[path] = kind
    parent = path.rpartition(b"/")[0]
    while parent and parent not in found:
        found[parent] = Kind.MODIFIED
        parent = parent.rpartition(b"/")[0]
