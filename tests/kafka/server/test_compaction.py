"""Compaction as a duty of the broker: workers, their pace, settings that change while they work, and the stop."""

import time
from collections.abc import Callable, Iterator

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire

from riverport.base.clock import ManualClock
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.compaction import Throttle
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}
WAIT_SECONDS = 20


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker({"log.cleaner.backoff.ms": 20, "log.retention.check.interval.ms": 20}) as broker:
        yield broker


def fill(broker: Broker, topic: str, keys: int, rounds: int, size: int = 10) -> None:
    """Write every key so many times, and close the segment."""

    async def write(node: Node) -> None:
        partition = node.partition(topic, 0)
        for n in range(rounds):
            records = [NewRecord(b"k%d" % key, b"%d" % n * size) for key in range(keys)]
            partition.append(memoryview(build_batch(records)), 1, node.clock.wall_ms())
        log = partition.log
        assert log is not None
        log.roll(node.clock.wall_ms())

    broker.run(write)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def workers(broker: Broker) -> int:
    async def count(node: Node) -> int:
        return node.compaction.workers

    return broker.run(count)


def alter(broker: Broker, kind: int, name: str, key: str, value: str) -> None:
    request = m.IncrementalAlterConfigsRequest
    resource = request.AlterConfigsResource(kind, name, [request.AlterableConfig(key, 0, value)])
    with Wire(address_of(broker)) as wire:
        answer = wire.ask(request([resource]))
    assert answer.responses[0].error_code == 0, answer.responses[0].error_message


# --- the workers


def test_a_compacted_topic_keeps_the_last_record_of_each_key(broker: Broker) -> None:
    broker.create_topic("t", config=COMPACTED)
    fill(broker, "t", 5, 20)
    until(lambda: len(broker.records("t")) == 5)
    assert [(r.key, r.value, r.offset) for r in broker.records("t")] == [
        (b"k%d" % key, b"19" * 10, 95 + key) for key in range(5)
    ]


def test_how_far_a_log_is_clean_survives_a_restart() -> None:
    async def cleaned_to(node: Node) -> int:
        log = node.partition("t", 0).log
        assert log is not None
        return log.cleaned_to

    with Broker({"log.cleaner.backoff.ms": 20}) as broker:
        broker.create_topic("t", config=COMPACTED)
        fill(broker, "t", 5, 20)
        # The records are gone a moment before the cleaning is over: a stop in between leaves the rest to the next.
        until(lambda: broker.run(cleaned_to) == 100)
        broker.restart()
        assert broker.run(cleaned_to) == 100
        assert len(broker.records("t")) == 5


def test_a_topic_becomes_compacted_while_the_broker_runs(broker: Broker) -> None:
    broker.create_topic("t", config={"min.cleanable.dirty.ratio": "0.01"})
    fill(broker, "t", 5, 20)
    assert len(broker.records("t")) == 100
    alter(broker, 2, "t", "cleanup.policy", "compact")
    until(lambda: len(broker.records("t")) == 5)


def test_a_topic_that_is_compacted_and_deleted_has_retention_too(broker: Broker) -> None:
    broker.create_topic("t", config={**COMPACTED, "cleanup.policy": "compact,delete", "retention.bytes": "0"})
    fill(broker, "t", 5, 20)
    until(lambda: broker.records("t") == [])


def test_a_topic_that_is_only_compacted_has_none(broker: Broker) -> None:
    broker.create_topic("t", config={**COMPACTED, "retention.bytes": "0", "retention.ms": "0"})
    broker.create_topic("other", config={"retention.bytes": "0"})
    fill(broker, "t", 5, 20)
    fill(broker, "other", 5, 20)
    until(lambda: len(broker.records("t")) == 5 and broker.records("other") == [])
    assert len(broker.records("t")) == 5


@pytest.mark.parametrize(
    ("policy", "code"),
    [("compact", ErrorCode.POLICY_VIOLATION), ("compact,delete", 0), ("delete", 0), ("", 0)],
)
def test_records_of_a_topic_that_is_only_compacted_cannot_be_deleted(broker: Broker, policy: str, code: int) -> None:
    broker.create_topic("t", config={"cleanup.policy": policy})
    fill(broker, "t", 5, 1)
    request = m.DeleteRecordsRequest
    with Wire(address_of(broker)) as wire:
        answer = wire.ask(request([request.DeleteRecordsTopic("t", [request.DeleteRecordsPartition(0, 3)])]))
    (partition,) = answer.topics[0].partitions
    assert (partition.error_code, partition.low_watermark) == (code, -1 if code else 3)


def test_there_are_as_many_workers_as_the_setting_says(broker: Broker) -> None:
    assert workers(broker) == 1
    alter(broker, 4, "", "log.cleaner.threads", "2")
    until(lambda: workers(broker) == 2)
    alter(broker, 4, "", "log.cleaner.threads", "1")
    until(lambda: workers(broker) == 1)


def test_a_cleaner_that_is_switched_off_has_no_worker() -> None:
    with Broker({"log.cleaner.enable": False}) as broker:
        assert workers(broker) == 0


def test_committed_offsets_are_compacted() -> None:
    settings = {"offsets.topic.num.partitions": 1, "offsets.topic.segment.bytes": 1 << 20}
    with Broker({"log.cleaner.backoff.ms": 20, **settings}) as broker:
        broker.create_topic("t")
        request = m.OffsetCommitRequest
        with Wire(address_of(broker)) as wire:
            until(lambda: wire.ask(m.FindCoordinatorRequest(key="g"), 2).error_code == 0)
            for n in range(300):
                partition = request.OffsetCommitRequestPartition(0, n, committed_metadata="x" * 4000)
                asked = request("g", topics=[request.OffsetCommitRequestTopic("t", partitions=[partition])])
                assert wire.ask(asked, 8).topics[0].partitions[0].error_code == 0
        until(lambda: len(broker.records("__consumer_offsets")) < 100)
        assert broker.records("__consumer_offsets")[-1].offset == 299


# --- the pace


def paced(rates: list[float]) -> tuple[Throttle, ManualClock, list[float]]:
    """A throttle whose rests take their time on a clock by hand; each rest ends with the next rate."""
    clock, rests = ManualClock(), []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        clock.advance(round(seconds * 1000))
        if len(rates) > 1:
            rates.pop(0)

    return Throttle(clock, lambda: rates[0], rest), clock, rests


def test_bytes_are_paced_to_the_rate() -> None:
    throttle, clock, _ = paced([1000.0])
    for _ in range(100):
        throttle.pace(100)
    assert 9_900 <= clock.mono_ms() <= 10_000


def test_short_rests_are_saved_up() -> None:
    throttle, _, rests = paced([100_000.0])
    for _ in range(1000):
        throttle.pace(100)
    assert len(rests) < 25
    assert min(rests) >= 0.05


def test_an_idle_time_gives_no_credit() -> None:
    throttle, clock, rests = paced([1000.0])
    clock.advance(60_000)
    throttle.pace(500)
    assert rests == [0.5]


def test_a_new_rate_counts_for_who_is_resting() -> None:
    throttle, _, rests = paced([1.0, 1e9])
    throttle.pace(1_000_000)
    assert rests == [1.0]


def test_nobody_rests_once_the_throttle_is_stopped() -> None:
    throttle, _, rests = paced([1.0])
    throttle.stop()
    throttle.pace(1_000_000)
    assert rests == []


# --- the stop


def test_a_stop_does_not_wait_for_a_cleaning_and_leaves_its_log_whole() -> None:
    settings = {"log.cleaner.backoff.ms": 20, "log.cleaner.io.max.bytes.per.second": 1000}
    with Broker(settings) as broker:
        broker.create_topic("t", config=COMPACTED)
        fill(broker, "t", 5, 1000, size=50)

        async def is_cleaning(node: Node) -> bool:
            log = node.partition("t", 0).log
            return log is not None and log.is_being_cleaned

        until(lambda: broker.run(is_cleaning))
        broker.restart()
        assert len(broker.records("t")) == 5000
        alter(broker, 4, "", "log.cleaner.io.max.bytes.per.second", "1e9")
        until(lambda: len(broker.records("t")) == 5)
