"""Reading a partition of `__consumer_offsets` back: whole batches, as this broker or Apache Kafka has written them."""

from riverport.kafka.groups.coordinator import Coordinator
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.control import ControlType, control_type
from riverport.kafka.records.record import iter_records
from riverport.kafka.wire.varint import Buffer


def replay_batches(coordinator: Coordinator, data: Buffer, start: int) -> int:
    """Replay the whole batches of `data` from an offset on; returns the offset behind them.

    Raises RecordError for batches and WireError for keys and values that cannot be read.
    """
    for header in iter_headers(data):
        for record in iter_records(data, header):
            if record.offset < start:
                continue
            if header.is_control:
                kind = control_type(record)
                if kind in (ControlType.ABORT, ControlType.COMMIT):
                    coordinator.replay_end(header.producer_id, committed=kind is ControlType.COMMIT)
            elif record.key is not None:
                producer_id = header.producer_id if header.is_transactional else -1
                coordinator.replay_bytes(record.key, record.value, record.offset, producer_id)
        start = max(start, header.next_offset)
    return start
