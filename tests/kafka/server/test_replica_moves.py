"""Replicas that are moved between the directories of a running broker, with clients that notice nothing."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

DEADLINE_SECONDS = 20.0


def move(broker: Broker, topic: str, target: Path, partition: int = 0) -> int:
    of = m.AlterReplicaLogDirsRequest
    wanted = of.AlterReplicaLogDir(str(target), [of.AlterReplicaLogDirTopic(topic, [partition])])
    answer = broker.run(lambda node: node.channel.send(of([wanted])))
    code: int = answer.results[0].partitions[0].error_code
    return code


async def moving(node: Node) -> int:
    return sum(len(node.replica_moves.futures_in(path)) for path in node.config.log_dirs)


def settled(broker: Broker) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while broker.run(moving):
        assert time.monotonic() < deadline, "the move does not end"
        time.sleep(0.01)


def allow(broker: Broker, bytes_per_second: int | None) -> None:
    """Bound what moves copy, as kafka-reassign-partitions does, or no longer."""
    operation = AlterConfigOpType.DELETE if bytes_per_second is None else AlterConfigOpType.SET
    key = "replica.alter.log.dirs.io.max.bytes.per.second"
    entry = ConfigEntry(key, str(bytes_per_second or ""), incremental_operation=operation)
    resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(20)


def fill(broker: Broker, topic: str, megabytes: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for n in range(megabytes * 10):
        producer.produce(topic, b"%d" % n + bytes(100_000))
    assert producer.flush(20) == 0


async def missing(node: Node) -> int:
    """The offsets that copies lack."""
    answer = await node.channel.send(m.DescribeLogDirsRequest(None))
    topics = [topic for result in answer.results for topic in result.topics]
    return sum(found.offset_lag for topic in topics for found in topic.partitions if found.is_future_key)


def place_of(broker: Broker, topic: str) -> Path:
    async def look(node: Node) -> Path:
        log: Any = node.partitions[(topic, 0)].log
        return Path(log.dir).parent

    return broker.run(look)


def other(place: Path) -> Path:
    return place.with_name("b" if place.name == "a" else "a")


@pytest.fixture
def dirs(tmp_path: Path) -> list[Path]:
    return [tmp_path / "a", tmp_path / "b"]


def test_records_written_before_during_and_after_a_move_are_all_there(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        broker.create_topic("t", config={"segment.bytes": 1_048_576})
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, "enable.idempotence": True})

        def produce(first: int, count: int) -> None:
            for n in range(first, first + count):
                producer.produce("t", b"%d" % n + bytes(3_000))
            assert producer.flush(20) == 0

        produce(0, 1000)
        for round_ in range(4):
            source = place_of(broker, "t")
            assert move(broker, "t", other(source)) == 0
            produce(1000 + round_ * 100, 100)
            settled(broker)
            assert place_of(broker, "t") == other(source)
        values = [record.value for record in broker.records("t")]
        assert [int((value or b"").rstrip(b"\0")) for value in values] == list(range(1400))
        broker.restart(clean=False)
        assert [record.value for record in broker.records("t")] == values


def test_a_move_that_is_called_back_leaves_the_log_where_it_is(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        broker.create_topic("t")
        source = place_of(broker, "t")

        async def there_and_back(node: Node) -> None:
            # In one turn of the loop, so that the move cannot be done before it is called back.
            partition = node.partitions[("t", 0)]
            node.replica_moves.start(partition, str(other(source)))
            node.replica_moves.start(partition, str(source))

        broker.run(there_and_back)
        assert broker.run(moving) == 0
        assert place_of(broker, "t") == source
        assert not list(other(source).glob("t-0*"))


def test_a_topic_that_is_deleted_on_its_way_is_gone_from_both_directories(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        broker.create_topic("t")
        source = place_of(broker, "t")

        async def move_and_delete(node: Node) -> None:
            node.replica_moves.start(node.partitions[("t", 0)], str(other(source)))
            await node.channel.send(m.DeleteTopicsRequest([m.DeleteTopicsRequest.DeleteTopicState("t", bytes(16))]))

        broker.run(move_and_delete)
        settled(broker)
        assert not list(other(source).glob("t-0*future"))
        assert not [path for dir in dirs for path in dir.glob("t-0*") if not path.name.endswith("-delete")]


def test_the_copy_is_described_with_how_far_it_is_behind(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        broker.create_topic("t")
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        producer.produce("t", b"v")
        assert producer.flush(20) == 0
        source = place_of(broker, "t")

        async def described(node: Node) -> dict[tuple[str, bool], int]:
            node.replica_moves.start(node.partitions[("t", 0)], str(other(source)))
            answer = await node.channel.send(m.DescribeLogDirsRequest(None))
            return {
                (result.log_dir, partition.is_future_key): partition.offset_lag
                for result in answer.results
                for topic in result.topics
                for partition in topic.partitions
            }

        assert broker.run(described) == {(str(source), False): 0, (str(other(source)), True): 1}


def test_moves_that_cannot_be_are_refused(dirs: list[Path], tmp_path: Path) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        broker.create_topic("t")
        assert move(broker, "t", tmp_path / "c") == ErrorCode.LOG_DIR_NOT_FOUND
        assert move(broker, "t", dirs[0], partition=7) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert move(broker, "t", place_of(broker, "t")) == 0


def test_a_log_of_an_internal_topic_moves_under_its_coordinator(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs, "offsets.topic.num.partitions": 1}) as broker:
        broker.create_topic("t")
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g"})
        place = TopicPartition("t", 0, 7)
        consumer.commit(offsets=[place], asynchronous=False)
        source = place_of(broker, "__consumer_offsets")
        assert move(broker, "__consumer_offsets", other(source)) == 0
        settled(broker)
        assert place_of(broker, "__consumer_offsets") == other(source)
        place.offset = 8
        consumer.commit(offsets=[place], asynchronous=False)
        broker.restart()
        assert consumer.committed([place], 20)[0].offset == 8
        consumer.close()


def begin_slow_move(broker: Broker) -> Path:
    """Of topic t, 30 records of 100 KB: it stands still after the first piece. Returns where the log is."""
    broker.create_topic("t")
    fill(broker, "t", 3)
    allow(broker, 1)
    source = place_of(broker, "t")
    assert move(broker, "t", other(source)) == 0
    return source


def test_moves_copy_no_more_a_second_than_they_may(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        source = begin_slow_move(broker)

        async def left(node: Node) -> list[int]:
            """The first piece is copied, since nobody knows its size before; then nothing for eleven seconds."""
            while (first := await missing(node)) == 30:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            return [first, await missing(node)]

        first, later = broker.run(left)
        assert 0 < later == first < 30
        allow(broker, None)
        settled(broker)
        assert place_of(broker, "t") == other(source)
        assert len(broker.records("t")) == 30


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_move_that_is_interrupted_begins_anew(dirs: list[Path], *, is_clean: bool) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        source = begin_slow_move(broker)
        broker.restart(clean=is_clean)
        assert broker.run(moving) == 1
        assert place_of(broker, "t") == source
        allow(broker, None)
        settled(broker)
        assert place_of(broker, "t") == other(source)
        assert len(broker.records("t")) == 30
        broker.restart()
        assert broker.run(moving) == 0
        assert place_of(broker, "t") == other(source)


def test_a_move_of_a_topic_that_is_gone_or_made_anew_does_not_begin_again(dirs: list[Path]) -> None:
    with Broker({"log.dirs": dirs}) as broker:
        source = begin_slow_move(broker)
        (copied,) = other(source).glob("t-0.*-future")
        kept = copied.with_name("kept")
        shutil.copytree(copied, kept)
        broker.run(lambda node: node.channel.send(m.DeleteTopicsRequest([m.DeleteTopicsRequest.DeleteTopicState("t")])))
        settled(broker)
        broker.create_topic("t")
        place = place_of(broker, "t")
        broker.stop()
        kept.rename(copied)
        broker.start()
        assert broker.run(moving) == 0
        assert place_of(broker, "t") == place
