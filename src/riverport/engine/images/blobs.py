"""Layers' archives as registries have them: by digest, of which layer, where seen, and, if it came so, the file.

A pulled layer's file is kept, since packing it again gives another digest. It goes with the last layer of its diff id.
What a registry was seen to have is remembered so that a push there sends nothing and a push next door mounts it.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from riverport.engine.state import State
from riverport.engine.storage.layers import Layer, LayerStore

_KIND: Final = "blobs"
MAX_REPOSITORIES: Final = 32
"""Repositories remembered for one blob; the oldest are forgotten."""


@dataclass(slots=True)
class Blob:
    digest: str
    diff_id: str
    media_type: str
    size: int
    kept: bool = False
    repositories: list[str] = field(default_factory=list)
    """Full names of repositories that were seen to have it, the latest last."""


class Blobs:
    def __init__(self, root: Path, state: State, layers: LayerStore) -> None:
        self._root = root / "sha256"
        self._arriving = root / "arriving"
        self._state = state
        self._layers = layers
        self._blobs: dict[str, Blob] = {}
        layers.left_behind = self._forget

    def start(self) -> None:
        """Read the table; files without an entry, and entries without a layer or file, go."""
        for directory in (self._root, self._arriving):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for digest, document in self._state.load(_KIND).items():
            self._blobs[digest] = Blob(digest, **document)
        present = {entry.name for entry in self._root.iterdir()}
        for blob in list(self._blobs.values()):
            if not self._layers.has_diff(blob.diff_id) or (blob.kept and self.path(blob.digest).name not in present):
                del self._blobs[blob.digest]
                self._state.delete(_KIND, [blob.digest])
        kept = {self.path(blob.digest).name for blob in self._blobs.values() if blob.kept}
        for name in present - kept:
            (self._root / name).unlink()
        for entry in self._arriving.iterdir():
            entry.unlink()

    def path(self, digest: str) -> Path:
        return self._root / digest.replace(":", "-")

    def new_file(self) -> Path:
        """Where a blob is written until its digest is known to be right."""
        return self._arriving / secrets.token_hex(16)

    def get(self, digest: str) -> Blob | None:
        return self._blobs.get(digest)

    def of(self, diff_id: str) -> list[Blob]:
        """Known forms of a layer, those with a file first."""
        found = [blob for blob in self._blobs.values() if blob.diff_id == diff_id]
        return sorted(found, key=lambda blob: not blob.kept)

    def kept_bytes(self, diff_id: str) -> int:
        return sum(blob.size for blob in self._blobs.values() if blob.diff_id == diff_id and blob.kept)

    def keep(self, digest: str, diff_id: str, media_type: str, size: int, file: Path) -> Blob:
        """Keep the file, which lies on the same file system, by another link; its layer is registered."""
        known = self._blobs.get(digest)
        if known is not None and known.kept:
            return known
        os.link(file, self.path(digest))
        blob = Blob(digest, diff_id, media_type, size, True, known.repositories if known is not None else [])
        return self._save(blob)

    def seen(self, digest: str, diff_id: str, media_type: str, size: int, repository: str) -> None:
        """A repository has this blob."""
        blob = self._blobs.get(digest) or Blob(digest, diff_id, media_type, size)
        others = [one for one in blob.repositories if one != repository]
        blob.repositories = [*others[1 - MAX_REPOSITORIES :], repository]
        self._save(blob)

    def missing(self, digest: str, repository: str) -> None:
        """A repository turned out not to have it any more."""
        blob = self._blobs.get(digest)
        if blob is not None and repository in blob.repositories:
            blob.repositories.remove(repository)
            self._save(blob)

    def _save(self, blob: Blob) -> Blob:
        self._blobs[blob.digest] = blob
        self._state.save(_KIND, blob.digest, _document_of(blob))
        return blob

    def _forget(self, layer: Layer) -> Sequence[Path]:
        """A layer went: its blobs go too, unless the same files are part of another chain."""
        if self._layers.has_diff(layer.diff_id):
            return ()
        gone = self.of(layer.diff_id)
        for blob in gone:
            del self._blobs[blob.digest]
        self._state.delete(_KIND, [blob.digest for blob in gone])
        return [self.path(blob.digest) for blob in gone if blob.kept]


def _document_of(blob: Blob) -> dict[str, Any]:
    return {
        "diff_id": blob.diff_id,
        "media_type": blob.media_type,
        "size": blob.size,
        "kept": blob.kept,
        "repositories": blob.repositories,
    }
