"""Topics, brokers, leaders, moves: what is decided becomes the image that was meant."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import DIRECTORY, Decisions, broker_record, cluster, partition, replayed, topic_records

from riverport.base.rng import seeded_rng
from riverport.kafka.controller import features
from riverport.kafka.controller.elections import PREFERRED, UNCLEAN
from riverport.kafka.controller.heartbeats import Heartbeats
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.placement import Candidate, place
from riverport.kafka.controller.reassignments import Reassignments
from riverport.kafka.controller.topics import Topics
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode


class Ids:
    def __init__(self) -> None:
        self._ids: Iterator[int] = iter(range(1, 1000))

    def uuid(self) -> bytes:
        return next(self._ids).to_bytes(16, "big")


def topics_of(image: MetadataImage) -> Topics:
    return Topics(image, Ids(), seeded_rng(7), lambda kind, name, values: None)


def created(image: MetadataImage, name: str, partitions: int = 1, factor: int = 1) -> Any:
    wanted = m.CreateTopicsRequest.CreatableTopic(name, partitions, factor)
    outcome = topics_of(image).create(m.CreateTopicsRequest([wanted]), 1, 1)
    replayed(outcome.records, image)
    return outcome.response.topics[0]


# --- topics


def test_a_created_topic_is_there_with_its_partitions() -> None:
    image = cluster(1)
    assert created(image, "t", 3).error_code == 0
    found = image.topics["t"].partitions
    assert sorted(found) == [0, 1, 2]
    assert all((p.replicas, p.isr, p.leader, p.directories) == ((1,), (1,), 1, (DIRECTORY,)) for p in found.values())


def test_a_topic_that_is_deleted_by_name_or_id_is_gone() -> None:
    image = cluster(1)
    created(image, "t")
    id_ = image.topics["t"].id
    state = m.DeleteTopicsRequest.DeleteTopicState
    outcome = topics_of(image).delete(m.DeleteTopicsRequest([state(None, id_)]))
    replayed(outcome.records, image)
    assert image.topics == {}


def test_more_partitions_come_behind_those_that_are() -> None:
    image = cluster(1)
    created(image, "t", 2)
    more = m.CreatePartitionsRequest
    outcome = topics_of(image).create_partitions(more([more.CreatePartitionsTopic("t", 5, None)], 1000, False))
    replayed(outcome.records, image)
    assert sorted(image.topics["t"].partitions) == [0, 1, 2, 3, 4]


@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    st.integers(1, 40),
    st.lists(st.none() | st.sampled_from("abc"), min_size=12, max_size=12),
    st.integers(0, 10**6),
)
def test_replicas_lie_on_different_brokers_and_leaders_are_spread(
    sizes: tuple[int, int], partitions: int, racks: list[str | None], seed: int
) -> None:
    count, factor = sizes
    candidates = [Candidate(id_, racks[id_], False) for id_ in range(count)]
    placed = place(candidates, partitions, factor, seeded_rng(seed))
    assert [len(set(replicas)) for replicas in placed] == [factor] * partitions
    if len(set(racks[:count])) == 1:
        leads = [sum(replicas[0] == id_ for replicas in placed) for id_ in range(count)]
        assert max(leads) - min(leads) <= 1


def test_no_partition_lies_on_fenced_brokers_alone() -> None:
    candidates = [Candidate(1, None, True), Candidate(2, None, True), Candidate(3, None, False)]
    assert {replicas[0] for replicas in place(candidates, 9, 2, seeded_rng(1))} == {3}
    with pytest.raises(ApiError, match="fenced"):
        place(candidates[:2], 1, 1, seeded_rng(1))


# --- brokers


def test_a_broker_is_fenced_until_it_has_read_its_own_registration() -> None:
    image = replayed([broker_record(1, fenced=True, broker_epoch=50)], cluster())
    decide = Decisions(image)
    early = m.BrokerHeartbeatRequest(1, 50, 49)
    assert decide.heartbeat(early).response.is_fenced
    outcome = decide.heartbeat(m.BrokerHeartbeatRequest(1, 50, 50))
    replayed(outcome.records, image)
    assert (outcome.response.is_fenced, image.brokers[1].fenced) == (False, False)


def test_a_broker_that_leaves_leads_nothing_any_more_and_gets_it_back() -> None:
    image = replayed(topic_records("t", partition(1)), cluster(1, eligible_leader_replicas_version=1))
    decide = Decisions(image)
    leave = m.BrokerHeartbeatRequest(1, 10, 99, want_shut_down=True)
    answers = [decide.write(decide.heartbeat(leave)) for _ in range(2)]
    assert [answer.should_shut_down for answer in answers] == [False, True]
    left = image.topics["t"].partitions[0]
    assert (left.leader, left.isr, left.elr, image.brokers[1].fenced) == (-1, (), (1,), True)
    replayed([broker_record(1, fenced=True, broker_epoch=20)], image)
    replayed(decide.heartbeat(m.BrokerHeartbeatRequest(1, 20, 99)).records, image)
    back = image.topics["t"].partitions[0]
    assert (back.leader, back.isr, back.elr) == (1, (1,), ())


def test_an_epoch_that_is_over_is_stale() -> None:
    with pytest.raises(ApiError) as refused:
        Decisions(cluster(1)).heartbeat(m.BrokerHeartbeatRequest(1, 9, 99))
    assert refused.value.code is ErrorCode.STALE_BROKER_EPOCH


def test_an_unregistered_broker_leaves_its_partitions_without_leaders() -> None:
    image = replayed(topic_records("t", partition(1)), cluster(1))
    replayed(Decisions(image).brokers.unregister(1).records, image)
    assert (image.brokers, image.topics["t"].partitions[0].leader) == ({}, -1)
    with pytest.raises(ApiError, match="Broker ID 1 is not currently registered"):
        Decisions(image).brokers.unregister(1)


def test_a_broker_must_know_every_finalized_level() -> None:
    image = cluster(level=30, group_version=1)
    of = m.BrokerRegistrationRequest
    known = [of.Feature(features.METADATA_VERSION, 7, 30)]
    request = of(1, "c", bytes(range(16)), [], known, log_dirs=[DIRECTORY])
    with pytest.raises(ApiError, match=r"finalized version 1 of group\.version"):
        Decisions(image).cluster.register_broker(request, 5, lambda id_: False)


def test_a_broker_with_all_directories_cordoned_gets_no_new_partitions() -> None:
    image = cluster(1, 2)
    decide = Decisions(image)
    replayed(decide.heartbeat(m.BrokerHeartbeatRequest(1, 10, 99, cordoned_log_dirs=[DIRECTORY])).records, image)
    assert decide.heartbeat(m.BrokerHeartbeatRequest(1, 10, 99, cordoned_log_dirs=[DIRECTORY])).records == []
    assert created(image, "t", 4).error_code == 0
    assert {p.replicas for p in image.topics["t"].partitions.values()} == {(2,)}
    assert created(image, "u", 1, factor=2).error_code == ErrorCode.INVALID_REPLICATION_FACTOR
    replayed(decide.heartbeat(m.BrokerHeartbeatRequest(1, 10, 99, cordoned_log_dirs=[])).records, image)
    assert created(image, "u", 1, factor=2).error_code == 0


def test_a_level_before_cordoned_directories_does_not_hear_of_them() -> None:
    image = cluster(1, level=29)
    request = m.BrokerHeartbeatRequest(1, 10, 99, cordoned_log_dirs=[DIRECTORY])
    assert Decisions(image).heartbeat(request).records == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"is_migrating_zk_broker": True}, ErrorCode.BROKER_ID_NOT_REGISTERED),
        ({"log_dirs": []}, ErrorCode.INVALID_REGISTRATION),
        ({"log_dirs": [bytes(15) + b"\x02"]}, ErrorCode.INVALID_REGISTRATION),
        ({"log_dirs": [DIRECTORY, DIRECTORY]}, ErrorCode.INVALID_REGISTRATION),
        ({"features": []}, ErrorCode.INVALID_REGISTRATION),
    ],
)
def test_a_registration_that_cannot_be_right_is_refused(change: dict[str, Any], code: ErrorCode) -> None:
    of = m.BrokerRegistrationRequest
    request = of(1, "c", bytes(16), [], [of.Feature(features.METADATA_VERSION, 7, 33)], log_dirs=[DIRECTORY])
    decide = Decisions(cluster()).cluster
    assert decide.register_broker(request, 5, lambda id_: False).response.broker_epoch == 5
    for name, value in change.items():
        setattr(request, name, value)
    with pytest.raises(ApiError) as refused:
        decide.register_broker(request, 5, lambda id_: False)
    assert refused.value.code is code


def test_a_broker_that_registers_again_in_one_life_stays_what_it_is() -> None:
    image = replayed([broker_record(1, log_dirs=[])], cluster())
    of = m.BrokerRegistrationRequest
    known = [of.Feature(features.METADATA_VERSION, 7, 33)]
    request = of(1, "c", image.brokers[1].incarnation_id, [], known, log_dirs=[DIRECTORY])
    outcome = Decisions(image).cluster.register_broker(request, 99, lambda id_: True)
    replayed(outcome.records, image)
    own = image.brokers[1]
    assert (outcome.response.broker_epoch, own.epoch, own.fenced, own.log_dirs) == (10, 10, False, (DIRECTORY,))


def test_a_session_ends_without_a_sign_of_life() -> None:
    beats = Heartbeats(1000)
    beats.begin([1, 2], 0.0)
    beats.touch(2, 500.0)
    found = [beats.expired(now_ms) for now_ms in (400.0, 800.0, 999.0, 1000.0, 1400.0, 1500.0)]
    assert found == [[], [], [], [1], [1], [1, 2]]


def test_a_controller_that_was_stopped_itself_does_not_take_it_for_silence_of_others() -> None:
    beats = Heartbeats(1000)
    beats.begin([1], 0.0)
    assert (beats.expired(100.0), beats.expired(60_000.0)) == ([], [])
    assert (beats.expired(60_400.0), beats.expired(60_500.0)) == ([], [1])


# --- leaders and moves


def elect(image: MetadataImage, kind: int) -> Any:
    request = m.ElectLeadersRequest(kind, [m.ElectLeadersRequest.TopicPartitions("t", [0])])
    outcome = Decisions(image).elections.elect(request)
    replayed(outcome.records, image)
    return outcome.response.replica_election_results[0].partition_result[0]


def test_the_preferred_replica_leads_again_when_it_is_in_sync() -> None:
    image = replayed(topic_records("t", partition(1, 2, leader=2)), cluster(1, 2))
    assert elect(image, PREFERRED).error_code == 0
    assert image.topics["t"].partitions[0].leader == 1
    assert elect(image, PREFERRED).error_code == ErrorCode.ELECTION_NOT_NEEDED


def test_a_preferred_replica_that_is_behind_does_not_lead() -> None:
    image = replayed(topic_records("t", partition(1, 2, leader=2, isr=[2])), cluster(1, 2))
    assert elect(image, PREFERRED).error_code == ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE


def test_an_unclean_election_takes_whoever_lives_and_says_so() -> None:
    image = replayed(topic_records("t", partition(1, 2, leader=-1, isr=[1])), cluster(2))
    assert elect(image, UNCLEAN).error_code == 0
    found = image.topics["t"].partitions[0]
    assert (found.leader, found.isr, found.recovering) == (2, (2,), 1)


def reassign(image: MetadataImage, target: list[int] | None) -> Any:
    of = m.AlterPartitionReassignmentsRequest
    request = of(1000, True, [of.ReassignableTopic("t", [of.ReassignablePartition(0, target)])])
    outcome = Reassignments(image, topics_of(image), Decisions(image).policies).alter(request)
    replayed(outcome.records, image)
    return outcome.response.responses[0].partitions[0]


def test_a_move_to_new_brokers_goes_on_until_they_are_in_sync_and_can_be_called_off() -> None:
    image = replayed(topic_records("t", partition(1)), cluster(1, 2))
    assert reassign(image, [2]).error_code == 0
    moving = image.topics["t"].partitions[0]
    assert (moving.replicas, moving.adding, moving.removing, moving.leader) == ((2, 1), (2,), (1,), 1)
    assert reassign(image, None).error_code == 0
    back = image.topics["t"].partitions[0]
    assert (back.replicas, back.adding, back.removing, back.leader) == ((1,), (), (), 1)


def test_a_move_that_adds_nobody_is_done_at_once() -> None:
    image = replayed(topic_records("t", partition(1, 2)), cluster(1, 2))
    assert reassign(image, [2]).error_code == 0
    moved = image.topics["t"].partitions[0]
    assert (moved.replicas, moved.isr, moved.leader, moved.adding, moved.removing) == ((2,), (2,), 2, (), ())
