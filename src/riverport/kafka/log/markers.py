"""What batches that no client sent mean to the state of producers: those of coordinators, of a leader, of a replay.

They may hold the markers that end transactions (KIP-98); an abort becomes an entry of the aborted transactions.
"""

from collections.abc import Iterable
from typing import Any

from riverport.kafka.log.producers import Producers
from riverport.kafka.log.transactions import AbortedTransactions
from riverport.kafka.records.batch import BatchHeader
from riverport.kafka.records.control import ControlType, control_type, coordinator_epoch
from riverport.kafka.records.record import iter_records


def check_batches(producers: Producers, buffer: Any, headers: Iterable[BatchHeader], log_name: str) -> None:
    """Raises ApiError for a batch or a marker of a producer, or a coordinator, that has been replaced."""
    for header in headers:
        if header.producer_id < 0:
            continue
        if not header.is_control:
            producers.check(header, log_name, sequences=False)
        elif (marker := _marker_in(buffer, header)) is not None:
            producers.check_marker(header, marker[1], log_name)


def remember_batch(producers: Producers, aborted: AbortedTransactions, buffer: Any, header: BatchHeader) -> bool:
    """Take a batch that was written into the state; whether it has added to the aborted transactions."""
    if header.producer_id < 0:
        return False
    if not header.is_control:
        producers.append(header)
        return False
    marker = _marker_in(buffer, header)
    if marker is None:
        return False
    kind, epoch = marker
    completed = producers.append_marker(header, kind is ControlType.ABORT, epoch)
    if completed is None or not completed.is_aborted or aborted.knows(completed.last_offset):
        return False
    unstable = producers.first_unstable_offset
    stable = completed.last_offset + 1 if unstable is None else unstable
    aborted.append(completed.producer_id, completed.first_offset, completed.last_offset, stable)
    return True


def _marker_in(buffer: Any, header: BatchHeader) -> tuple[ControlType, int] | None:
    """What a transaction's marker says, and its coordinator's epoch; None for other control batches, and emptied ones.

    Compaction empties the batch of a marker that nobody needs any more, and may keep it for its producer's sake.
    """
    record = next(iter(iter_records(buffer, header)), None)
    if record is None or (kind := control_type(record)) not in (ControlType.ABORT, ControlType.COMMIT):
        return None
    return kind, coordinator_epoch(record)
