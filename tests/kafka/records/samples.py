"""Records and batches that the tests of this folder share."""

from hypothesis import strategies as st

from riverport.kafka.records.batch import BATCH_OVERHEAD, LOG_OVERHEAD, read_header, write_crc
from riverport.kafka.records.builder import NewRecord
from riverport.kafka.records.record import Record

NOW_MS = 1_700_000_000_000

keys = st.none() | st.binary(max_size=80)
values = st.none() | st.binary(max_size=200)
headers = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=70)), max_size=3)
timestamps = st.integers(NOW_MS - 10_000, NOW_MS + 10_000) | st.integers(0, 2**50)


@st.composite
def record_lists(draw: st.DrawFn, max_size: int = 8) -> list[NewRecord]:
    """Records of any shape, and runs of records of one shape long enough to be compared in columns."""
    records = draw(st.lists(st.builds(NewRecord, keys, values, headers, timestamps), min_size=1, max_size=max_size))
    for _ in range(draw(st.integers(0, 2))):
        model = draw(st.builds(NewRecord, keys, values, headers, timestamps))
        step = draw(st.sampled_from([0, 0, 1, 3, -1, 100]))
        run = [
            NewRecord(model.key, model.value, model.headers, model.timestamp + step * n)
            for n in range(draw(st.sampled_from([20, 70, 300])))
        ]
        at = draw(st.integers(0, len(records)))
        records[at:at] = run
    return records


def plain(records: list[Record] | list[NewRecord]) -> list[tuple[int, bytes | None, bytes | None, list[object]]]:
    """What of a record must survive any trip."""
    return [(record.timestamp, record.key, record.value, list(record.headers)) for record in records]


def edited(batch: bytearray, at: int, new: bytes) -> bytearray:
    """The batch with `new` written over the bytes at `at`, and the checksum put right."""
    copy = bytearray(batch)
    copy[at : at + len(new)] = new
    write_crc(copy, 0)
    return copy


def with_section(batch: bytearray, section: bytes) -> bytearray:
    """The batch with another records section; length and checksum are put right, counts are not."""
    assert read_header(batch).position == 0
    copy = batch[:BATCH_OVERHEAD] + section
    copy[8:12] = (len(copy) - LOG_OVERHEAD).to_bytes(4, "big")
    write_crc(copy, 0)
    return copy
