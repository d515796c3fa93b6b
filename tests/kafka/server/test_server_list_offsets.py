"""ListOffsets: special timestamps, look-ups by time, epochs and refusals.

The whole file agrees with Apache Kafka 4.3.1, see conftest.py.
"""

import pytest
from tests.kafka.server.wire import NO_ID, Wire, batch, make_topic, produce, produced

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

Address = tuple[str, int]
Topic = tuple[str, bytes]

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING = -1, -2, -3, -4, -5, -6
T = 1_700_000_000_000
TIMES = [(T, T + 10), (T + 20,), (T + 50, T + 30, T + 50), (T + 40,)]
"""Of the records in each batch: offsets 0-1, 2, 3-5, 6."""


@pytest.fixture(scope="module")
def topic(address: Address) -> Topic:
    topic = make_topic(address, partitions=2)
    with Wire(address) as wire:
        for codec, times in zip((Codec.NONE, Codec.GZIP, Codec.LZ4, Codec.NONE), TIMES, strict=True):
            payload = build_batch([NewRecord(None, b"v", timestamp=at) for at in times], codec=codec)
            assert produced(wire.ask(produce(topic, payload))).error_code == 0
    return topic


def asking(topic: str, timestamp: int, *, index: int = 0, epoch: int = -1, isolation: int = 0) -> m.ListOffsetsRequest:
    made = m.ListOffsetsRequest
    wanted = made.ListOffsetsPartition(index, epoch, timestamp)
    return made(-1, isolation, [made.ListOffsetsTopic(topic, [wanted])], 10_000)


def found(wire: Wire, request: m.ListOffsetsRequest, version: int | None = None) -> tuple[int, int, int, int]:
    """(code, timestamp, offset, leader epoch)"""
    ((entry,),) = (topic.partitions for topic in wire.ask(request, version).topics)
    return entry.error_code, entry.timestamp, entry.offset, entry.leader_epoch


SPECIAL = {LATEST: (0, -1, 7, 0), EARLIEST: (0, -1, 0, 0), MAX_TIMESTAMP: (0, T + 50, 3, 0)}
SPECIAL |= {EARLIEST_LOCAL: (0, -1, 0, 0), LATEST_TIERED: (0, -1, -1, -1), EARLIEST_PENDING: (0, -1, -1, -1)}
SINCE = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING: 11}


@pytest.mark.parametrize("timestamp", SPECIAL)
def test_special_timestamp(wire: Wire, topic: Topic, timestamp: int) -> None:
    assert found(wire, asking(topic[0], timestamp), 11) == SPECIAL[timestamp]


@pytest.mark.parametrize("timestamp", SPECIAL)
def test_special_timestamp_is_for_versions_that_know_it(wire: Wire, topic: Topic, timestamp: int) -> None:
    for version in range(1, 12):
        code, _, offset, epoch = found(wire, asking(topic[0], timestamp), version)
        if version < SINCE[timestamp]:
            assert (code, offset, epoch) == (ErrorCode.UNSUPPORTED_VERSION, -1, -1)
        else:
            assert (code, offset) == (0, SPECIAL[timestamp][2])
            assert epoch == (SPECIAL[timestamp][3] if version >= 4 else -1)


@pytest.mark.parametrize("timestamp", [-7, -8, -(2**63)])
def test_timestamp_that_means_nothing_is_refused(wire: Wire, topic: Topic, timestamp: int) -> None:
    assert found(wire, asking(topic[0], timestamp)) == (ErrorCode.UNSUPPORTED_VERSION, -1, -1, -1)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, (T, 0)),
        (T, (T, 0)),
        (T + 1, (T + 10, 1)),
        (T + 10, (T + 10, 1)),
        (T + 11, (T + 20, 2)),
        (T + 25, (T + 50, 3)),
        (T + 41, (T + 50, 3)),
        (T + 50, (T + 50, 3)),
        (T + 51, (-1, -1)),
        (2**63 - 1, (-1, -1)),
    ],
)
def test_first_record_at_or_after_a_time(wire: Wire, topic: Topic, timestamp: int, expected: tuple[int, int]) -> None:
    code, at, offset, epoch = found(wire, asking(topic[0], timestamp))
    assert (code, (at, offset)) == (0, expected)
    assert epoch == (0 if offset >= 0 else -1)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [(LATEST, (0, -1, 0, 0)), (EARLIEST, (0, -1, 0, 0)), (MAX_TIMESTAMP, (0, -1, -1, -1)), (T, (0, -1, -1, -1))],
)
def test_empty_partition(wire: Wire, topic: Topic, timestamp: int, expected: tuple[int, int, int, int]) -> None:
    assert found(wire, asking(topic[0], timestamp, index=1)) == expected


def test_deleted_records_are_not_found(wire: Wire, address: Address) -> None:
    topic = make_topic(address)
    for at in range(4):
        wire.ask(produce(topic, batch(b"a", timestamp=T + at)))
    made = m.DeleteRecordsRequest
    wire.ask(made([made.DeleteRecordsTopic(topic[0], [made.DeleteRecordsPartition(0, 2)])], 10_000))
    assert found(wire, asking(topic[0], EARLIEST))[:3] == (0, -1, 2)
    assert found(wire, asking(topic[0], EARLIEST_LOCAL))[:3] == (0, -1, 2)
    assert found(wire, asking(topic[0], 0))[:3] == (0, T + 2, 2)
    assert found(wire, asking(topic[0], MAX_TIMESTAMP))[:3] == (0, T + 3, 3)


@pytest.mark.parametrize(
    ("name", "index", "code"),
    [("nowhere", 0, 3), ("", 0, 3), ("a b", 0, 3), (None, 7, 3), (None, -1, 3)],
)
def test_unknown_partition(wire: Wire, topic: Topic, name: str | None, index: int, code: int) -> None:
    asked = asking(topic[0] if name is None else name, LATEST, index=index)
    assert found(wire, asked) == (code, -1, -1, -1)


@pytest.mark.parametrize(("epoch", "code"), [(-1, 0), (0, 0), (1, ErrorCode.UNKNOWN_LEADER_EPOCH)])
def test_leader_epoch_newer_than_ours_is_unknown(wire: Wire, topic: Topic, epoch: int, code: int) -> None:
    assert found(wire, asking(topic[0], LATEST, epoch=epoch))[0] == code


def test_partition_asked_for_twice_is_refused(wire: Wire, topic: Topic) -> None:
    made = m.ListOffsetsRequest
    twice = [made.ListOffsetsPartition(0, -1, at) for at in (LATEST, EARLIEST)]
    request = made(-1, 0, [made.ListOffsetsTopic(topic[0], [*twice, made.ListOffsetsPartition(1, -1, LATEST)])], 10_000)
    codes = [(entry.partition_index, entry.error_code) for t in wire.ask(request).topics for entry in t.partitions]
    assert set(codes) == {(0, ErrorCode.INVALID_REQUEST), (1, 0)}


def test_debug_consumer_sees_the_end_of_the_log(wire: Wire, topic: Topic) -> None:
    request = asking(topic[0], LATEST)
    request.replica_id = -2
    assert found(wire, request)[:3] == (0, -1, 7)


@pytest.mark.usefixtures("own_only")  # Apache Kafka asks its transaction coordinator first
def test_read_committed_ends_at_the_last_stable_offset(wire: Wire, address: Address) -> None:
    topic = make_topic(address)
    wire.ask(produce(topic, batch(b"plain", timestamp=T)))
    payload = batch(b"a", timestamp=T + 5, producer_id=9, producer_epoch=0, base_sequence=0, transactional=True)
    assert produced(wire.ask(produce(topic, payload, transactional_id="tx"), 11)).error_code == 0
    assert found(wire, asking(topic[0], LATEST, isolation=1))[2] == 1
    assert found(wire, asking(topic[0], LATEST))[2] == 2
    assert found(wire, asking(topic[0], T + 1, isolation=1))[:3] == (0, -1, -1)
    assert found(wire, asking(topic[0], T + 1))[:3] == (0, T + 5, 1)


def test_topic_ids_are_not_part_of_it(wire: Wire, topic: Topic) -> None:
    assert topic[1] != NO_ID
    assert found(wire, asking(topic[0], LATEST), 1)[2] == 7
