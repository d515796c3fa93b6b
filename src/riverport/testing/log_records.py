"""The records of a topic as they lie in its logs: all of them, committed or not, control records too."""

from collections.abc import Iterator
from dataclasses import dataclass

from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.record import Header, iter_records

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record, and what its batch says about it."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds since the epoch
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    leader_epoch: int
    producer_id: int  # -1 for a producer without idempotence
    producer_epoch: int
    is_transactional: bool
    is_control: bool


def records_of(log: Log) -> Iterator[LogRecord]:
    """Every record from the log's start to its end. To be used in the broker's thread."""
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = log.read(offset, _READ_BYTES, isolation=Isolation.LOG_END, min_one=True).records
        if not len(data):
            return
        for header in iter_headers(data):
            for record in iter_records(data, header):
                if record.offset >= offset:
                    yield LogRecord(
                        log.topic,
                        log.partition,
                        record.offset,
                        record.timestamp,
                        record.key,
                        record.value,
                        tuple(record.headers),
                        header.leader_epoch,
                        header.producer_id,
                        header.producer_epoch,
                        header.is_transactional,
                        header.is_control,
                    )
            next_offset = header.last_offset + 1
        offset = next_offset
