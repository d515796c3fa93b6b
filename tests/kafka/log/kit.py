"""Logs on a simulated disk, and what tests write into them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from riverport.base.files import Files
from riverport.base.ids import uuid_text
from riverport.kafka.log import Isolation, Log, LogConfig, Origin
from riverport.kafka.log.directory import CHECKPOINTS, CLEAN_SHUTDOWN
from riverport.kafka.log.manager import LogManager
from riverport.kafka.log.recovery import open_log
from riverport.kafka.log.segment import file_name
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.control import end_txn_marker
from riverport.kafka.records.record import iter_records
from riverport.sim.disk import SimDisk

NOW_MS = 1_700_000_000_000
TOPIC_ID = bytes(range(1, 17))
ROOT = "/data"
DIR = f"{ROOT}/t-0"
SMALL = LogConfig(segment_bytes=1_000, index_interval_bytes=100)
"""Several segments after a dozen batches, several index entries in each."""

_IDS = count(1)


def disk_with(*roots: str) -> SimDisk:
    disk = SimDisk()
    for root in roots or (ROOT,):
        disk.mkdir(root)
        disk.sync_dir("/")
    return disk


def batch(
    *values: bytes,
    timestamp: int = NOW_MS,
    producer: tuple[int, int, int] | None = None,
    transactional: bool = False,
    codec: Codec = Codec.NONE,
    key: bytes | None = b"k",
) -> bytearray:
    """A batch as a client sends it; `producer` is (id, epoch, sequence), record times are a millisecond apart."""
    id_, epoch, sequence = producer or (-1, -1, -1)
    records = [NewRecord(key, value, (), timestamp + n) for n, value in enumerate(values or (b"v",))]
    return build_batch(
        records,
        codec=codec,
        producer_id=id_,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
    )


def append(log: Log, *values: bytes, epoch: int = 0, now_ms: int = NOW_MS, **options: Any) -> int:
    """Append a client's batch; the offset of its first record. The high watermark follows, as with one replica."""
    info = log.append_as_leader(batch(*values, **options), epoch, now_ms)
    log.update_high_watermark(log.log_end_offset)
    return info.first_offset


def end_transaction(
    log: Log, producer_id: int, *, commit: bool, epoch: int = 0, coordinator_epoch: int = 0, leader_epoch: int = 0
) -> int:
    """Append the marker; its offset."""
    marker = end_txn_marker(
        commit,
        coordinator_epoch=coordinator_epoch,
        producer_id=producer_id,
        producer_epoch=epoch,
        timestamp=NOW_MS,
    )
    info = log.append_as_leader(marker, leader_epoch, NOW_MS, origin=Origin.COORDINATOR)
    log.update_high_watermark(log.log_end_offset)
    return info.first_offset


def open_at(
    files: Files,
    dir: str = DIR,
    config: LogConfig = SMALL,
    *,
    clean: bool = False,
    recovery_point: int | None = None,
    log_start: int = 0,
    high_watermark: int = 2**63 - 1,
) -> Log:
    """The log in a directory, as a start of the broker opens it; its high watermark is its end unless told."""
    topic, _, partition = dir.rpartition("/")[2].rpartition("-")
    files.mkdir(dir)
    return open_log(
        files,
        dir,
        topic,
        int(partition),
        TOPIC_ID,
        config,
        NOW_MS,
        clean=clean,
        recovery_point=recovery_point,
        log_start=log_start,
        high_watermark=high_watermark,
    )


def reopened(log: Log, *, clean: bool = False) -> Log:
    """What the next start makes of a log's files, if the checkpoints were written last thing."""
    assert isinstance(log.files, SimDisk)
    if clean:
        log.close()
    log.files.kill()
    return open_at(
        log.files,
        log.dir,
        log.config,
        clean=clean,
        recovery_point=log.recovery_point,
        log_start=log.log_start_offset,
        high_watermark=log.high_watermark if clean else 2**63 - 1,
    )


def values(log: Log, start: int | None = None, isolation: Isolation = Isolation.HIGH_WATERMARK) -> dict[int, bytes]:
    """Offset -> value of all data records from `start` on, read as a consumer reads: batch after batch."""
    offset = log.log_start_offset if start is None else start
    wanted, found = offset, {}
    while True:
        read = log.read(offset, 300, isolation=isolation, min_one=True)
        headers = list(iter_headers(read.records))
        if not headers:
            return found
        for header in headers:
            if not header.is_control:
                for record in iter_records(read.records, header):
                    if record.offset >= wanted:
                        found[record.offset] = bytes(record.value or b"")
        offset = headers[-1].next_offset


def names(files: Files, dir: str = DIR) -> list[str]:
    return files.listdir(dir)


def segments(log: Log) -> list[int]:
    return [segment.base_offset for segment in log.segments]


def log_path(base: int, dir: str = DIR) -> str:
    return f"{dir}/{file_name(base, '.log')}"


def filled(disk: SimDisk, batches: int = 30, config: LogConfig = SMALL, dir: str = DIR) -> Log:
    """A log of batches of two records each: values `0`, `1`, ... are their offsets."""
    log = open_at(disk, dir, config, clean=True)
    for n in range(batches):
        append(log, b"%d" % (2 * n), b"%d" % (2 * n + 1), timestamp=NOW_MS + 10 * n)
    return log


def manager_of(files: Files, roots: Sequence[str] = (ROOT,), config: LogConfig = SMALL, **options: Any) -> LogManager:
    """All logs of the directories, opened as a start of the broker opens them."""
    manager = LogManager(files, list(roots), lambda: next(_IDS).to_bytes(16, "big"), **options)
    manager.lock({root: bytes([n]) * 16 for n, root in enumerate(roots, 1)})
    manager.load(lambda topic: config, NOW_MS)
    return manager


def write_metadata(files: Files, dir: str, topic_id: bytes = TOPIC_ID) -> None:
    files.write(f"{dir}/partition.metadata", f"version: 0\ntopic_id: {uuid_text(topic_id)}".encode())


__all__ = [
    "CHECKPOINTS",
    "CLEAN_SHUTDOWN",
    "DIR",
    "NOW_MS",
    "ROOT",
    "SMALL",
    "TOPIC_ID",
    "append",
    "batch",
    "disk_with",
    "end_transaction",
    "filled",
    "log_path",
    "manager_of",
    "names",
    "open_at",
    "reopened",
    "replace",
    "segments",
    "values",
    "write_metadata",
]
