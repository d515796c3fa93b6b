"""What one registry is told at its start."""

from dataclasses import dataclass, field
from pathlib import Path

from riverport.engine.registry.uploads import Limits

MANIFEST_BYTES_MAX = 4 << 20
"""What the specification asks registries to take at least."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The content's place and what clients may do with it."""

    root: Path
    limits: Limits = field(default_factory=Limits)
    manifest_bytes: int = MANIFEST_BYTES_MAX
    delete: bool = True
    sparse_indexes: bool = False
    """Take an index some of whose manifests are not there: copies of a few platforms only."""
    metrics: bool = False
