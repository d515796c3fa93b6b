"""The short way of Produce says and does what the general way does, and is not taken where something has to wait."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kafka.server.driven import answers
from tests.kafka.server.wire import NO_ID, batch, frame, produce

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.server.produce_lane import ProduceLane
from riverport.kafka.wire import messages as m
from riverport.testing import Broker, error

NOW_MS = 1_700_000_000_000
VERSIONS = range(3, 14)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each request that came by the lane, whether it was served there."""
    found: list[bool] = []
    serve = ProduceLane.serve

    def watched(self: ProduceLane, *given: Any) -> bytes | None:
        answer = serve(self, *given)
        found.append(answer is not None)
        return answer

    monkeypatch.setattr(ProduceLane, "serve", watched)
    return found


def topic_of(broker: Broker, name: str, version: int) -> tuple[str, bytes]:
    def look(node: Any) -> bytes:
        found: bytes = node.partitions[name, 0].topic_id
        return found

    async def ask(node: Any) -> bytes:
        return look(node)

    return ("", broker.run(ask)) if version >= 13 else (name, NO_ID)


def both_ways(broker: Broker, monkeypatch: pytest.MonkeyPatch, version: int, payloads: list[bytes]) -> tuple[Any, Any]:
    """What two topics hold and say after the same requests: one without the lane."""
    found = []
    for name in ("one-way", "another"):
        broker.create_topic(name)
        with monkeypatch.context() as patched:
            if name == "another":
                patched.setattr(ProduceLane, "serve", lambda self, *given: None)
            topic = topic_of(broker, name, version)
            said = b"".join(
                answers(broker, [frame(produce(topic, payload), version, correlation_id=number)])
                for number, payload in enumerate(payloads)
            )

        async def stored(node: Any, name: str = name) -> bytes:
            log = node.partitions[name, 0].log
            content: bytes = log.active.file.pread(1 << 20, 0)
            return content

        found.append((broker.run(stored), said.replace(topic[1], b"").replace(name.encode(), b"")))
    return found[0], found[1]


def produced(*, sequence: int = -1, producer: int = -1, codec: Codec = Codec.NONE, count: int = 3) -> bytes:
    records = [NewRecord(b"k", b"v" * 20, (), NOW_MS + n) for n in range(count)]
    epoch = 0 if producer >= 0 else -1
    return bytes(build_batch(records, producer_id=producer, producer_epoch=epoch, base_sequence=sequence, codec=codec))


@pytest.mark.parametrize("version", VERSIONS)
def test_both_ways_say_and_store_the_same(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, served: list[bool], version: int
) -> None:
    damaged = bytearray(produced())
    damaged[-1] ^= 1
    payloads = [
        produced(),
        produced(codec=Codec.GZIP),
        bytes(damaged),
        produced(producer=9, sequence=0),
        produced(producer=9, sequence=0),  # a duplicate
        produced(producer=9, sequence=7),  # out of order
        produced(producer=9, sequence=3),
        b"no batch",
    ]
    short, general = both_ways(broker, monkeypatch, version, payloads)
    assert short == general
    assert len(short[0]) > 0
    assert served.count(True) >= 4


def test_answers_come_in_the_order_of_requests_of_both_kinds(broker: Broker, served: list[bool]) -> None:
    broker.create_topic("t")
    stream = b"".join(
        frame(m.ApiVersionsRequest(), 2, correlation_id=n)
        if n % 3 == 0
        else frame(produce(("t", NO_ID), produced()), 9, correlation_id=n)
        for n in range(30)
    )
    raw, ids = answers(broker, [stream]), []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        ids.append(int.from_bytes(raw[4:8], "big"))
        raw = raw[4 + size :]
    assert ids == list(range(30))
    assert served.count(True) == 20


@pytest.mark.parametrize(
    "configs", [{"flush.messages": "1"}, {"message.timestamp.type": "LogAppendTime"}], ids=["flush", "stamped"]
)
def test_what_waits_or_is_stamped_goes_the_general_way(
    broker: Broker, served: list[bool], configs: dict[str, str]
) -> None:
    broker.create_topic("t", config=configs)
    assert answers(broker, [frame(produce(("t", NO_ID), produced()), 9)])
    assert served == [False]


def test_a_rule_for_faults_is_not_passed_by(broker: Broker, served: list[bool]) -> None:

    broker.create_topic("t")
    broker.faults.add("Produce", action=error("CORRUPT_MESSAGE"))
    answers(broker, [frame(produce(("t", NO_ID), produced()), 9)])
    broker.faults.clear()
    answers(broker, [frame(produce(("t", NO_ID), produced()), 9)])
    assert served == [False, True]


def test_clients_do_not_write_to_internal_topics(broker: Broker, served: list[bool]) -> None:
    broker.create_topic("__consumer_offsets")
    said = answers(broker, [frame(produce(("__consumer_offsets", NO_ID), batch(b"v", timestamp=NOW_MS)), 9)])
    assert b"internal topic" in said
    assert served == [False]


def test_a_transactional_batch_goes_the_general_way(broker: Broker, served: list[bool]) -> None:
    broker.create_topic("t")
    payload = bytearray(produced(producer=9, sequence=0))
    payload[22] |= 0x10
    answers(broker, [frame(produce(("t", NO_ID), bytes(payload)), 9)])
    assert served == [False]
