"""Compacted logs on a simulated disk, and cleanings of them without threads."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

from tests.kafka.log.kit import NOW_MS, TOPIC_ID, manager_of

from riverport.base.files import Files
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.log.cleaner import CleanerLimits, LogCleaner, Step
from riverport.kafka.log.manager import LogManager
from riverport.kafka.records.batch import BatchHeader, iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.record import Record, iter_records

HOUR_MS = 3_600_000
COMPACT = LogConfig(
    segment_bytes=600,
    index_interval_bytes=100,
    compact=True,
    delete=False,
    delete_retention_ms=HOUR_MS,
    min_cleanable_dirty_ratio=0.0,
)
"""A few batches a segment, and everything behind the active segment is due."""
LIMITS = CleanerLimits(dedupe_buffer_bytes=24 * 1000)


def compacted(files: Files, partition: int = 0, **changes: Any) -> tuple[LogManager, Log]:
    """A new log beside those that are there."""
    config = replace(COMPACT, **changes)
    manager = manager_of(files, config=config)
    return manager, manager.get_or_create("t", partition, TOPIC_ID, config, NOW_MS)


def put(log: Log, key: str | None, *values: str | None, now_ms: int = NOW_MS, **options: Any) -> int:
    """Append a batch of records with one key; None as a value is a tombstone. The offset of the first."""
    records = [NewRecord(_bytes(key), _bytes(value), (), now_ms) for value in values or ("v",)]
    return put_all(log, records, now_ms=now_ms, **options)


def put_all(
    log: Log,
    records: list[NewRecord],
    *,
    now_ms: int = NOW_MS,
    producer: tuple[int, int, int] = (-1, -1, -1),
    **options: Any,
) -> int:
    batch = build_batch(
        records, producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2], **options
    )
    info = log.append_as_leader(batch, 0, now_ms)
    log.update_high_watermark(log.log_end_offset)
    return info.first_offset


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def roll(log: Log, now_ms: int = NOW_MS) -> None:
    """What is in the log now may be cleaned."""
    log.roll(now_ms)


def cleaner_of(manager: LogManager, limits: CleanerLimits = LIMITS) -> LogCleaner:
    return LogCleaner(manager, lambda: limits, lambda size: None)


def clean(manager: LogManager, now_ms: int = NOW_MS, limits: CleanerLimits = LIMITS) -> LogCleaner:
    """One cleaning of the dirtiest log, if one is due."""
    cleaner = cleaner_of(manager, limits)
    steps = cleaner.clean_dirtiest(now_ms)
    if steps is not None:
        run(steps)
    return cleaner


def run(steps: Generator[Step, None, None]) -> None:
    with closing(steps):
        for step in steps:
            run_step(step)


def run_step(step: Step) -> None:
    """What the thread and the loop do with a step."""
    try:
        step.run()
    except Exception as error:
        step.fail(error)
    else:
        step.finish()


def records(log: Log) -> list[Record]:
    """All data records, as they lie in the files."""
    return [record for header, found in batches(log) if not header.is_control for record in found]


def batches(log: Log) -> list[tuple[BatchHeader, list[Record]]]:
    found = []
    for segment in log.segments:
        raw = segment.file.pread(segment.size, 0)
        found += [(header, list(iter_records(raw, header))) for header in iter_headers(raw)]
    return found


def rows(log: Log) -> list[tuple[int, str, str | None]]:
    """(offset, key, value) of all data records."""
    return [(r.offset, _text(r.key) or "", _text(r.value)) for r in records(log)]


def _text(raw: Any) -> str | None:
    return None if raw is None else bytes(raw).decode()
