"""Groups in a whole broker: what restarts, deleted topics and the clock leave of them, and the errors of each API."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import NO_ID, Wire, frame, unique

from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker

SECONDS = 20.0
EVERYTHING = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
"""A consumer's subscription to nothing, version 0."""


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives once it is not None."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if (answer := found()) is not None:
            return answer
        time.sleep(0.01)
    raise TimeoutError


def ready(broker: Broker, group: str) -> Wire:
    """A connection on which the group's coordinator answers."""
    wire = Wire(address_of(broker))

    def served() -> bool | None:
        (found,) = wire.ask(m.FindCoordinatorRequest(coordinator_keys=[group])).coordinators
        return True if found.error_code == 0 and fetched(wire, group)[0] == 0 else None

    until(served)
    return wire


def fetched(wire: Wire, group: str, topics: dict[str, list[int]] | None = None) -> tuple[int, dict[Any, int]]:
    of = m.OffsetFetchRequest
    asked = None
    if topics is not None:
        asked = [of.OffsetFetchRequestTopics(name, NO_ID, indexes) for name, indexes in topics.items()]
    (found,) = wire.ask(of(groups=[of.OffsetFetchRequestGroup(group, topics=asked)]), 9).groups
    offsets = {(t.name, p.partition_index): p.committed_offset for t in found.topics for p in t.partitions}
    return found.error_code, offsets


def commit(
    wire: Wire, group: str, topic: str, offset: int, *, version: int = 9, partition: int = 0, **given: Any
) -> ErrorCode:
    of = m.OffsetCommitRequest
    topics = [of.OffsetCommitRequestTopic(topic, NO_ID, [of.OffsetCommitRequestPartition(partition, offset)])]
    response = wire.ask(of(group, topics=topics, **given), version)
    return ErrorCode(response.topics[0].partitions[0].error_code)


def member_of(wire: Wire, group: str, instance_id: str) -> tuple[str, int]:
    """(id, generation) of a static member that has an assignment."""
    of = m.JoinGroupRequest
    protocols = [of.JoinGroupRequestProtocol("range", EVERYTHING)]
    answer = wire.ask(of(group, 60_000, 60_000, "", instance_id, "consumer", protocols))
    assert answer.error_code == 0
    sync = m.SyncGroupRequest
    assignment = [sync.SyncGroupRequestAssignment(answer.member_id, b"mine")]
    asked = sync(group, answer.generation_id, answer.member_id, instance_id, "consumer", "range", assignment)
    assert wire.ask(asked).assignment == b"mine"
    return answer.member_id, answer.generation_id


@pytest.fixture(scope="module")
def shared() -> Any:
    with Broker() as broker:
        yield broker


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kill"])
@pytest.mark.parametrize("config", [{}, {"log.flush.interval.messages": 1}], ids=["unsynced", "synced"])
def test_groups_and_offsets_outlive_the_broker(clean: bool, config: dict[str, object]) -> None:
    with Broker(config) as broker:
        broker.create_topic("t")
        with ready(broker, "live") as wire, ready(broker, "simple"):
            member_id, generation = member_of(wire, "live", "i")
            mine = {"generation_id_or_member_epoch": generation, "member_id": member_id, "group_instance_id": "i"}
            assert commit(wire, "live", "t", 4, **mine) is ErrorCode.NONE
            assert commit(wire, "simple", "t", 5) is ErrorCode.NONE
        broker.restart(clean=clean)
        with ready(broker, "live") as wire, ready(broker, "simple"):
            assert fetched(wire, "live") == (0, {("t", 0): 4})
            assert fetched(wire, "simple") == (0, {("t", 0): 5})
            assert wire.ask(m.HeartbeatRequest("live", generation, member_id, "i")).error_code == 0
            (described,) = wire.ask(m.DescribeGroupsRequest(["live"])).groups
            assert described.group_state == "Stable"
            assert bytes(described.members[0].member_assignment) == b"mine"
            assert commit(wire, "live", "t", 6, **mine) is ErrorCode.NONE


def test_answers_wait_for_the_disk_in_their_order_where_the_topic_asks_for_it() -> None:
    with Broker({"log.flush.interval.messages": 1}) as broker:
        broker.create_topic("t")
        with ready(broker, "g") as wire:
            for offset in range(20):
                partitions = [m.OffsetCommitRequest.OffsetCommitRequestPartition(0, offset)]
                request = m.OffsetCommitRequest(
                    "g", topics=[m.OffsetCommitRequest.OffsetCommitRequestTopic("t", NO_ID, partitions)]
                )
                wire.send(frame(request, 9, correlation_id=offset))
            answers = [wire.next_answer(8, 9) for _ in range(20)]
            assert [correlation_id for correlation_id, _ in answers] == list(range(20))
            assert {answer.topics[0].partitions[0].error_code for _, answer in answers} == {0}
            broker.restart(clean=False)
        with ready(broker, "g") as wire:
            assert fetched(wire, "g") == (0, {("t", 0): 19})


def test_a_deleted_topic_takes_its_offsets_along_and_a_new_one_of_its_name_begins_without(shared: Broker) -> None:
    name, group = unique("t"), unique("g")
    shared.create_topic(name)
    with ready(shared, group) as wire:
        commit(wire, group, name, 7)
        of = m.DeleteTopicsRequest
        assert wire.ask(of([of.DeleteTopicState(name)])).responses[0].error_code == 0
        until(lambda: True if fetched(wire, group) == (0, {}) else None)
        shared.create_topic(name)
        assert fetched(wire, group, {name: [0]}) == (0, {(name, 0): -1})


def test_offsets_expire_by_the_clock_and_their_group_with_them() -> None:
    with Broker({"offsets.retention.check.interval.ms": 20}) as broker:
        broker.create_topic("t")
        with ready(broker, "g") as wire:
            # The oldest requests name a retention of their own: the settings know minutes only.
            assert commit(wire, "g", "t", 7, version=4, retention_time_ms=1) is ErrorCode.NONE
            assert commit(wire, "kept", "t", 8) is ErrorCode.NONE
            until(
                lambda: True if [one.group_id for one in wire.ask(m.ListGroupsRequest()).groups] == ["kept"] else None
            )
            assert fetched(wire, "g") == (0, {})
            assert fetched(wire, "kept") == (0, {("t", 0): 8})


# --- the errors of each API


def test_commits_to_what_does_not_exist_are_refused_one_by_one(shared: Broker) -> None:
    name, group = unique("t"), unique("g")
    shared.create_topic(name)
    with ready(shared, group) as wire:
        assert commit(wire, group, "no such topic", 1) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert commit(wire, group, name, 1, partition=1) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        of = m.OffsetCommitRequest
        topics = [of.OffsetCommitRequestTopic("", bytes(range(16)), [of.OffsetCommitRequestPartition(0, 1)])]
        answer = wire.ask(of(group, topics=topics), 10)
        assert answer.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
        assert fetched(wire, group) == (0, {})


def test_the_empty_group_id_commits_and_fetches_as_it_always_did(shared: Broker) -> None:
    name = unique("t")
    shared.create_topic(name)
    with ready(shared, "") as wire:
        assert commit(wire, "", name, 3) is ErrorCode.NONE
        assert fetched(wire, "", {name: [0]}) == (0, {(name, 0): 3})


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (m.SyncGroupRequest("", 1, "m", None, "consumer", "range"), ErrorCode.INVALID_GROUP_ID),
        (m.SyncGroupRequest("nobody", 1, "m", None, "consumer", "range"), ErrorCode.UNKNOWN_MEMBER_ID),
        (m.SyncGroupRequest("nobody", 1, "m", None, None, "range"), ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (m.SyncGroupRequest("nobody", 1, "m", None, "consumer", None), ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (m.HeartbeatRequest("", 1, "m"), ErrorCode.INVALID_GROUP_ID),
        (m.HeartbeatRequest("nobody", 1, "m"), ErrorCode.UNKNOWN_MEMBER_ID),
        (m.LeaveGroupRequest("", members=[]), ErrorCode.INVALID_GROUP_ID),
        (m.OffsetDeleteRequest(""), ErrorCode.INVALID_GROUP_ID),
        (m.OffsetDeleteRequest("nobody"), ErrorCode.GROUP_ID_NOT_FOUND),
        (m.JoinGroupRequest("", 10_000, 10_000, "", None, "consumer"), ErrorCode.INVALID_GROUP_ID),
        (m.JoinGroupRequest("nobody", 10_000, 10_000, "m", None, "consumer"), ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_requests_that_no_group_answers(shared: Broker, request_: Any, code: ErrorCode) -> None:
    with ready(shared, "nobody") as wire, ready(shared, ""):
        assert wire.ask(request_).error_code == code


def test_leaving_before_version_3_has_one_error_for_its_one_member(shared: Broker) -> None:
    with ready(shared, "nobody") as wire:
        assert wire.ask(m.LeaveGroupRequest("nobody", "m"), 2).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        answer = wire.ask(m.LeaveGroupRequest("nobody", members=[m.LeaveGroupRequest.MemberIdentity("m")]), 3)
        assert (answer.error_code, answer.members[0].error_code) == (0, ErrorCode.UNKNOWN_MEMBER_ID)


def test_leaving_that_is_refused_as_a_whole_names_no_members(shared: Broker) -> None:
    with ready(shared, "") as wire:
        answer = wire.ask(m.LeaveGroupRequest("", members=[m.LeaveGroupRequest.MemberIdentity("m")]))
        assert (answer.error_code, answer.members) == (ErrorCode.INVALID_GROUP_ID, [])
        assert wire.ask(m.LeaveGroupRequest("", "m"), 2).error_code == ErrorCode.INVALID_GROUP_ID


def test_a_commit_of_no_partitions_has_no_answers(shared: Broker) -> None:
    name, group = unique("t"), unique("g")
    shared.create_topic(name)
    with ready(shared, group) as wire:
        of = m.OffsetCommitRequest
        assert wire.ask(of(group, topics=[of.OffsetCommitRequestTopic(name)]), 9).topics == []
        assert fetched(wire, group) == (0, {})


def test_a_group_that_is_not_there_is_dead_and_since_version_6_an_error(shared: Broker) -> None:
    with ready(shared, "nobody") as wire:
        for version, code in ((5, 0), (6, ErrorCode.GROUP_ID_NOT_FOUND)):
            (found,) = wire.ask(m.DescribeGroupsRequest(["nobody"]), version).groups
            assert (found.group_state, found.error_code) == ("Dead", code)


def test_groups_are_deleted_one_by_one(shared: Broker) -> None:
    name, idle, live = unique("t"), unique("idle"), unique("live")
    shared.create_topic(name)
    with ready(shared, idle) as wire, ready(shared, live), ready(shared, "nobody"):
        commit(wire, idle, name, 1)
        member_of(wire, live, "i")
        results = wire.ask(m.DeleteGroupsRequest([idle, live, "nobody"])).results
        assert {one.group_id: one.error_code for one in results} == {
            idle: ErrorCode.NONE,
            live: ErrorCode.NON_EMPTY_GROUP,
            "nobody": ErrorCode.GROUP_ID_NOT_FOUND,
        }
        assert fetched(wire, idle) == (0, {})


def test_offsets_are_deleted_where_they_may_be(shared: Broker) -> None:
    name, group = unique("t"), unique("g")
    shared.create_topic(name)
    with ready(shared, group) as wire:
        commit(wire, group, name, 1)
        of = m.OffsetDeleteRequest
        partitions = [of.OffsetDeleteRequestPartition(index) for index in (0, 1)]
        answer = wire.ask(of(group, [of.OffsetDeleteRequestTopic(name, partitions)]))
        codes = [(one.partition_index, one.error_code) for one in answer.topics[0].partitions]
        assert codes == [(1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (0, 0)], "what is not there comes first"
        assert fetched(wire, group) == (0, {})


def test_offsets_are_committed_and_fetched_by_topic_id(shared: Broker) -> None:
    name, group = unique("t"), unique("g")
    shared.create_topic(name)
    with ready(shared, group) as wire:
        topic_id = wire.ask(m.MetadataRequest([m.MetadataRequest.MetadataRequestTopic(NO_ID, name)])).topics[0].topic_id
        made = m.OffsetCommitRequest
        partitions = [made.OffsetCommitRequestPartition(0, 7)]
        topics = [made.OffsetCommitRequestTopic("", topic_id, partitions)]
        assert wire.ask(made(group, topics=topics), 10).topics[0].partitions[0].error_code == 0
        of = m.OffsetFetchRequest
        unknown = bytes(range(16))
        asked = [of.OffsetFetchRequestTopics("", id_, [0]) for id_ in (topic_id, unknown)]
        for wanted in (asked, None):
            (found,) = wire.ask(of(groups=[of.OffsetFetchRequestGroup(group, topics=wanted)]), 10).groups
            answers = {t.topic_id: (t.partitions[0].committed_offset, t.partitions[0].error_code) for t in found.topics}
            expected = {topic_id: (7, 0)}
            if wanted is not None:
                expected[unknown] = (-1, ErrorCode.UNKNOWN_TOPIC_ID)
            assert answers == expected
