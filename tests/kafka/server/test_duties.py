"""What the broker does with its logs by the clock, besides compaction: flushes and the expiry of producers."""

import time
from collections.abc import Callable

from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire

from riverport.kafka.log import Log
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.testing import Broker

WAIT_SECONDS = 20


def produce(wire: Wire, topic: str, *, sequence: int = -1, count: int = 3) -> None:
    producer_id, epoch = (77, 0) if sequence >= 0 else (-1, -1)
    records = [NewRecord(b"k", b"v", (), time.time_ns() // 1_000_000)] * count
    batch = build_batch(records, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
    request = m.ProduceRequest
    data = request.TopicProduceData(topic, partition_data=[request.PartitionProduceData(0, bytes(batch))])
    answer = wire.ask(request(None, -1, 10_000, [data]), 9)
    assert answer.responses[0].partition_responses[0].error_code == 0


def of_log(broker: Broker, topic: str, read: Callable[[Log], int]) -> int:
    async def work(node: Node) -> int:
        log = node.partition(topic, 0).log
        assert log is not None
        return read(log)

    return broker.run(work)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def test_records_are_flushed_once_they_are_old_enough() -> None:
    with Broker({"log.flush.scheduler.interval.ms": 10}) as broker, Wire(address_of(broker)) as wire:
        broker.create_topic("soon", config={"flush.ms": 1})
        broker.create_topic("late", config={"flush.ms": 3_600_000})
        produce(wire, "late")
        produce(wire, "soon")
        until(lambda: of_log(broker, "soon", lambda log: log.recovery_point) == 3)
        assert of_log(broker, "late", lambda log: log.recovery_point) == 0


def test_records_are_flushed_before_the_answer_where_flush_messages_says_so() -> None:
    with Broker() as broker, Wire(address_of(broker)) as wire:
        broker.create_topic("t", config={"flush.messages": 5})
        produce(wire, "t", count=4)
        assert of_log(broker, "t", lambda log: log.recovery_point) == 0
        produce(wire, "t", count=1)
        assert of_log(broker, "t", lambda log: log.recovery_point) == 5


def test_a_segment_is_flushed_once_the_next_one_is_begun() -> None:
    with Broker() as broker, Wire(address_of(broker)) as wire:
        broker.create_topic("t", config={"segment.ms": 1})
        produce(wire, "t")
        time.sleep(0.002)
        produce(wire, "t")
        assert of_log(broker, "t", lambda log: log.active.base_offset) == 3
        until(lambda: of_log(broker, "t", lambda log: log.recovery_point) == 3)


def test_a_producer_that_writes_no_more_is_forgotten() -> None:
    settings = {"producer.id.expiration.ms": 1, "producer.id.expiration.check.interval.ms": 10}
    with Broker(settings) as broker, Wire(address_of(broker)) as wire:
        broker.create_topic("t")
        produce(wire, "t", sequence=0)
        until(lambda: of_log(broker, "t", lambda log: len(log.producers.states)) == 0)
        # Of a producer that is not known any sequence is taken.
        produce(wire, "t", sequence=1000)


def test_the_first_round_of_retention_comes_before_its_interval_is_over() -> None:
    settings = {"log.initial.task.delay.ms": 10, "log.retention.check.interval.ms": 3_600_000}
    with Broker(settings) as broker, Wire(address_of(broker)) as wire:
        broker.create_topic("t", config={"retention.bytes": 0})
        produce(wire, "t")
        broker.restart()
        until(lambda: broker.records("t") == [])
