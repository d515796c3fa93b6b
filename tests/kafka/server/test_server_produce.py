"""Produce: what is appended, what is refused with which code, and what happens where there is no answer.

The whole file agrees with Apache Kafka 4.3.1 but for the tests marked as our own, see conftest.py.
"""

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.kafka.records.samples import edited, with_section
from tests.kafka.server.wire import (
    NO_ID,
    Wire,
    asked,
    batch,
    fetch,
    fetched,
    frame,
    make_topic,
    produce,
    produced,
    values_of,
)

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode

Address = tuple[str, int]
Topic = tuple[str, bytes]

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000
GOOD = batch(b"a", b"b", timestamp=NOW_MS)
FIRST_OFFSET_AT, LENGTH_AT, MAGIC_AT, ATTRIBUTES_AT, LAST_DELTA_AT, COUNT_AT = 0, 8, 16, 22, 23, 57
CONTROL = b"\0\x20"


@pytest.fixture(scope="module")
def topic(address: Address) -> Topic:
    return make_topic(address)


def stored(wire: Wire, topic: Topic, offset: int = 0) -> list[bytes | None]:
    return values_of(fetched(wire.ask(fetch([(topic, [asked(0, offset)])]))).records)


def end_of(wire: Wire, topic: Topic) -> int:
    return int(fetched(wire.ask(fetch([(topic, [asked(0, 0)])]))).high_watermark)


INVALID, CORRUPT = ErrorCode.INVALID_RECORD, ErrorCode.CORRUPT_MESSAGE
BY_REQUEST, BY_LOG = -1, 0
"""Who refuses: the log tells its start, which is 0; what never comes to a log has none to tell."""

REFUSED: dict[str, tuple[bytes | bytearray, int, int]] = {
    "nothing": (b"", INVALID, BY_REQUEST),
    "five bytes": (bytes(5), INVALID, BY_REQUEST),
    "a batch cut short": (GOOD[:-3], INVALID, BY_REQUEST),
    "two batches": (GOOD + GOOD, INVALID, BY_REQUEST),
    "magic 0": (edited(GOOD, MAGIC_AT, b"\0"), INVALID, BY_REQUEST),
    "magic 1": (edited(GOOD, MAGIC_AT, b"\1"), INVALID, BY_REQUEST),
    "magic 3": (edited(GOOD, MAGIC_AT, b"\3"), CORRUPT, BY_REQUEST),
    "magic -1": (edited(GOOD, MAGIC_AT, b"\xff"), CORRUPT, BY_REQUEST),
    "a wrong checksum": (GOOD[:-1] + b"\x55", CORRUPT, BY_REQUEST),
    "a length shorter than the header": (GOOD[:LENGTH_AT] + b"\0\0\0\x10" + GOOD[12:], CORRUPT, BY_REQUEST),
    "a negative length": (GOOD[:LENGTH_AT] + b"\xff\0\0\x10" + GOOD[12:], CORRUPT, BY_REQUEST),
    "more than max.message.bytes": (batch(b"x" * 1_100_000), ErrorCode.MESSAGE_TOO_LARGE, BY_REQUEST),
    "a base offset": (edited(GOOD, FIRST_OFFSET_AT, struct.pack(">q", 5)), INVALID, BY_LOG),
    "a count too large": (edited(GOOD, COUNT_AT, struct.pack(">i", 3)), INVALID, BY_LOG),
    "a count of 0": (edited(GOOD, COUNT_AT, struct.pack(">i", 0)), INVALID, BY_LOG),
    "a negative count": (edited(GOOD, COUNT_AT, struct.pack(">i", -1)), INVALID, BY_LOG),
    "the greatest count": (
        edited(edited(GOOD, COUNT_AT, struct.pack(">i", 2**31 - 1)), LAST_DELTA_AT, struct.pack(">i", 2**31 - 2)),
        INVALID,
        BY_LOG,
    ),
    "a wrong last offset delta": (edited(GOOD, LAST_DELTA_AT, struct.pack(">i", 4)), INVALID, BY_LOG),
    "a control batch": (edited(GOOD, ATTRIBUTES_AT - 1, CONTROL), INVALID, BY_LOG),
    "a producer id without a sequence": (batch(b"a", producer_id=7, producer_epoch=0), INVALID, BY_LOG),
    "a transaction without its id": (
        batch(b"a", producer_id=7, producer_epoch=0, base_sequence=0, transactional=True),
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        BY_REQUEST,
    ),
    "a time too far ahead": (batch(b"a", timestamp=NOW_MS + 2 * HOUR_MS), ErrorCode.INVALID_TIMESTAMP, BY_LOG),
}


@pytest.mark.parametrize("version", [9, 13])
@pytest.mark.parametrize(("payload", "code", "start"), REFUSED.values(), ids=REFUSED)
def test_batch_is_refused(
    wire: Wire, topic: Topic, version: int, payload: bytes | bytearray, code: int, start: int
) -> None:
    before = end_of(wire, topic)
    answer = produced(wire.ask(produce(topic, payload), version))
    assert (answer.index, answer.error_code, answer.base_offset) == (0, code, -1)
    assert (answer.log_append_time_ms, answer.log_start_offset) == (-1, start)
    assert end_of(wire, topic) == before
    assert produced(wire.ask(produce(topic, GOOD), version)).error_code == 0


@pytest.mark.usefixtures("own_only")  # Apache Kafka answers null records not at all, and garbage with -1
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, INVALID),
        (with_section(edited(GOOD, ATTRIBUTES_AT, bytes([Codec.GZIP])), b"garbage" * 9), CORRUPT),
        (with_section(edited(GOOD, ATTRIBUTES_AT, bytes([Codec.ZSTD])), b"garbage" * 9), CORRUPT),
        (edited(GOOD, ATTRIBUTES_AT, b"\5"), INVALID),
    ],
    ids=["null", "gzip", "zstd", "codec 5"],
)
def test_batch_that_cannot_be_opened_is_refused(wire: Wire, topic: Topic, payload: bytes | None, code: int) -> None:
    assert produced(wire.ask(produce(topic, payload), 9)).error_code == code
    assert produced(wire.ask(produce(topic, GOOD), 9)).error_code == 0


ACCEPTED = {
    "a partial batch behind": GOOD + b"abc",
    "no timestamp": batch(b"a", timestamp=-1),
    "a negative timestamp": batch(b"a", timestamp=-5),
    "the bit of log append time": edited(GOOD, ATTRIBUTES_AT, b"\x08"),
    "any leader epoch": edited(GOOD, 12, struct.pack(">i", 77)),
    "an unused bit": edited(GOOD, ATTRIBUTES_AT - 1, b"\x40\0"),
    "the bit of a delete horizon": edited(GOOD, ATTRIBUTES_AT, b"\x40"),
    "a producer id without an epoch": batch(b"a", producer_id=71, producer_epoch=-1, base_sequence=0),
    "a first sequence that is not 0": batch(b"a", producer_id=72, producer_epoch=0, base_sequence=5),
}


@pytest.mark.parametrize("payload", ACCEPTED.values(), ids=ACCEPTED)
def test_batch_is_accepted(wire: Wire, topic: Topic, payload: bytes) -> None:
    before = end_of(wire, topic)
    answer = produced(wire.ask(produce(topic, payload)))
    assert (answer.error_code, answer.base_offset, answer.log_start_offset) == (0, before, 0)
    assert len(stored(wire, topic, before)) == end_of(wire, topic) - before > 0


@pytest.mark.parametrize(
    ("topic", "version", "code"),
    [
        (("", NO_ID), 12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (("nowhere", NO_ID), 12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (("a b", NO_ID), 3, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (("", NO_ID), 13, ErrorCode.UNKNOWN_TOPIC_ID),
        (("", bytes(range(16))), 13, ErrorCode.UNKNOWN_TOPIC_ID),
    ],
)
def test_unknown_topic_is_refused(wire: Wire, topic: Topic, version: int, code: int) -> None:
    answer = produced(wire.ask(produce(topic, GOOD), version))
    assert (answer.error_code, answer.base_offset, answer.log_start_offset) == (code, -1, -1)


@pytest.mark.parametrize("acks", [2, -2, 32767])
def test_acks_other_than_all_one_and_none_are_refused(wire: Wire, topic: Topic, acks: int) -> None:
    before = end_of(wire, topic)
    answer = wire.ask(produce(topic, GOOD, GOOD, acks=acks))
    codes = sorted((entry.index, entry.error_code) for entry in answer.responses[0].partition_responses)
    assert codes == [(0, ErrorCode.INVALID_REQUIRED_ACKS), (1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)]
    assert end_of(wire, topic) == before


def test_one_partition_is_refused_and_the_other_is_not(wire: Wire, address: Address) -> None:
    topic = make_topic(address, partitions=2)
    answer = wire.ask(produce(topic, GOOD, GOOD[:-1] + b"\x55", GOOD))
    codes = {entry.index: entry.error_code for entry in answer.responses[0].partition_responses}
    assert codes == {0: 0, 1: CORRUPT, 2: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}


def test_one_transactional_batch_without_its_id_refuses_all_of_the_request(wire: Wire, address: Address) -> None:
    topic = make_topic(address, partitions=2)
    transactional = batch(b"a", producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    answer = wire.ask(produce(topic, GOOD, transactional))
    assert {entry.error_code for entry in answer.responses[0].partition_responses} == {53}
    assert end_of(wire, topic) == 0


def test_records_at_fault_are_named(wire: Wire, topic: Topic) -> None:
    times = [NOW_MS, NOW_MS + 2 * HOUR_MS, NOW_MS, NOW_MS + 3 * HOUR_MS]
    answer = produced(wire.ask(produce(topic, build_batch([NewRecord(None, b"", timestamp=at) for at in times]))))
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    assert [fault.batch_index for fault in answer.record_errors] == [1, 3]
    assert answer.error_message


def test_compacted_topic_refuses_records_without_a_key(wire: Wire, address: Address) -> None:
    topic = make_topic(address, cleanup_policy="compact")
    answer = produced(wire.ask(produce(topic, batch(b"a"))))
    assert (answer.error_code, [fault.batch_index for fault in answer.record_errors]) == (INVALID, [0])
    with_key = build_batch([NewRecord(b"k", b"v", timestamp=NOW_MS)])
    assert produced(wire.ask(produce(topic, with_key))).error_code == 0


def test_log_append_time_is_the_brokers(wire: Wire, address: Address) -> None:
    topic = make_topic(address, message_timestamp_type="LogAppendTime")
    answer = produced(wire.ask(produce(topic, batch(b"a", timestamp=NOW_MS + 9 * HOUR_MS))))
    assert (answer.error_code, answer.log_append_time_ms >= NOW_MS) == (0, True)
    marked = edited(GOOD, ATTRIBUTES_AT, b"\x08")
    assert produced(wire.ask(produce(topic, marked))).error_code == ErrorCode.INVALID_TIMESTAMP


def test_internal_topics_take_nothing_from_clients(wire: Wire) -> None:
    found = m.FindCoordinatorRequest("", 0, ["g"])
    deadline = time.monotonic() + 20
    while wire.ask(found).coordinators[0].error_code and time.monotonic() < deadline:
        time.sleep(0.05)
    assert produced(wire.ask(produce(("__consumer_offsets", NO_ID), GOOD), 12)).error_code == 17


Send = Callable[..., tuple[int, int]]


@pytest.fixture
def send(wire: Wire, address: Address) -> Send:
    """Produces to a topic of its own: (code, base offset)."""
    topic = make_topic(address)

    def send(sequence: int, count: int = 1, epoch: int = 0, producer: int = 70) -> tuple[int, int]:
        payload = batch(*[b"v"] * count, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)
        answer = produced(wire.ask(produce(topic, payload)))
        return answer.error_code, answer.base_offset

    return send


OUT_OF_ORDER, OLD_EPOCH = (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1), (ErrorCode.INVALID_PRODUCER_EPOCH, -1)


def test_repeated_batch_is_answered_with_its_first_offset(send: Send) -> None:
    assert [send(n) for n in range(6)] == [(0, n) for n in range(6)]
    assert [send(n) for n in (5, 1, 3)] == [(0, 5), (0, 1), (0, 3)]
    assert send(0) == OUT_OF_ORDER  # only five batches are remembered
    assert send(6) == (0, 6)


def test_gap_and_overlap_are_out_of_order(send: Send) -> None:
    assert send(0, 3) == (0, 0)
    assert send(4) == OUT_OF_ORDER
    assert send(2) == OUT_OF_ORDER
    assert send(0, 2) == OUT_OF_ORDER
    assert send(3) == (0, 3)


def test_new_epoch_begins_with_sequence_0_and_fences_the_old(send: Send) -> None:
    assert send(0) == (0, 0)
    assert send(1, epoch=1) == OUT_OF_ORDER
    assert send(0, epoch=1) == (0, 1)
    assert send(1, epoch=0) == OLD_EPOCH
    assert send(0, epoch=0) == OLD_EPOCH
    assert send(1, epoch=1) == (0, 2)


def test_sequences_go_round_after_the_greatest(send: Send) -> None:
    assert send(2**31 - 2) == (0, 0)
    assert send(2**31 - 1, 2) == (0, 1)
    assert send(1) == (0, 3)
    assert send(2**31 - 1, 2) == (0, 1)


def test_producers_do_not_disturb_each_other(send: Send) -> None:
    assert [send(0, producer=70), send(0, producer=71), send(1, producer=70), send(5, producer=71)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        OUT_OF_ORDER,
    ]


def test_repeated_batch_is_answered_with_its_time(wire: Wire, topic: Topic) -> None:
    payload = batch(b"v", timestamp=NOW_MS - 5, producer_id=90, producer_epoch=0, base_sequence=0)
    assert produced(wire.ask(produce(topic, payload))).log_append_time_ms == -1
    assert produced(wire.ask(produce(topic, payload))).log_append_time_ms == NOW_MS - 5


def test_no_answer_is_sent_for_acks_0(wire: Wire, address: Address) -> None:
    topic = make_topic(address)
    wire.send(frame(produce(topic, GOOD, acks=0)))
    assert end_of(wire, topic) == 2  # which is the next answer


@pytest.mark.parametrize("payload", [GOOD[:-1] + b"\x55", GOOD[:-3]], ids=["wrong checksum", "cut short"])
def test_connection_is_closed_where_acks_0_has_no_other_way_to_say_so(wire: Wire, topic: Topic, payload: Any) -> None:
    wire.send(frame(produce(topic, payload, acks=0)))
    assert wire.is_closed()


@pytest.mark.usefixtures("own_only")
def test_earlier_answers_leave_before_acks_0_closes_the_connection(wire: Wire, topic: Topic) -> None:
    wire.send(frame(produce(topic, GOOD)) + frame(produce(topic, GOOD[:-3], acks=0)) + frame(produce(topic, GOOD)))
    assert produced(wire.next_answer(ApiKey.PRODUCE, 13)[1]).error_code == 0
    assert wire.is_closed()


def test_produce_without_a_partition_is_answered(wire: Wire) -> None:
    assert wire.ask(m.ProduceRequest(None, -1, 1000, [])).responses == []


@pytest.mark.parametrize("version", range(3, 14))
def test_every_version_appends(wire: Wire, topic: Topic, version: int) -> None:
    answer = wire.ask(produce(topic, GOOD), version)
    entry = produced(answer)
    assert (entry.error_code, entry.base_offset >= 0) == (0, True)
    assert answer.responses[0].name == (topic[0] if version < 13 else "")
    assert answer.responses[0].topic_id == (topic[1] if version >= 13 else NO_ID)


@pytest.mark.parametrize(("version", "code"), [(3, 76), (6, 76), (7, 0)])
def test_zstd_needs_version_7(wire: Wire, topic: Topic, version: int, code: int) -> None:
    payload = build_batch([NewRecord(None, b"a" * 100, timestamp=NOW_MS)], codec=Codec.ZSTD)
    assert produced(wire.ask(produce(topic, payload), version)).error_code == code
