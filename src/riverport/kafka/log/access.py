"""Who appends to a log, how far a reader may see, and what either is told."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Origin(Enum):
    """Who appends: clients are checked, the broker's own coordinators and the quorum are not."""

    CLIENT = 0
    COORDINATOR = 1
    RAFT_LEADER = 2


class Isolation(Enum):
    """How far a reader may see."""

    LOG_END = 0
    HIGH_WATERMARK = 1
    LAST_STABLE = 2


@dataclass(slots=True)
class AppendInfo:
    first_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start_offset: int
    duplicate: bool = False


@dataclass(slots=True)
class ReadInfo:
    """`records` starts with the batch that holds the wanted offset and may end in a part of a batch."""

    records: Any  # bytes; or, where it was asked for, a FileSlice
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]] | None  # (producer id, first offset), with Isolation.LAST_STABLE only
