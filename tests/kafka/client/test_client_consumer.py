"""Our consumer and its group: every record once and in order, whatever happens on the way."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from riverport.kafka.client.admin import Admin
from riverport.kafka.client.assignors import assign_ranges
from riverport.kafka.client.client import Client
from riverport.kafka.client.consumer import Consumer
from riverport.kafka.client.errors import ClientError, Refused
from riverport.kafka.client.offsets import committed_offsets
from riverport.kafka.client.producer import Producer
from riverport.kafka.wire import messages as m
from riverport.testing import Broker, delay, disconnect, error

names = (f"topic-{number}" for number in itertools.count())


def with_client(broker: Broker, act: Callable[[Client], Awaitable[object]]) -> object:
    async def run() -> object:
        async with Client(broker.bootstrap) as client:
            return await act(client)

    return asyncio.run(run())


def filled(broker: Broker, count: int, partitions: int = 1) -> str:
    topic = broker.create_topic(next(names), partitions=partitions)

    async def fill(client: Client) -> None:
        async with Producer(client, batch_bytes=500) as producer:
            for n in range(count):
                await producer.send(topic, value=b"%d" % n, partition=n % partitions)

    with_client(broker, fill)
    return topic


async def read(consumer: Consumer, count: int) -> list[bytes | None]:
    """The next `count` values; fails where they do not come."""
    found: list[bytes | None] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += [record.value for record in await consumer.poll(max_records=count - len(found))]
    return found


NUMBERS = [b"%d" % n for n in range(200)]


@pytest.mark.parametrize(
    "action", [disconnect(), error("NOT_LEADER_OR_FOLLOWER"), error("UNKNOWN_TOPIC_ID"), error("KAFKA_STORAGE_ERROR")]
)
def test_fetches_that_fail_are_repeated(broker: Broker, action: object) -> None:
    topic = filled(broker, 200)
    rule = broker.faults.add("Fetch", every=2, times=3, action=action)  # type: ignore[arg-type]

    async def consume(client: Client) -> list[bytes | None]:
        async with Consumer(client, partition_bytes=600) as consumer:
            consumer.assign([(topic, 0)])
            return await read(consumer, 200)

    assert with_client(broker, consume) == NUMBERS
    assert rule.hits == 3


def test_an_error_that_stays_is_raised(broker: Broker) -> None:
    topic = filled(broker, 1)
    broker.faults.add("Fetch", action=error("TOPIC_AUTHORIZATION_FAILED"))

    async def consume(client: Client) -> None:
        async with Consumer(client) as consumer:
            consumer.assign([(topic, 0)])
            await consumer.poll(timeout_ms=5000)

    with pytest.raises(Refused, match=f"{topic}-0: TOPIC_AUTHORIZATION_FAILED"):
        with_client(broker, consume)


def test_positions_are_where_they_were_sought(broker: Broker) -> None:
    topic = filled(broker, 20)

    async def consume(client: Client) -> list[bytes | None]:
        async with Consumer(client) as consumer:
            consumer.assign([(topic, 0)])
            consumer.seek(topic, 0, 15)
            first = await read(consumer, 5)
            consumer.seek(topic, 0, 3)
            assert await read(consumer, 2) == [b"3", b"4"]
            assert consumer.position(topic, 0) == 5
            with pytest.raises(ClientError, match="is not assigned"):
                consumer.seek(topic, 1, 0)
            return first

    assert with_client(broker, consume) == NUMBERS[15:20]


@pytest.mark.parametrize(("reset", "expected"), [("earliest", b"0"), ("latest", b"late"), ("error", None)])
def test_an_offset_that_is_not_there_leads_where_reset_says(broker: Broker, reset: str, expected: bytes | None) -> None:
    topic = filled(broker, 5)

    async def consume(client: Client) -> bytes | None:
        async with Consumer(client, reset=reset) as consumer, Producer(client) as producer:  # type: ignore[arg-type]
            consumer.assign([(topic, 0)])
            consumer.seek(topic, 0, 99)
            if expected is None:
                with pytest.raises(Refused, match="at offset 99: OFFSET_OUT_OF_RANGE"):
                    await consumer.poll(timeout_ms=5000)
                return None
            if reset == "latest":
                assert await consumer.poll(timeout_ms=700) == []
            await (await producer.send(topic, value=b"late"))
            return (await read(consumer, 1))[0]

    assert with_client(broker, consume) == expected


def test_a_group_shares_partitions_and_the_rest_take_over(broker: Broker) -> None:
    topic = filled(broker, 100, partitions=4)

    async def consume(client: Client) -> tuple[list[int], list[int], int]:
        async with Client(broker.bootstrap) as other, Consumer(client, group=topic, heartbeat_ms=100) as first:
            first.subscribe([topic])
            await read(first, 1)
            assert len(first.assignment) == 4
            async with Consumer(other, group=topic, heartbeat_ms=100) as second:
                second.subscribe([topic])
                async with asyncio.timeout(30):
                    while not (len(first.assignment) == len(second.assignment) == 2):
                        await asyncio.gather(first.poll(timeout_ms=200), second.poll(timeout_ms=200))
                shares = [place[1] for place in first.assignment], [place[1] for place in second.assignment]
            async with asyncio.timeout(30):
                while len(first.assignment) < 4:
                    await first.poll(timeout_ms=200)
            return (*shares, len(first.assignment))

    one, two, after = with_client(broker, consume)  # type: ignore[misc]
    assert sorted([one, two]) == [[0, 1], [2, 3]]
    assert after == 4


def test_the_next_member_goes_on_at_the_commit(broker: Broker) -> None:
    topic = filled(broker, 10)

    async def consume(client: Client) -> list[bytes | None]:
        async with Consumer(client, group=topic) as consumer:
            consumer.subscribe([topic])
            await read(consumer, 4)
            await consumer.commit()
        assert (await committed_offsets(client, topic))[topic, 0].offset == 4
        async with Consumer(client, group=topic) as consumer:
            consumer.subscribe([topic])
            return await read(consumer, 6)

    assert with_client(broker, consume) == NUMBERS[4:10]


@pytest.mark.parametrize(
    ("api", "action"),
    [
        ("JoinGroup", error("COORDINATOR_LOAD_IN_PROGRESS")),
        ("JoinGroup", error("UNKNOWN_MEMBER_ID")),
        ("SyncGroup", error("REBALANCE_IN_PROGRESS")),
        ("SyncGroup", disconnect()),
        ("OffsetFetch", error("NOT_COORDINATOR")),
        ("OffsetCommit", error("COORDINATOR_NOT_AVAILABLE")),
        ("OffsetCommit", disconnect()),
    ],
)
def test_a_group_survives_what_passes(broker: Broker, api: str, action: object) -> None:
    topic = filled(broker, 5)
    rule = broker.faults.add(api, nth=1, action=action)  # type: ignore[arg-type]

    async def consume(client: Client) -> int:
        async with Consumer(client, group=topic) as consumer:
            consumer.subscribe([topic])
            await read(consumer, 5)
            await consumer.commit()
        return (await committed_offsets(client, topic))[topic, 0].offset

    assert with_client(broker, consume) == 5
    assert rule.hits == 1


def test_a_member_that_the_coordinator_has_forgotten_joins_anew(broker: Broker) -> None:
    topic = filled(broker, 5)

    async def consume(client: Client) -> tuple[str, str]:
        async with Consumer(client, group=topic, heartbeat_ms=50) as consumer:
            consumer.subscribe([topic])
            await read(consumer, 5)
            assert consumer.member is not None
            before = consumer.member.member_id
            identity = m.LeaveGroupRequest.MemberIdentity(member_id=before)
            await client.ask_coordinator(topic, m.LeaveGroupRequest(group_id=topic, members=[identity]))
            async with asyncio.timeout(30):
                while consumer.member.member_id in ("", before) or not consumer.assignment:
                    await consumer.poll(timeout_ms=100)
            return before, consumer.member.member_id

    before, after = with_client(broker, consume)  # type: ignore[misc]
    assert before != after


def test_a_member_of_an_old_generation_joins_under_its_id(broker: Broker) -> None:
    topic = filled(broker, 5)

    async def consume(client: Client) -> tuple[str, str]:
        async with Consumer(client, group=topic, heartbeat_ms=50) as consumer:
            consumer.subscribe([topic])
            await read(consumer, 5)
            assert consumer.member is not None
            before = consumer.member.member_id
            joins = broker.faults.add("JoinGroup", action=delay(0))
            broker.faults.add("Heartbeat", nth=1, action=error("ILLEGAL_GENERATION"))
            async with asyncio.timeout(30):
                while not (joins.hits and consumer.assignment):
                    await consumer.poll(timeout_ms=100)
            return before, consumer.member.member_id

    before, after = with_client(broker, consume)  # type: ignore[misc]
    assert before == after


def test_what_was_polled_is_committed_before_a_rebalance(broker: Broker) -> None:
    topic = filled(broker, 8)

    async def consume(client: Client) -> list[bytes | None]:
        async with (
            Client(broker.bootstrap) as other,
            Consumer(client, group=topic, heartbeat_ms=50, commit_on_rebalance=True) as first,
            Consumer(other, group=topic, heartbeat_ms=50) as second,
        ):
            first.subscribe([topic])
            await read(first, 6)
            second.subscribe([topic])
            async with asyncio.timeout(30):
                while second.member is None or second.member.stale:
                    await asyncio.gather(
                        first.poll(timeout_ms=100, max_records=0), second.poll(timeout_ms=100, max_records=0)
                    )
            return await read(first if first.assignment else second, 2)

    assert with_client(broker, consume) == [b"6", b"7"]


def test_a_commit_that_comes_too_late_is_said_to_be(broker: Broker) -> None:
    topic = filled(broker, 5)

    async def consume(client: Client) -> tuple[bool, bool]:
        async with Consumer(client, group=topic) as consumer:
            consumer.subscribe([topic])
            nothing = await consumer.commit_if_owned()
            await read(consumer, 5)
            broker.faults.add("OffsetCommit", nth=1, action=error("REBALANCE_IN_PROGRESS"))
            late = await consumer.commit_if_owned()
            assert await consumer.commit_if_owned() is True
            return nothing, late

    assert with_client(broker, consume) == (False, False)


def test_a_group_needs_a_name_to_subscribe_and_to_commit(broker: Broker) -> None:
    async def consume(client: Client) -> None:
        consumer = Consumer(client)
        with pytest.raises(ClientError, match="subscribe needs a group"):
            consumer.subscribe(["t"])
        with pytest.raises(ClientError, match="commit needs a group"):
            await consumer.commit()

    with_client(broker, consume)


def test_a_slow_broker_holds_up_no_other_request(broker: Broker) -> None:
    """A fetch waits in a lane of its own."""
    topic = filled(broker, 0)
    held = broker.faults.add("Fetch", nth=1, action=delay(2000))

    async def consume(client: Client) -> bool:
        async with Consumer(client) as consumer:
            consumer.assign([(topic, 0)])
            polling = asyncio.create_task(consumer.poll(timeout_ms=2000))
            await asyncio.to_thread(held.wait)
            await Admin(client).topics()
            waiting = not polling.done()
            polling.cancel()
            await asyncio.wait({polling})
            return waiting

    assert with_client(broker, consume) is True


@pytest.mark.parametrize(
    ("members", "partitions", "expected"),
    [
        ({"a": ["t"], "b": ["t"]}, {"t": 5}, {"a": [("t", 0), ("t", 1), ("t", 2)], "b": [("t", 3), ("t", 4)]}),
        ({"b": ["t"], "a": ["t"]}, {"t": 1}, {"a": [("t", 0)], "b": []}),
        ({"a": ["t"], "b": ["u"]}, {"t": 1, "u": 1}, {"a": [("t", 0)], "b": [("u", 0)]}),
        ({"a": ["t"]}, {"t": 1, "unwanted": 3}, {"a": [("t", 0)]}),
    ],
)
def test_ranges(
    members: dict[str, list[str]], partitions: dict[str, int], expected: dict[str, list[tuple[str, int]]]
) -> None:
    assert assign_ranges(members, partitions) == expected
