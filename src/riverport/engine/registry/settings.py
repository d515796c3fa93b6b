"""What one registry is told at its start."""

from dataclasses import dataclass, field
from pathlib import Path

from riverport.base.http.exchange import Limits as HttpLimits
from riverport.engine.registry.uploads import Limits

HTTP_LIMITS = HttpLimits(head_bytes=64 << 10, idle_s=120.0, body_stall_s=60.0)
"""Of one connection: an upload that stands still for a minute has lost its client."""
MANIFEST_BYTES_MAX = 4 << 20
"""What the specification asks registries to take at least."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The content's place and what clients may do with it."""

    root: Path
    limits: Limits = field(default_factory=Limits)
    manifest_bytes: int = MANIFEST_BYTES_MAX
    delete: bool = True
    sparse: bool = False
    """Take manifests some of whose parts are not there, such as copies of a few platforms only."""
    metrics: bool = False
    collect_every_s: float = 0.0
    """How often garbage is collected by the server itself; 0: only by `riverport registry garbage-collect`."""
    proxy_ttl_s: float = 60.0
    """How long a cache believes what a tag pointed at."""
