"""What must hold of what lies in the logs, and of what was read, and where it does not."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from cluster_chaos.ledger import Ledger
from cluster_chaos.workload import TOPIC, Reader

READ_S = 180.0

Row = tuple[int, str, int]
"""Offset, producer, number."""


@dataclass(slots=True)
class Verdict:
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)  # out of order, refused, unread, replicas that differ

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.other]


def read_all(bootstrap: str, partitions: int) -> list[list[Row]]:
    """Every record that a consumer is given, by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "verdict", "enable.auto.commit": False})
    found: list[list[Row]] = []
    for partition in range(partitions):
        place = TopicPartition(TOPIC, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=30)
        consumer.assign([place])
        rows: list[Row] = []
        deadline = time.monotonic() + READ_S
        while (not rows or rows[-1][0] < end - 1) and end and time.monotonic() < deadline:
            for message in consumer.consume(10_000, 0.5):
                if message.error() is None:
                    name, number, _ = message.value().decode().split(":", 2)
                    rows.append((message.offset(), name, int(number)))
        found.append(rows)
    consumer.close()
    return found


def judge(ledger: Ledger, records: Sequence[Sequence[Row]], verdict: Verdict) -> None:
    """Every acknowledged record is where its acknowledgement said, once; each producer's are in the order sent."""
    for partition, rows in enumerate(records):
        offsets = [offset for offset, _, _ in rows]
        if offsets != sorted(set(offsets)):
            verdict.other.append(f"partition {partition}: offsets do not ascend")
        at: dict[tuple[str, int], list[int]] = defaultdict(list)
        newest: dict[str, int] = {}
        for offset, name, number in rows:
            if number < newest.get(name, -1) and (name, number) not in at:
                verdict.other.append(f"{name} {partition}: {number} at {offset} comes after {newest[name]}")
            newest[name] = max(newest.get(name, -1), number)
            at[name, number].append(offset)
        for (name, number), where in at.items():
            if len(where) > 1:
                verdict.doubled.append(f"{name} {partition}/{number}: at {where}")
        for name, by_partition in ledger.acked.items():
            for number, offset in by_partition[partition].items():
                if offset not in at.get((name, number), ()):
                    found = at.get((name, number), "nowhere")
                    verdict.lost.append(f"{name} {partition}/{number}: acknowledged at {offset}, found {found}")


def judge_readers(
    records: Sequence[Sequence[Row]], readers: Sequence[Reader], timeout: float, verdict: Verdict
) -> None:
    """The group has read every record, whatever happened to its coordinator and its members' partitions."""
    deadline = time.monotonic() + timeout
    while (missing := _unread(records, readers)) and time.monotonic() < deadline:
        time.sleep(0.5)
    verdict.other += [f"partition {partition}: the group never read {offset}" for partition, offset in missing[:20]]


def _unread(records: Sequence[Sequence[Row]], readers: Sequence[Reader]) -> list[tuple[int, int]]:
    found = []
    for partition, rows in enumerate(records):
        seen = [reader.seen[partition] for reader in readers]
        for offset, _, _ in rows:
            if not any(len(marks) > offset and marks[offset] for marks in seen):
                found.append((partition, offset))
    return found


def judge_replicas(directories: dict[int, Path], partitions: int, verdict: Verdict) -> None:
    """Of a cluster that has stopped: what replicas have in common is the same, byte for byte, from the same offset."""
    for partition in range(partitions):
        logs = {id_: _log_of(dir / f"{TOPIC}-{partition}") for id_, dir in directories.items()}
        held = {id_: log for id_, log in logs.items() if log}
        least = min((len(log) for log in held.values()), default=0)
        if len({log[:least] for log in held.values()}) > 1:
            verdict.other.append(f"partition {partition}: the replicas {sorted(held)} differ in what all of them have")


def _log_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*.log")))
