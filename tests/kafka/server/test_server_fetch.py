"""Fetch: sizes, waiting, isolation, epochs, topic ids.

The whole file agrees with Apache Kafka 4.3.1 but for the tests marked as our own, see conftest.py.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
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

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.records.batch import read_header
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.server import connection
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

Address = tuple[str, int]
Topic = tuple[str, bytes]

FOREVER_MS = 60_000
"""Longer than any test may wait."""


@pytest.fixture(scope="module")
def topic(address: Address) -> Topic:
    """Ten batches of one record of 100 bytes, at offsets 0 to 9."""
    topic = make_topic(address, partitions=2)
    with Wire(address) as wire:
        for n in range(10):
            assert produced(wire.ask(produce(topic, batch(b"%d" % n * 100)))).error_code == 0
    return topic


@pytest.fixture(scope="module")
def batch_size(address: Address, topic: Topic) -> int:
    return len(batch(b"0" * 100))


@pytest.fixture
def other(address: Address) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


def first_bytes(records: Any) -> list[bytes]:
    return [value[:1] for value in values_of(records) if value is not None]


@pytest.mark.parametrize("version", range(4, 19))
def test_every_version_reads(wire: Wire, topic: Topic, version: int) -> None:
    answer = wire.ask(fetch([(topic, [asked(0, 7)])]), version)
    entry = fetched(answer)
    assert answer.error_code == 0
    assert (entry.error_code, entry.high_watermark, entry.last_stable_offset) == (0, 10, 10)
    assert entry.log_start_offset == (0 if version >= 5 else -1)
    assert first_bytes(entry.records) == [b"7", b"8", b"9"]
    assert answer.responses[0].topic == (topic[0] if version < 13 else "")
    assert answer.responses[0].topic_id == (topic[1] if version >= 13 else NO_ID)


@pytest.mark.parametrize(
    ("limit", "whole"), [(0, 1), (1, 1), (100, 1), (169, 1), (170, 1), (340, 2), (509, 2), (510, 3), (100_000, 10)]
)
@pytest.mark.parametrize("field", ["max_bytes", "partition_max_bytes"])
def test_whole_batches_within_the_limit_and_one_in_any_case(
    wire: Wire, topic: Topic, batch_size: int, field: str, limit: int, whole: int
) -> None:
    assert batch_size == 170
    of_all = {"max_bytes": limit} if field == "max_bytes" else {}
    of_one = {"partition_max_bytes": limit} if field == "partition_max_bytes" else {}
    entry = fetched(wire.ask(fetch([(topic, [asked(0, 0, **of_one)])], **of_all)))
    assert len(values_of(entry.records)) == whole
    assert len(entry.records) == max(batch_size, min(limit, 10 * batch_size))


def test_only_the_first_partition_with_data_may_exceed_the_limit(wire: Wire, address: Address) -> None:
    topic = make_topic(address, partitions=3)
    big, small = batch(b"b" * 500), batch(b"s")
    assert wire.ask(produce(topic, b"", big, big)).responses
    wanted = [asked(index, 0) for index in (0, 1, 2)]
    sizes = [len(entry.records) for entry in wire.ask(fetch([(topic, wanted)], max_bytes=10)).responses[0].partitions]
    assert sizes == [0, len(big), 0]
    assert wire.ask(produce(topic, small)).responses
    sizes = [len(p.records) for p in wire.ask(fetch([(topic, wanted)], max_bytes=200)).responses[0].partitions]
    assert sizes == [len(small), 0, 0]  # part of a first batch would be of no use
    wanted = [asked(0, 0), asked(1, 0, partition_max_bytes=20), asked(2, 0)]
    sizes = [len(p.records) for p in wire.ask(fetch([(topic, wanted)])).responses[0].partitions]
    assert sizes == [len(small), 0, len(big)]


def test_offset_within_a_batch_gets_the_whole_batch(wire: Wire, address: Address) -> None:
    topic = make_topic(address)
    wire.ask(produce(topic, batch(b"a", b"b", b"c")))
    assert values_of(fetched(wire.ask(fetch([(topic, [asked(0, 2)])]))).records) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(("offset", "code"), [(-1, 1), (11, 1), (2**62, 1), (10, 0), (0, 0)])
def test_offset_outside_of_the_log_is_out_of_range(wire: Wire, topic: Topic, offset: int, code: int) -> None:
    entry = fetched(wire.ask(fetch([(topic, [asked(0, offset)])])))
    assert entry.error_code == code
    if code:
        assert (entry.high_watermark, entry.last_stable_offset, entry.log_start_offset) == (-1, -1, -1)
        assert not entry.records


@pytest.mark.parametrize(("epoch", "code"), [(-1, 0), (0, 0), (1, ErrorCode.UNKNOWN_LEADER_EPOCH), (99, 75)])
def test_leader_epoch_newer_than_ours_is_unknown(wire: Wire, topic: Topic, epoch: int, code: int) -> None:
    entry = fetched(wire.ask(fetch([(topic, [asked(0, 0, current_leader_epoch=epoch)])])))
    assert entry.error_code == code


@pytest.mark.parametrize("level", [2, -1])
def test_isolation_level_that_means_nothing_is_refused(wire: Wire, topic: Topic, level: int) -> None:
    answer = wire.ask(fetch([(topic, [asked()])], isolation_level=level))
    assert (answer.error_code, answer.responses) == (ErrorCode.UNKNOWN_SERVER_ERROR, [])


def test_negative_size_is_refused(wire: Wire, topic: Topic) -> None:
    for request in (
        fetch([(topic, [asked(0, 0, partition_max_bytes=-1)])]),
        fetch([(topic, [asked(0, 0)])], max_bytes=-1),
    ):
        entry = fetched(wire.ask(request))
        assert (entry.error_code, entry.high_watermark) == (ErrorCode.UNKNOWN_SERVER_ERROR, -1)


def test_last_word_counts_where_a_partition_is_named_twice(wire: Wire, topic: Topic) -> None:
    entry = fetched(wire.ask(fetch([(topic, [asked(0, 0), asked(0, 8)])])))
    assert first_bytes(entry.records) == [b"8", b"9"]
    answer = wire.ask(fetch([(topic, [asked(0, 0)]), (topic, [asked(0, 9)])]))
    assert first_bytes(fetched(answer).records) == [b"9"]


def test_aborted_transactions_are_null_for_who_does_not_ask(wire: Wire, topic: Topic) -> None:
    for offset in (0, 10, 99):
        assert fetched(wire.ask(fetch([(topic, [asked(0, offset)])]))).aborted_transactions is None
    beyond = asked(0, 15, last_fetched_epoch=0)
    assert fetched(wire.ask(fetch([(topic, [beyond])]))).aborted_transactions is None


def test_divergence_from_the_log_is_told_at_once(wire: Wire, topic: Topic) -> None:
    """KIP-320: a consumer who read offsets of an epoch that we do not have there."""
    ahead = asked(0, 10, last_fetched_epoch=0)
    assert fetched(wire.ask(fetch([(topic, [ahead])]))).diverging_epoch.epoch == -1
    beyond = asked(0, 15, last_fetched_epoch=0)
    entry = fetched(wire.ask(fetch([(topic, [beyond])], max_wait_ms=FOREVER_MS)))
    assert (entry.diverging_epoch.epoch, entry.diverging_epoch.end_offset) == (0, 10)
    assert (entry.error_code, bytes(entry.records)) == (0, b"")


@pytest.mark.parametrize(
    ("wanted", "version", "code"),
    [
        (("nowhere", NO_ID), 12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (("", NO_ID), 12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (("", NO_ID), 13, ErrorCode.UNKNOWN_TOPIC_ID),
        (("", bytes(range(16))), 18, ErrorCode.UNKNOWN_TOPIC_ID),
    ],
)
def test_unknown_topic_is_answered_at_once(wire: Wire, wanted: Topic, version: int, code: int) -> None:
    answer = wire.ask(fetch([(wanted, [asked()])], max_wait_ms=FOREVER_MS), version)
    entry = fetched(answer)
    assert (answer.error_code, entry.error_code) == (0, code)
    assert (entry.high_watermark, entry.last_stable_offset, entry.log_start_offset) == (-1, -1, -1)


def test_unknown_partition_does_not_keep_the_others_from_being_read(wire: Wire, topic: Topic) -> None:
    answer = wire.ask(fetch([(topic, [asked(7), asked(0, 9)])]))
    found = {entry.partition_index: entry for entry in answer.responses[0].partitions}
    assert found[7].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert first_bytes(found[0].records) == [b"9"]


@pytest.mark.parametrize("field", ["replica_id", "replica_state"])
def test_fetch_as_a_replica_that_is_none_is_refused(wire: Wire, topic: Topic, field: str) -> None:
    request = fetch([(topic, [asked()])])
    if field == "replica_id":
        request.replica_id = 5
    else:
        request.replica_state = m.FetchRequest.ReplicaState(5, 1)
    entry = fetched(wire.ask(request, 14 if field == "replica_id" else 18))
    assert entry.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


# --- waiting


def test_fetch_waits_until_enough_bytes_have_come(wire: Wire, other: Wire, address: Address) -> None:
    topic = make_topic(address)
    size = len(batch(b"x"))
    wire.send(frame(fetch([(topic, [asked()])], min_bytes=2 * size, max_wait_ms=FOREVER_MS)))
    assert wire.is_silent()
    other.ask(produce(topic, batch(b"x")))
    assert wire.is_silent()
    other.ask(produce(topic, batch(b"y")))
    assert values_of(fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).records) == [b"x", b"y"]


def test_fetch_of_several_partitions_waits_for_their_sum(wire: Wire, other: Wire, address: Address) -> None:
    topics = [make_topic(address), make_topic(address)]
    size = len(batch(b"x"))
    wire.send(frame(fetch([(t, [asked()]) for t in topics], min_bytes=2 * size, max_wait_ms=FOREVER_MS)))
    other.ask(produce(topics[0], batch(b"x")))
    assert wire.is_silent()
    other.ask(produce(topics[1], batch(b"y")))
    answer = wire.next_answer(ApiKey.FETCH, 18)[1]
    assert sorted(values_of(t.partitions[0].records) for t in answer.responses) == [[b"x"], [b"y"]]


def test_fetch_is_answered_with_what_there_is_when_its_time_is_over(wire: Wire, topic: Topic) -> None:
    before = time.monotonic()
    entry = fetched(wire.ask(fetch([(topic, [asked(0, 8)])], min_bytes=1_000_000, max_wait_ms=300)))
    assert first_bytes(entry.records) == [b"8", b"9"]
    assert time.monotonic() - before >= 0.25  # never much sooner, however busy the machine


@pytest.mark.parametrize("fields", [{"min_bytes": 0}, {"max_wait_ms": 0}, {"min_bytes": -1}], ids=str)
def test_fetch_that_need_not_wait_does_not(wire: Wire, topic: Topic, fields: dict[str, int]) -> None:
    entry = fetched(wire.ask(fetch([(topic, [asked(0, 10)])], **{"max_wait_ms": FOREVER_MS, **fields})))
    assert (entry.error_code, entry.high_watermark, len(entry.records)) == (0, 10, 0)


def test_fetch_of_nothing_is_answered_at_once(wire: Wire) -> None:
    assert wire.ask(fetch(max_wait_ms=FOREVER_MS)).responses == []


def test_error_of_one_partition_ends_the_wait_of_all(wire: Wire, topic: Topic) -> None:
    wanted = [asked(0, 10), asked(1, 5)]
    answer = wire.ask(fetch([(topic, wanted)], max_wait_ms=FOREVER_MS))
    assert {entry.partition_index: entry.error_code for entry in answer.responses[0].partitions} == {0: 0, 1: 1}


def test_request_behind_a_waiting_fetch_waits_too(wire: Wire, other: Wire, address: Address) -> None:
    topic = make_topic(address)
    wire.send(frame(fetch([(topic, [asked()])], max_wait_ms=FOREVER_MS)) + frame(m.MetadataRequest([], False)))
    assert wire.is_silent()
    other.ask(produce(topic, batch(b"x")))
    assert values_of(fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).records) == [b"x"]
    assert wire.next_answer(ApiKey.METADATA, 13)[1].cluster_id


def test_deletion_of_the_topic_ends_the_wait(wire: Wire, other: Wire, address: Address) -> None:
    topic = make_topic(address)
    wire.send(frame(fetch([(topic, [asked()])], max_wait_ms=FOREVER_MS)))
    assert wire.is_silent()
    state = m.DeleteTopicsRequest.DeleteTopicState
    other.ask(m.DeleteTopicsRequest([state(topic[0], NO_ID)], timeout_ms=10_000))
    assert fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).error_code in (3, 6, 100)


def test_many_fetches_wait_side_by_side(address: Address, other: Wire) -> None:
    topic = make_topic(address)
    waiting = [Wire(address) for _ in range(50)]
    for wire in waiting:
        wire.send(frame(fetch([(topic, [asked()])], max_wait_ms=FOREVER_MS)))
    other.ask(produce(topic, batch(b"x")))
    for wire in waiting:
        assert values_of(fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).records) == [b"x"]
        wire.close()


def test_client_that_sends_no_more_is_answered(wire: Wire, address: Address) -> None:
    """Half of its connection is closed, the other half is open."""
    topic = make_topic(address)
    one, waiting = frame(produce(topic, batch(b"x"))), frame(fetch([(topic, [asked(0, 1)])], max_wait_ms=300))
    wire.send(one + waiting + frame(m.MetadataRequest([], False), 12))
    wire.end_sending()
    assert produced(wire.next_answer(ApiKey.PRODUCE, 13)[1]).error_code == 0
    assert fetched(wire.next_answer(ApiKey.FETCH, 18)[1]).error_code == 0
    assert wire.next_answer(ApiKey.METADATA, 12)[1].cluster_id
    assert wire.is_closed()


# --- isolation


@pytest.fixture
def open_transaction(address: Address, wire: Wire) -> Topic:
    """A record, and behind it two of a transaction that is not ended."""
    topic = make_topic(address)
    wire.ask(produce(topic, batch(b"plain")))
    return topic


def in_transaction(topic: Topic, sequence: int) -> m.ProduceRequest:
    payload = batch(b"uncommitted", producer_id=9, producer_epoch=0, base_sequence=sequence, transactional=True)
    return produce(topic, payload, transactional_id="tx")


@pytest.mark.usefixtures("own_only")  # Apache Kafka asks its transaction coordinator first
def test_read_committed_ends_at_the_last_stable_offset(wire: Wire, open_transaction: Topic) -> None:
    assert produced(wire.ask(in_transaction(open_transaction, 0), 11)).error_code == 0
    wire.ask(produce(open_transaction, batch(b"behind")))
    committed = fetched(wire.ask(fetch([(open_transaction, [asked()])], isolation_level=1)))
    assert (committed.high_watermark, committed.last_stable_offset) == (3, 1)
    assert values_of(committed.records) == [b"plain"]
    assert committed.aborted_transactions == []
    everything = fetched(wire.ask(fetch([(open_transaction, [asked()])])))
    assert values_of(everything.records) == [b"plain", b"uncommitted", b"behind"]
    assert everything.aborted_transactions is None


@pytest.mark.usefixtures("own_only")
def test_read_committed_goes_on_waiting_while_a_transaction_is_open(
    wire: Wire, other: Wire, open_transaction: Topic
) -> None:
    other.ask(in_transaction(open_transaction, 0), 11)
    wire.send(frame(fetch([(open_transaction, [asked(0, 1)])], isolation_level=1, max_wait_ms=FOREVER_MS)))
    other.ask(in_transaction(open_transaction, 1), 11)
    other.ask(produce(open_transaction, batch(b"behind")))
    assert wire.is_silent()


# --- compressed topics


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
def test_records_leave_in_the_topics_codec_whatever_the_version(wire: Wire, address: Address, codec: str) -> None:
    topic = make_topic(address, compression_type=codec)
    payload = build_batch([NewRecord(None, b"a" * 500, timestamp=int(time.time() * 1000))], codec=Codec.GZIP)
    wire.ask(produce(topic, payload))
    for version in (4, 9, 10, 18):
        records = bytes(fetched(wire.ask(fetch([(topic, [asked()])]), version)).records)
        assert read_header(records).codec == Codec[codec.upper() if codec != "uncompressed" else "NONE"]
        assert values_of(records) == [b"a" * 500]


# --- what only ours is asked


@pytest.mark.usefixtures("own_only")
def test_client_that_goes_leaves_no_fetch_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.2)
    with Broker() as broker:
        topic = make_topic(address_of(broker))

        async def waiting(node: Any) -> int:
            return sum(len(partition.waiters) for partition in node.partitions.values())

        def eventually(count: int) -> bool:
            deadline = time.monotonic() + 20
            while (found := broker.run(waiting)) != count and time.monotonic() < deadline:
                time.sleep(0.01)
            return found == count

        wires = [Wire(address_of(broker)) for _ in range(20)]
        for wire in wires:
            wire.send(frame(fetch([(topic, [asked()])], max_wait_ms=2**31 - 1)))
        assert eventually(20)
        for wire in wires:
            wire.close()
        assert eventually(0)


@pytest.mark.usefixtures("own_only")
@pytest.mark.parametrize("version", range(4, 19))
def test_metadata_log_is_fetched_from_the_controller_in_every_version(version: int) -> None:
    with Broker() as broker:

        async def port(node: Any) -> int:
            return int(node.ports["CONTROLLER"])

        log = ("__cluster_metadata", METADATA_TOPIC_ID)
        with Wire(("127.0.0.1", broker.run(port))) as wire:
            answer = wire.ask(fetch([(log, [asked(0, 0)])]), version)
            assert (answer.error_code, fetched(answer).error_code) == (0, 0)
            assert len(fetched(answer).records) > 0
            assert len(answer.node_endpoints) == (1 if version >= 16 else 0)
