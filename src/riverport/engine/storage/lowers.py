"""What the layers below a directory show at a name, without mounting them.

The rules are overlayfs's own: the topmost layer that has the name decides; a whiteout says it is not there; directories
merge until one is opaque or no directory. Components are looked at one by one, and links are never followed.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from riverport.engine.storage import trees


@dataclass(frozen=True, slots=True)
class Lowers:
    """One directory of the merged view: the real directories that make it up, topmost first; none if it is absent."""

    directories: tuple[bytes, ...]

    @classmethod
    def of(cls, layers: Sequence[os.PathLike[str]]) -> Self:
        return cls(tuple(os.fsencode(layer) for layer in layers))

    def find(self, name: bytes) -> tuple[os.stat_result, bytes] | None:
        """The status and the real path of what the view has at `name`."""
        for directory in self.directories:
            path = directory + b"/" + name
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return None if trees.is_whiteout(status) else (status, path)
        return None

    def enter(self, name: bytes) -> "Lowers":
        """The view of the directory `name`; an empty one if that is no directory."""
        reached: list[bytes] = []
        for directory in self.directories:
            path = directory + b"/" + name
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            reached.append(path)
            if trees.is_opaque(path):
                break
        return Lowers(tuple(reached))

    def descend(self, path: bytes) -> "Lowers":
        view = self
        for part in path.split(b"/"):
            view = view.enter(part) if part else view
        return view

    def names(self) -> list[bytes]:
        """What the directory holds, sorted."""
        seen: dict[bytes, bool] = {}
        for directory in self.directories:
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if name not in seen:
                        seen[name] = not trees.is_whiteout(entry.stat(follow_symlinks=False))
        return sorted(name for name, there in seen.items() if there)
