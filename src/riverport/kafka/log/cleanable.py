"""Which log is to be cleaned next, and which part of it: cleaned before, dirty, not to be touched yet.

        clean            dirty             uncleanable
    |-----------------|----------------|------------------>
    log start     first dirty    first uncleanable       log end

Uncleanable is what lies above the last stable offset, the active segment, and segments with records younger than
`min.compaction.lag.ms` (KIP-58). A log is due once the dirty part's share of both is above `min.cleanable.dirty.ratio`,
or a dirty segment's first batch is older than `max.compaction.lag.ms` (KIP-354).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from riverport.base.logging import get_logger
from riverport.kafka.log.log import Log
from riverport.kafka.log.segment import Segment

log = get_logger(__name__)


@dataclass(slots=True, frozen=True)
class Cleanable:
    log: Log
    first_dirty: int
    first_uncleanable: int  # a segment's base offset
    clean_bytes: int
    dirty_bytes: int
    is_overdue: bool
    truncations: int  # of the log when this was found

    @property
    def ratio(self) -> float:
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0

    @property
    def is_due(self) -> bool:
        return self.dirty_bytes > 0 and (self.is_overdue or self.ratio > self.log.config.min_cleanable_dirty_ratio)


def dirtiest(parts: Iterable[Cleanable]) -> Cleanable | None:
    """The one with the greatest share of dirty bytes among those that are due."""
    return max((part for part in parts if part.is_due), key=lambda part: part.ratio, default=None)


def cleanable_part(log_: Log, now_ms: int) -> Cleanable:
    """Divide a log. A `cleaned_to` that cannot be right is set back to the log start."""
    first_dirty = _first_dirty(log_)
    inactive = log_.segments[:-1]
    if not inactive:
        return Cleanable(log_, first_dirty, first_dirty, 0, 0, False, log_.truncations)
    end = _first_uncleanable(log_, first_dirty, now_ms)
    clean = sum(segment.size for segment in inactive if segment.base_offset < first_dirty)
    dirty = [segment for segment in _from(log_, first_dirty) if segment.base_offset < end]
    return Cleanable(
        log_,
        first_dirty,
        end,
        clean,
        sum(segment.size for segment in dirty),
        _is_overdue(log_, first_dirty, now_ms),
        log_.truncations,
    )


def _first_dirty(log_: Log) -> int:
    start = log_.log_start_offset
    if log_.cleaned_to < 0:
        return start
    if log_.cleaned_to > log_.log_end_offset:
        log.warning("a log was cleaned further than it reaches, it is cleaned anew", log=log_, offset=log_.cleaned_to)
        log_.cleaned_to = start
    elif log_.cleaned_to < start:
        log_.cleaned_to = start
    return log_.cleaned_to


def _first_uncleanable(log_: Log, first_dirty: int, now_ms: int) -> int:
    limit = min(log_.last_stable_offset, log_.active.base_offset)
    lag_ms = log_.config.min_compaction_lag_ms
    if lag_ms > 0:
        young = (s.base_offset for s in _from(log_, first_dirty) if s.read_max_timestamp() > now_ms - lag_ms)
        limit = min(limit, next(young, limit))
    # Whole segments only: the one in which the limit lies is left alone.
    return log_.segment_of(max(limit, first_dirty)).base_offset


def _is_overdue(log_: Log, first_dirty: int, now_ms: int) -> bool:
    until_ms = now_ms - log_.config.max_compaction_lag_ms
    if until_ms <= 0:
        return False
    return any(0 < segment.read_first_timestamp() < until_ms for segment in _from(log_, first_dirty))


def _from(log_: Log, offset: int) -> list[Segment]:
    """The segments that are not active, from the one that holds an offset on."""
    if offset > log_.active.base_offset:
        return []
    start = log_.segments.index(log_.segment_of(offset))
    return log_.segments[start:-1]
