"""The words that the runtime and its users share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class RootfsLike(Protocol):
    """What `prepare` needs of `storage.Rootfs`: an overlay to be mounted at `merged`."""

    @property
    def lowers(self) -> Sequence[Path]: ...  # topmost first
    @property
    def upper(self) -> Path: ...
    @property
    def work(self) -> Path: ...
    @property
    def merged(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where a container's output is kept. `options` are Docker's: max-size, max-file, compress, mode …"""

    driver: str  # json-file | local
    path: Path
    options: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)  # labels, env and tag, already chosen


@dataclass(frozen=True, slots=True)
class StdioSettings:
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    log: LogSettings | None = None


@dataclass(frozen=True, slots=True)
class ExitStatus:
    code: int  # 128 + n where a signal n ended it
    oom_killed: bool
    finished_at: float  # seconds since the epoch
