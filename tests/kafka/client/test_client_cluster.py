"""Connections and metadata: who is asked, what is retried, and how a failure is worded."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from riverport.kafka.client.admin import Admin
from riverport.kafka.client.client import Client, parse_address
from riverport.kafka.client.cluster import ClusterView, PartitionView, TopicView
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError, Disconnected, Refused, TimedOut, Unreachable, Unsupported
from riverport.kafka.client.offsets import EARLIEST, LATEST, list_offsets
from riverport.kafka.client.retry import Backoff
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker, delay, disconnect, error

names = (f"topic-{number}" for number in itertools.count())


def with_client(broker: Broker, act: Callable[[Client], Awaitable[object]], **options: float) -> object:
    async def run() -> object:
        async with Client(broker.bootstrap, **options) as client:  # type: ignore[arg-type]
            return await act(client)

    return asyncio.run(run())


def a_view(*, leader: int, epoch: int, topic_id: bytes = bytes(16), topics: int = 1) -> ClusterView:
    partition = PartitionView(0, leader, epoch, (1, 2), (1, 2), ())
    return ClusterView(topics={f"t{n}": TopicView(f"t{n}", topic_id, False, {0: partition}) for n in range(topics)})


@pytest.mark.parametrize(("epoch", "leader"), [(4, 1), (5, 2), (6, 2), (-1, 2)])
def test_a_leader_of_an_older_epoch_is_not_taken_for_the_present_one(epoch: int, leader: int) -> None:
    """A broker that is cut off tells of the past; one that knows of no epochs is believed (KIP-320)."""
    known, told = a_view(leader=1, epoch=5), a_view(leader=2, epoch=epoch)
    assert known.merged(told).leader("t0", 0) == known.corrected(told).leader("t0", 0) == leader


def test_a_topic_that_was_made_again_begins_with_its_own_epochs() -> None:
    told = a_view(leader=2, epoch=0, topic_id=bytes(range(16)))
    assert a_view(leader=1, epoch=5).merged(told).leader("t0", 0) == 2


def test_topics_that_an_answer_does_not_speak_of_are_kept() -> None:
    merged = a_view(leader=1, epoch=5, topics=2).merged(a_view(leader=2, epoch=6))
    assert (merged.leader("t0", 0), merged.leader("t1", 0)) == (2, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:9093", ("localhost", 9093)),
        (" localhost ", ("localhost", 9092)),
        ("[::1]:9093", ("::1", 9093)),
        ("::1", ("::1", 9092)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host:", "host:port", "host:0", "host:65536", ":9092"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ClientError, match="is no broker address: expected host:port"):
        parse_address(text)


def test_an_address_where_nothing_listens_fails_at_once(broker: Broker) -> None:
    async def ask() -> None:
        async with Client(["127.0.0.1:1", "127.0.0.1:2"], retry_timeout_ms=600_000) as client:
            await client.nodes()

    with pytest.raises(Unreachable, match=r"no broker answers at 127.0.0.1:1, 127.0.0.1:2: Connection refused"):
        asyncio.run(ask())


def test_the_next_address_is_tried(broker: Broker) -> None:
    async def ask() -> int:
        async with Client(["127.0.0.1:1", broker.bootstrap]) as client:
            return (await client.nodes())[0].id

    assert asyncio.run(ask()) == 1


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\2ab", b""])
def test_a_server_of_another_protocol_is_told_apart(sent: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(sent)
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1], timeout_ms=5_000)

    with pytest.raises(Unreachable, match="connected, but it does not speak Kafka's protocol"):
        asyncio.run(ask())


def test_a_server_that_says_nothing_is_waited_for_only_so_long() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1], timeout_ms=50)

    with pytest.raises(Unreachable):
        asyncio.run(ask())


def test_an_answer_that_does_not_come_ends_the_connection_and_the_next_request_has_a_new_one(broker: Broker) -> None:
    broker.faults.add("Metadata", nth=2, action=delay(500))

    async def ask(client: Client) -> int:
        await client.refresh([])
        first = await client.any_connection()
        with pytest.raises(TimedOut, match="did not answer Metadata within 50 ms"):
            await client.ask(m.MetadataRequest(topics=[]), timeout_ms=50)
        with pytest.raises(Disconnected):
            await first.request(m.MetadataRequest(topics=[]))
        return len((await client.refresh([])).nodes)

    assert with_client(broker, ask) == 1


@pytest.mark.parametrize("action", [disconnect(), error("LEADER_NOT_AVAILABLE")])
def test_metadata_is_asked_for_again(broker: Broker, action: object) -> None:
    name = broker.create_topic(next(names))
    rule = broker.faults.add("Metadata", nth=1, times=2, every=1, action=action)  # type: ignore[arg-type]
    view = with_client(broker, lambda client: client.topic(name, create=True))
    assert view.name == name  # type: ignore[attr-defined]
    assert rule.hits == 2


def test_retries_end_with_the_last_error(broker: Broker) -> None:
    name = broker.create_topic(next(names))
    rule = broker.faults.add("ListOffsets", action=error("NOT_LEADER_OR_FOLLOWER"))
    with pytest.raises(Refused, match=f"offsets of {name}-0: NOT_LEADER_OR_FOLLOWER") as refused:
        with_client(broker, lambda client: list_offsets(client, {(name, 0): LATEST}), retry_timeout_ms=400)
    assert refused.value.retriable
    assert rule.hits > 1


def test_an_error_that_stays_is_raised_at_once(broker: Broker) -> None:
    name = broker.create_topic(next(names))
    rule = broker.faults.add("ListOffsets", action=error("TOPIC_AUTHORIZATION_FAILED"))
    with pytest.raises(Refused, match="TOPIC_AUTHORIZATION_FAILED"):
        with_client(broker, lambda client: list_offsets(client, {(name, 0): EARLIEST}))
    assert rule.hits == 1


def test_a_coordinator_that_has_moved_is_looked_up_again(broker: Broker) -> None:
    finds = broker.faults.add("FindCoordinator", action=delay(0))
    broker.faults.add("DescribeGroups", nth=2, action=error("NOT_COORDINATOR"))

    async def ask(client: Client) -> str:
        await Admin(client).describe_group("nobody")  # the first look-up may find that no coordinator is there yet
        finds.seen = 0
        return (await Admin(client).describe_group("nobody")).group_state

    assert with_client(broker, ask) == "Dead"
    assert finds.seen == 1


def test_a_request_that_the_broker_does_not_have(broker: Broker) -> None:
    async def ask(client: Client) -> None:
        connection = await client.any_connection()
        del connection.versions[int(m.ListGroupsRequest._message.key)]
        await client.ask(m.ListGroupsRequest())

    with pytest.raises(Unsupported, match="does not have the API ListGroups"):
        with_client(broker, ask)


def test_pipelined_answers_find_their_requests(broker: Broker) -> None:
    topics = [broker.create_topic(next(names)) for _ in range(5)]

    async def ask(client: Client) -> list[str]:
        connection = await client.any_connection()
        wanted = [m.MetadataRequest(topics=[m.MetadataRequest.MetadataRequestTopic(name=name)]) for name in topics]
        answers = await asyncio.gather(*(connection.request(request) for request in wanted * 20))
        return [answer.topics[0].name for answer in answers]

    assert with_client(broker, ask) == topics * 20


def test_a_broker_that_comes_back_is_found_again() -> None:
    with Broker() as broker:
        name = broker.create_topic("kept")

        async def ask(client: Client) -> str:
            await client.topic(name)
            await asyncio.to_thread(broker.restart)
            found = await list_offsets(client, {(name, 0): LATEST})
            return f"{found[name, 0].offset}"

        assert with_client(broker, ask) == "0"


def test_waits_double_up_to_their_limit_and_begin_again() -> None:
    backoff = Backoff(first_ms=50, most_ms=1000)
    waits = [backoff.next_ms() for _ in range(8)]
    for wait, base in zip(waits, (50, 100, 200, 400, 800, 1000, 1000, 1000), strict=True):
        assert 0.8 * base <= wait <= 1.2 * base
    backoff.reset()
    assert backoff.next_ms() <= 60


def test_codes_that_nobody_knows_are_still_errors() -> None:
    assert Refused(32_000, "something").code is ErrorCode.UNKNOWN_SERVER_ERROR
