"""Metadata and ApiVersions: topics by name and by id, topics that are made by asking, what is said of the cluster.

The whole file agrees with Apache Kafka 4.3.1, see conftest.py.
"""

import time
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import NO_ID, Wire, make_topic, unique

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

Address = tuple[str, int]
Topic = tuple[str, bytes]

STRANGE_ID = bytes(range(16))
NOT_SAID = -(2**31)


@pytest.fixture(scope="module")
def topic(address: Address) -> Topic:
    return make_topic(address, partitions=3)


def asking(*topics: str | bytes | None, create: bool = False) -> m.MetadataRequest:
    """Topics by name, by id, or by neither."""
    made = m.MetadataRequest.MetadataRequestTopic
    return m.MetadataRequest([made(t, None) if isinstance(t, bytes) else made(NO_ID, t) for t in topics], create)


def entries(wire: Wire, request: m.MetadataRequest, version: int | None = None) -> dict[Any, Any]:
    """Each topic of the answer by its name, or by its id where it has none."""
    if version is not None and version < 4:
        request.allow_auto_topic_creation = True  # which it cannot say otherwise
    answer = wire.ask(request, version)
    return {topic.name if topic.name is not None else bytes(topic.topic_id): topic for topic in answer.topics}


@pytest.mark.parametrize("version", range(14))
def test_every_version_tells_of_a_topic(wire: Wire, topic: Topic, version: int) -> None:
    found = entries(wire, asking(topic[0]), version)[topic[0]]
    assert (found.error_code, found.is_internal) == (0, False)
    assert found.topic_id == (topic[1] if version >= 10 else NO_ID)
    assert [(p.partition_index, p.error_code, p.leader_id) for p in found.partitions] == [(n, 0, 1) for n in range(3)]
    for partition in found.partitions:
        assert (partition.replica_nodes, partition.isr_nodes, partition.offline_replicas) == ([1], [1], [])
        assert partition.leader_epoch == (0 if version >= 7 else -1)


def test_cluster_is_described(wire: Wire, address: Address) -> None:
    answer = wire.ask(asking())
    assert [(b.node_id, b.port, b.rack) for b in answer.brokers] == [(1, address[1], None)]
    assert (answer.controller_id, answer.topics, bool(answer.cluster_id)) == (1, [], True)


@pytest.mark.parametrize("version", [1, 9, 12, 13])
def test_null_means_every_topic(wire: Wire, topic: Topic, version: int) -> None:
    assert topic[0] in entries(wire, m.MetadataRequest(None, False), version)


def test_version_0_says_every_topic_by_none(wire: Wire, topic: Topic) -> None:
    assert topic[0] in entries(wire, m.MetadataRequest([], True), 0)


def test_topic_by_its_id(wire: Wire, topic: Topic) -> None:
    found = entries(wire, asking(topic[1], STRANGE_ID), 12)
    assert found[topic[0]].error_code == 0
    assert len(found[topic[0]].partitions) == 3
    assert found[STRANGE_ID].error_code == ErrorCode.UNKNOWN_TOPIC_ID
    assert found[STRANGE_ID].partitions == []


@pytest.mark.parametrize("version", [10, 11])
def test_ids_are_not_for_versions_10_and_11(wire: Wire, topic: Topic, version: int) -> None:
    request = m.MetadataRequest([m.MetadataRequest.MetadataRequestTopic(topic[1], topic[0])], False)
    assert [t.error_code for t in wire.ask(request, version).topics] == [ErrorCode.INVALID_REQUEST]


def test_names_are_passed_over_where_an_id_is_asked_for(wire: Wire, topic: Topic, address: Address) -> None:
    other = make_topic(address)
    assert list(entries(wire, asking(topic[1], other[0]))) == [topic[0]]


def test_topic_named_twice_is_told_once(wire: Wire, topic: Topic) -> None:
    assert len(wire.ask(asking(topic[0], topic[0])).topics) == 1
    assert len(wire.ask(asking(topic[1], topic[1], STRANGE_ID, STRANGE_ID)).topics) == 2


@pytest.mark.parametrize("name", ["", "a b", ".", "..", "x" * 250, "ä"])
@pytest.mark.parametrize("create", [True, False])
def test_name_that_no_topic_can_have(wire: Wire, name: str, create: bool) -> None:
    found = entries(wire, asking(name, create=create))[name]
    assert (found.error_code, found.partitions, found.topic_id) == (ErrorCode.INVALID_TOPIC_EXCEPTION, [], NO_ID)


def test_topic_is_not_made_for_who_does_not_want_it(wire: Wire) -> None:
    name = unique("absent")
    for _ in range(3):
        found = entries(wire, asking(name))[name]
        assert (found.error_code, found.partitions) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, [])


@pytest.mark.parametrize("version", [3, 4, 13])
def test_topic_is_made_by_asking_for_it(wire: Wire, version: int) -> None:
    name = unique("wanted")
    first = entries(wire, asking(name, create=version >= 4), version)[name]
    assert first.error_code in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.LEADER_NOT_AVAILABLE)
    deadline = time.monotonic() + 20
    while entries(wire, asking(name))[name].error_code and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(entries(wire, asking(name))[name].partitions) == 1


def test_topic_with_neither_name_nor_id(wire: Wire, topic: Topic) -> None:
    answer = wire.ask(asking(topic[0], None, create=True))
    assert {t.error_code for t in answer.topics} == {ErrorCode.UNKNOWN_SERVER_ERROR}
    assert topic[0] in entries(wire, asking(topic[0]))


def test_many_who_ask_at_once_make_one_topic(address: Address) -> None:
    name = unique("wanted")
    wires = [Wire(address) for _ in range(8)]
    codes = [entries(wire, asking(name, create=True))[name].error_code for wire in wires]
    assert set(codes) <= {0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.LEADER_NOT_AVAILABLE}
    deadline = time.monotonic() + 20
    while entries(wires[0], asking(name))[name].error_code and time.monotonic() < deadline:
        time.sleep(0.02)
    ids = {entries(wire, asking(name, create=True))[name].topic_id for wire in wires}
    for wire in wires:
        wire.close()
    assert len(ids) == 1


def test_deleted_topic_is_gone_and_a_new_one_is_another(wire: Wire, address: Address) -> None:
    topic = make_topic(address)
    state = m.DeleteTopicsRequest.DeleteTopicState
    wire.ask(m.DeleteTopicsRequest([state(topic[0], NO_ID)], timeout_ms=10_000))
    deadline = time.monotonic() + 20
    while not entries(wire, asking(topic[0]))[topic[0]].error_code and time.monotonic() < deadline:
        time.sleep(0.02)
    assert entries(wire, asking(topic[1]))[topic[1]].error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize("version", [8, 10, 13])
def test_operations_are_told_where_they_are_asked_for(wire: Wire, topic: Topic, version: int) -> None:
    request = asking(topic[0])
    assert entries(wire, request, version)[topic[0]].topic_authorized_operations == NOT_SAID
    request.include_topic_authorized_operations = True
    assert entries(wire, request, version)[topic[0]].topic_authorized_operations == 0b1101_1111_1000


def test_operations_that_were_asked_for_stay_out_of_other_answers(wire: Wire, topic: Topic) -> None:
    request = asking(topic[0])
    request.include_topic_authorized_operations = True
    wire.ask(request)
    assert entries(wire, asking(topic[0]))[topic[0]].topic_authorized_operations == NOT_SAID


def test_partitions_that_are_added_are_told(wire: Wire, address: Address) -> None:
    name, _ = make_topic(address)
    assert len(entries(wire, asking(name))[name].partitions) == 1
    made = m.CreatePartitionsRequest
    wire.ask(made([made.CreatePartitionsTopic(name, 4, None)], 10_000))
    deadline = time.monotonic() + 20
    while len(entries(wire, asking(name))[name].partitions) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [p.partition_index for p in entries(wire, asking(name))[name].partitions] == [0, 1, 2, 3]


@pytest.mark.usefixtures("own_only")
def test_no_topic_is_made_where_that_is_not_allowed() -> None:
    with Broker({"auto.create.topics.enable": False}) as broker, Wire(address_of(broker)) as wire:
        for _ in range(3):
            found = entries(wire, asking("wanted", create=True))["wanted"]
            assert found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert wire.ask(m.MetadataRequest(None)).topics == []


@pytest.mark.usefixtures("own_only")
def test_each_listener_tells_of_its_own_addresses() -> None:
    config = {
        "listeners": "ONE://127.0.0.1:0,TWO://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "listener.security.protocol.map": "ONE:PLAINTEXT,TWO:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "ONE",
    }
    with Broker(config) as broker:

        async def ports(node: Any) -> dict[str, int]:
            return dict(node.ports)

        found = broker.run(ports)
        for name in ("ONE", "TWO"):
            with Wire(("127.0.0.1", found[name])) as wire:
                assert [each.port for each in wire.ask(asking()).brokers] == [found[name]]


def test_api_versions_tells_what_each_version_may_know(wire: Wire) -> None:
    answers = {version: wire.ask(m.ApiVersionsRequest("test", "1"), version) for version in range(5)}
    for version, answer in answers.items():
        ranges = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        assert ranges[0] == (0, 13)
        assert ranges[1] == (4, 18)
        assert ranges[3] == (0, 13)
        assert 52 not in ranges
        supported = {feature.name: (feature.min_version, feature.max_version) for feature in answer.supported_features}
        if version < 3:
            assert supported == {}
        else:
            assert ("group.version" in supported) == (version >= 4)
            assert supported["metadata.version"][0] == 7
            assert answer.finalized_features_epoch >= 0
            assert "metadata.version" in {feature.name for feature in answer.finalized_features}
