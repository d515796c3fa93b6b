"""Checkpoints of the metadata log: `%020d-%010d.checkpoint`, named by end offset and epoch (KIP-630).

A checkpoint holds everything below its end offset: a control batch with the header (and with kraft.version 1 the
version and the voters), data batches, a control batch with the footer. Offsets inside count from 0. It is valid if and
only if it ends with a footer; it is written under another name and renamed, so a torn one is never found.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from riverport.base.files import Files, StorageError
from riverport.kafka.records.batch import check_crc, iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import raft_control_batch, raft_control_message
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import iter_records
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.metadata_records import decode_record

_NAME = re.compile(r"(\d{20})-(\d{10})\.checkpoint")
_LEFTOVER = re.compile(r"\d{20}-\d{10}.*\.checkpoint\.(tmp|part|deleted)")
HEAD_BYTES = 16 * 1024
"""More than the first batch of a checkpoint takes, which has the header and the voters."""
BATCH_RECORDS = 1_000
"""Data records of one batch of a checkpoint."""
READ_ONLY = 0o400


class SnapshotId(NamedTuple):
    """`end_offset` is the first offset that is not in the checkpoint; `epoch` the one of the record before it."""

    end_offset: int
    epoch: int

    @property
    def file_name(self) -> str:
        return f"{self.end_offset:020d}-{self.epoch:010d}.checkpoint"


@dataclass(slots=True)
class Snapshot:
    """What a checkpoint holds. `voters` is None where the quorum is static (kraft.version 0)."""

    kraft_version: int = 0
    voters: m.VotersRecord | None = None
    last_contained_timestamp: int = 0
    records: list[Any] = field(default_factory=list)


def snapshots_in(files: Files, dir: str) -> list[SnapshotId]:
    """The ids of all checkpoints in a directory, oldest first."""
    found = [_NAME.fullmatch(name) for name in files.listdir(dir)]
    return sorted(SnapshotId(int(name[1]), int(name[2])) for name in found if name)


def remove_leftovers(files: Files, dir: str) -> None:
    """Remove what a process that died left of checkpoints that it was writing or removing, ours or Apache Kafka's."""
    for name in files.listdir(dir):
        if _LEFTOVER.fullmatch(name):
            files.remove(f"{dir}/{name}")


def last_contained_timestamp(files: Files, path: str) -> int | None:
    """When the newest record that a checkpoint stands for was written; None where the file does not say."""
    file = files.open(path)
    try:
        raw = file.pread(HEAD_BYTES, 0)
    finally:
        file.close()
    for header in iter_headers(raw):
        for record in iter_records(raw, header):
            message = raft_control_message(record) if header.is_control else None
            if isinstance(message, m.SnapshotHeaderRecord):
                return message.last_contained_log_timestamp
        break
    return None


def read_snapshot(files: Files, path: str) -> Snapshot:
    """Raises StorageError for a checkpoint that is damaged or not whole."""
    try:
        return _parsed(files.read(path), path)
    except (RecordError, WireError) as error:
        raise StorageError("parse", path, 0, f"the checkpoint is damaged: {error}") from error


def _parsed(raw: bytes, path: str) -> Snapshot:
    snapshot = Snapshot()
    footer = False
    end = 0
    for header in iter_headers(raw):
        if not check_crc(raw, header):
            raise StorageError("parse", path, 0, f"a batch of the checkpoint is damaged at {header.position}")
        end = header.position + header.size
        for record in iter_records(raw, header):
            if not header.is_control:
                snapshot.records.append(decode_record(record.value or b"")[0])
                continue
            match raft_control_message(record):
                case m.SnapshotHeaderRecord() as head:
                    snapshot.last_contained_timestamp = head.last_contained_log_timestamp
                case m.SnapshotFooterRecord():
                    footer = True
                case m.KRaftVersionRecord() as version:
                    snapshot.kraft_version = version.k_raft_version
                case m.VotersRecord() as voters:
                    snapshot.voters = voters
    if not footer or end != len(raw):
        raise StorageError("parse", path, 0, "the checkpoint is not whole: it does not end with a footer")
    return snapshot


def encode_snapshot(
    records: Iterable[bytes],
    *,
    epoch: int,
    now_ms: int,
    last_contained_timestamp: int,
    kraft_version: int = 0,
    voters: m.VotersRecord | None = None,
) -> Iterator[bytes]:
    """The batches of a checkpoint, one after the other. `records` are encoded metadata records."""
    head: list[Any] = [m.SnapshotHeaderRecord(0, last_contained_timestamp)]
    if kraft_version > 0:
        head += [m.KRaftVersionRecord(0, kraft_version), voters or m.VotersRecord(0, [])]
    yield bytes(raft_control_batch(head, timestamp=now_ms, leader_epoch=epoch))
    offset = len(head)
    chunk: list[NewRecord] = []
    for record in records:
        chunk.append(NewRecord(None, record, timestamp=now_ms))
        if len(chunk) == BATCH_RECORDS:
            yield bytes(build_batch(chunk, base_offset=offset, leader_epoch=epoch))
            offset += len(chunk)
            chunk = []
    if chunk:
        yield bytes(build_batch(chunk, base_offset=offset, leader_epoch=epoch))
        offset += len(chunk)
    yield bytes(
        raft_control_batch([m.SnapshotFooterRecord(0)], timestamp=now_ms, base_offset=offset, leader_epoch=epoch)
    )
