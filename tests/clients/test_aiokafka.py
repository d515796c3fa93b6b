"""aiokafka: producing, consuming, groups and its admin client."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
SECONDS = 20


@asynccontextmanager
async def producing(bootstrap: str, **config: Any) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **config) as producer:
        yield producer


@asynccontextmanager
async def consuming(bootstrap: str, *topics: str, **config: Any) -> AsyncIterator[AIOKafkaConsumer]:
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300}
    async with AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **{**settings, **config}) as consumer:
        yield consumer


@asynccontextmanager
async def administering(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def read(consumer: AIOKafkaConsumer, count: int) -> list[Any]:
    records: list[Any] = []
    end = time.monotonic() + SECONDS
    while len(records) < count:
        assert time.monotonic() < end, f"{len(records)} of {count} records within {SECONDS} s"
        for batch in (await consumer.getmany(timeout_ms=100, max_records=count - len(records))).values():
            records += batch
    return records


async def fill(bootstrap: str, topic: str, partitions: int, count: int) -> None:
    async with producing(bootstrap) as producer:
        for i in range(count):
            await producer.send(topic, b"%d" % i, partition=i % partitions, timestamp_ms=1_000_000 + i)


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_acks(bootstrap: str, make_topic: MakeTopic, acks: Any) -> None:
    async def scenario() -> None:
        topic = make_topic()
        async with producing(bootstrap, acks=acks) as producer:
            for i in range(10):
                await producer.send_and_wait(topic, b"%d" % i)
        async with consuming(bootstrap, topic) as consumer:
            assert [r.value for r in await read(consumer, 10)] == [b"%d" % i for i in range(10)]

    asyncio.run(scenario())


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(bootstrap: str, make_topic: MakeTopic, codec: str | None) -> None:
    async def scenario() -> None:
        topic, values = make_topic(), [b"%d-" % i + b"x" * i for i in range(200)]
        async with producing(bootstrap, compression_type=codec, linger_ms=20) as producer:
            for value in values:
                await producer.send(topic, value)
        async with consuming(bootstrap, topic) as consumer:
            assert [r.value for r in await read(consumer, 200)] == values

    asyncio.run(scenario())


def test_keys_headers_and_timestamps(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic, headers = make_topic(), [("a", b"1"), ("a", b"2"), ("empty", b"")]
        async with producing(bootstrap) as producer:
            await producer.send_and_wait(topic, b"v", b"k", headers=headers, timestamp_ms=1_600_000_000_123)
            await producer.send_and_wait(topic, None, b"tombstone")
        async with consuming(bootstrap, topic) as consumer:
            first, second = await read(consumer, 2)
        assert (first.key, first.value, list(first.headers), first.timestamp) == (
            b"k",
            b"v",
            headers,
            1_600_000_000_123,
        )
        assert (second.key, second.value) == (b"tombstone", None)

    asyncio.run(scenario())


def test_idempotent_producer_keeps_order(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic = make_topic()
        async with producing(bootstrap, enable_idempotence=True, max_batch_size=300) as producer:
            sent = [await producer.send(topic, b"%d" % i) for i in range(1000)]
            assert [(await future).offset for future in sent] == list(range(1000))
        async with consuming(bootstrap, topic) as consumer:
            assert [int(r.value) for r in await read(consumer, 1000)] == list(range(1000))

    asyncio.run(scenario())


def test_too_large_a_record(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic = make_topic(1, **{"max.message.bytes": "1000"})
        async with producing(bootstrap) as producer:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic, b"x" * 2000)

    asyncio.run(scenario())


def test_seek_pause_and_bounds(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic = make_topic(2)
        zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
        await fill(bootstrap, topic, 2, 40)
        async with consuming(bootstrap) as consumer:
            consumer.assign([zero, one])
            # aiokafka's own first look-up of a position may overtake a seek: let it be over.
            assert [await consumer.position(p) for p in (zero, one)] == [0, 0]
            assert await consumer.beginning_offsets([zero, one]) == {zero: 0, one: 0}
            assert await consumer.end_offsets([zero, one]) == {zero: 20, one: 20}
            consumer.seek(zero, 15)
            await consumer.seek_to_end(one)
            assert await consumer.position(one) == 20
            assert [r.offset for r in await read(consumer, 5)] == [15, 16, 17, 18, 19]
            consumer.pause(one)
            await consumer.seek_to_beginning()
            assert {r.partition for r in await read(consumer, 20)} == {0}
            consumer.resume(one)
            assert {r.partition for r in await read(consumer, 20)} == {1}
            assert (await consumer.offsets_for_times({zero: 1_000_005}))[zero].offset == 3
            assert (await consumer.offsets_for_times({zero: 9_000_000}))[zero] is None

    asyncio.run(scenario())


def test_commit_and_lag(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic, group = make_topic(), f"group-{uuid.uuid4().hex[:8]}"
        partition = TopicPartition(topic, 0)
        await fill(bootstrap, topic, 1, 30)
        async with consuming(bootstrap, topic, group_id=group) as consumer:
            await read(consumer, 10)
            await consumer.commit()
            assert await consumer.committed(partition) == 10
            assert consumer.highwater(partition) - 10 == 20
            await consumer.commit({partition: OffsetAndMetadata(12, "note")})
        async with consuming(bootstrap, topic, group_id=group) as consumer:
            assert (await read(consumer, 1))[0].offset == 12

    asyncio.run(scenario())


def test_a_group_of_two_rebalances(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic, group = make_topic(4), f"group-{uuid.uuid4().hex[:8]}"
        await fill(bootstrap, topic, 4, 100)
        seen: set[tuple[int, int]] = set()

        async def until(wanted: list[int], *members: AIOKafkaConsumer) -> None:
            end = time.monotonic() + SECONDS
            while [len(m.assignment()) for m in members] != wanted:
                assert time.monotonic() < end, f"not within {SECONDS} s: {wanted}"
                for member in members:
                    for batch in (await member.getmany(timeout_ms=20)).values():
                        seen.update((r.partition, r.offset) for r in batch)

        async with consuming(bootstrap, topic, group_id=group) as first:
            await until([4], first)
            async with consuming(bootstrap, topic, group_id=group) as second:
                await until([2, 2], first, second)
                assert not first.assignment() & second.assignment()
            await until([4], first)
            await first.seek_to_beginning()
            seen.update((r.partition, r.offset) for r in await read(first, 100))
        assert len(seen) == 100

    asyncio.run(scenario())


def test_a_static_member_comes_back(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic, group = make_topic(2), f"group-{uuid.uuid4().hex[:8]}"
        for _ in range(2):
            async with consuming(bootstrap, topic, group_id=group, group_instance_id="one") as consumer:
                await consumer.getmany(timeout_ms=100)
                assert len(consumer.assignment()) == 2

    asyncio.run(scenario())


def test_admin_topics_and_configs(bootstrap: str) -> None:
    async def scenario() -> None:
        topic = f"topic-{uuid.uuid4().hex[:8]}"
        async with administering(bootstrap) as admin:
            made = await admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "1000"})])
            assert made.topic_errors[0][:2] == (topic, 0)
            assert (await admin.create_topics([NewTopic(topic, 2, 1)])).topic_errors[0][1] == 36
            await admin.create_partitions({topic: NewPartitions(5)})
            assert len((await admin.describe_topics([topic]))[0]["partitions"]) == 5
            assert topic in await admin.list_topics()
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            found = await admin.describe_configs([resource])
            assert {row[0]: row[1] for row in found[0].resources[0][4]}["retention.ms"] == "1000"
            changed = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "5000"})
            assert (await admin.alter_configs([changed]))[0].resources[0][0] == 0
            found = await admin.describe_configs([resource])
            assert {row[0]: row[1] for row in found[0].resources[0][4]}["retention.ms"] == "5000"
            await admin.delete_topics([topic])
            end = time.monotonic() + SECONDS
            while topic in await admin.list_topics():
                assert time.monotonic() < end, "the topic is still there"

    asyncio.run(scenario())


def test_admin_groups_records_and_cluster(bootstrap: str, make_topic: MakeTopic) -> None:
    async def scenario() -> None:
        topic, group = make_topic(), f"group-{uuid.uuid4().hex[:8]}"
        partition = TopicPartition(topic, 0)
        await fill(bootstrap, topic, 1, 10)
        async with administering(bootstrap) as admin:
            async with consuming(bootstrap, topic, group_id=group) as consumer:
                await read(consumer, 10)
                await consumer.commit()
                described = (await admin.describe_consumer_groups([group]))[0].groups[0]
                assert described[1:3] == (group, "Stable")
            assert (group, "consumer") in await admin.list_consumer_groups()
            assert (await admin.list_consumer_group_offsets(group))[partition].offset == 10
            assert await admin.find_coordinator(group) == (await admin.describe_cluster())["brokers"][0]["node_id"]
            assert await admin.delete_records({partition: RecordsToDelete(before_offset=4)}) == {partition: 4}
            with pytest.raises(OffsetOutOfRangeError):
                await admin.delete_records({partition: RecordsToDelete(before_offset=100)})

    asyncio.run(scenario())
