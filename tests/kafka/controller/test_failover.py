"""Brokers and directories come and go: who leads, who is in sync, who could lead."""

from typing import Any

import pytest
from images import Decisions, broker_record, cluster, directory_of, partition, replayed, topic_id, topic_records
from test_decisions import topics_of

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.placement import LOST_DIRECTORY, UNASSIGNED_DIRECTORY
from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode


def three_brokers(*partitions: m.PartitionRecord, level: int = 30, elr: bool = False, **config: str) -> Decisions:
    levels = {"eligible_leader_replicas_version": 1} if elr else {}
    image = replayed(topic_records("t", *partitions), cluster(1, 2, 3, level=level, **levels))
    replayed([m.ConfigRecord(2, "t", key.replace("_", "."), value) for key, value in config.items()], image)
    return Decisions(image)


def found(decide: Decisions, index: int = 0) -> PartitionRegistration:
    return decide.image.topics["t"].partitions[index]


def state(decide: Decisions) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Leader, ISR, ELR of the first partition."""
    of = found(decide)
    return of.leader, of.isr, of.elr


# --- fenced and unfenced


def test_a_fenced_broker_leads_nothing_and_is_in_sync_nowhere() -> None:
    decide = three_brokers(partition(1, 2), partition(2, 3), partition(3, 1))
    decide.fence(1)
    by_index = [(p.leader, p.isr, p.leader_epoch, p.partition_epoch) for _, p in sorted(_partitions(decide).items())]
    assert by_index == [(2, (2,), 1, 1), (2, (2, 3), 0, 0), (3, (3,), 0, 1)]
    assert decide.image.brokers[1].fenced


def _partitions(decide: Decisions) -> dict[int, PartitionRegistration]:
    return decide.image.topics["t"].partitions


def test_levels_before_3_6_end_the_leader_epoch_when_the_isr_shrinks() -> None:
    decide = three_brokers(partition(1, 2), level=11)
    decide.fence(2)
    assert (found(decide).leader, found(decide).leader_epoch, found(decide).isr) == (1, 1, (1,))


def test_the_last_replica_in_sync_waits_in_the_isr_and_leads_when_it_is_back() -> None:
    decide = three_brokers(partition(1, 2))
    decide.fence(1)
    decide.fence(2)
    assert state(decide) == (-1, (2,), ())
    decide.beat(1)
    assert state(decide) == (-1, (2,), ())
    decide.beat(2)
    assert state(decide) == (2, (2,), ())


def test_replicas_that_left_below_min_isr_are_eligible_and_the_last_leader_is_remembered() -> None:
    decide = three_brokers(partition(1, 2, 3), elr=True, min_insync_replicas="2")
    decide.fence(1)
    assert state(decide) == (2, (2, 3), ())
    decide.fence(3)
    assert state(decide) == (2, (2,), (3,))
    decide.fence(2)
    assert state(decide) == (-1, (), (2, 3))
    assert found(decide).last_known_elr == (2,)
    decide.beat(3)
    assert state(decide) == (3, (3,), (2,))
    assert (found(decide).last_known_elr, found(decide).recovering) == ((), 0)


def test_min_isr_is_no_more_than_the_replicas_and_the_cluster_wide_value_counts() -> None:
    decide = three_brokers(partition(1, 2), elr=True)
    replayed([m.ConfigRecord(4, "", "min.insync.replicas", "3")], decide.image)
    assert decide.policies.min_isr(decide.image.topics["t"]) == 2
    replayed([m.ConfigRecord(4, "99", "min.insync.replicas", "1")], decide.image)
    assert decide.policies.min_isr(decide.image.topics["t"]) == 1


def test_a_fenced_incarnation_says_nothing_about_the_next() -> None:
    decide = three_brokers(partition(1, 2))
    assert decide.brokers.fence_incarnation(1, decide.image.brokers[1].epoch - 1).records == []
    decide.fence(1)
    assert decide.brokers.fence_incarnation(1, decide.image.brokers[1].epoch).records == []


# --- registered again


def register(decide: Decisions, id_: int, *, previous_epoch: int) -> None:
    of = m.BrokerRegistrationRequest
    request = of(id_, "c", bytes([id_] * 16), [], [of.Feature("metadata.version", 7, 33)])
    request.features += [of.Feature("eligible.leader.replicas.version", 0, 1)]
    request.log_dirs, request.previous_broker_epoch = [directory_of(id_)], previous_epoch
    decide.write(decide.cluster.register_broker(request, decide.next_offset, lambda _: False))
    decide.heartbeats.end(id_)


def test_a_broker_that_is_back_after_a_clean_stop_is_still_eligible() -> None:
    decide = three_brokers(partition(1, 2), elr=True, min_insync_replicas="2")
    decide.fence(1)
    assert state(decide) == (2, (2,), (1,))
    register(decide, 1, previous_epoch=decide.image.brokers[1].epoch)
    assert state(decide) == (2, (2,), (1,))


def test_a_broker_that_is_back_after_a_crash_is_not_eligible_any_more() -> None:
    decide = three_brokers(partition(1, 2), elr=True, min_insync_replicas="2")
    decide.fence(1)
    register(decide, 1, previous_epoch=-1)
    assert state(decide) == (2, (2,), ())


def test_a_broker_that_crashed_and_is_back_before_its_session_ended_leads_nothing() -> None:
    decide = three_brokers(partition(1, 2), elr=True, min_insync_replicas="2")
    register(decide, 1, previous_epoch=-1)
    assert (state(decide), decide.image.brokers[1].fenced) == ((2, (2,), ()), True)


def test_the_last_leader_leads_again_after_a_crash_and_says_what_that_means() -> None:
    decide = three_brokers(partition(1), elr=True)
    register(decide, 1, previous_epoch=-1)
    assert (state(decide), found(decide).last_known_elr) == ((-1, (), ()), (1,))
    decide.beat(1)
    assert (state(decide), found(decide).recovering) == ((1, (1,), ()), 1)


def test_a_live_broker_is_not_superseded_unless_it_left_its_epoch_behind() -> None:
    decide = three_brokers()
    of = m.BrokerRegistrationRequest
    request = of(1, "c", bytes(16), [], [of.Feature("metadata.version", 7, 33)], log_dirs=[directory_of(1)])
    with pytest.raises(ApiError) as refused:
        decide.cluster.register_broker(request, 2_000, lambda _: True)
    assert refused.value.code is ErrorCode.DUPLICATE_BROKER_REGISTRATION
    request.previous_broker_epoch = decide.image.brokers[1].epoch
    assert decide.cluster.register_broker(request, 2_000, lambda _: True).response.broker_epoch == 2_000


def test_a_directory_belongs_to_one_broker() -> None:
    of = m.BrokerRegistrationRequest
    request = of(4, "c", bytes(16), [], [of.Feature("metadata.version", 7, 33)], log_dirs=[directory_of(1)])
    with pytest.raises(ApiError, match="Broker 1 is already registered with directory"):
        three_brokers().cluster.register_broker(request, 2_000, lambda _: False)


def test_controllers_register_where_there_is_a_record_for_it() -> None:
    request = m.ControllerRegistrationRequest(5, bytes(16))
    decide = three_brokers()
    decide.write(decide.cluster.register_controller(request))
    assert list(decide.image.controllers) == [5]
    with pytest.raises(ApiError) as refused:
        three_brokers(level=14).cluster.register_controller(request)
    assert refused.value.code is ErrorCode.UNSUPPORTED_VERSION


def test_an_unregistered_broker_is_neither_in_sync_nor_eligible() -> None:
    decide = three_brokers(partition(1, 2, 3), elr=True, min_insync_replicas="3")
    decide.fence(3)
    assert state(decide) == (1, (1, 2), (3,))
    decide.write(decide.brokers.unregister(3))
    assert (state(decide), 3 in decide.image.brokers) == ((1, (1, 2), ()), False)


# --- controlled shutdown


def test_a_broker_that_leaves_may_stop_when_the_others_know_who_leads() -> None:
    decide = three_brokers(partition(1, 2))
    decide.beat(2)
    decide.beat(3)
    assert not decide.beat(1, want_shut_down=True).should_shut_down
    assert (state(decide), decide.image.brokers[1].in_controlled_shutdown) == ((2, (2,), ()), True)
    assert not decide.beat(1, want_shut_down=True).should_shut_down
    decide.beat(2)
    assert not decide.beat(1, want_shut_down=True).should_shut_down
    decide.beat(3)
    answer = decide.beat(1, want_shut_down=True)
    assert (answer.should_shut_down, answer.is_fenced, decide.image.brokers[1].fenced) == (True, True, True)


def test_a_broker_that_leads_nothing_may_stop_at_once() -> None:
    decide = three_brokers(partition(2, 1))
    assert decide.beat(1, want_shut_down=True).should_shut_down
    assert state(decide) == (2, (2,), ())


def test_a_broker_that_is_fenced_while_it_leaves_may_stop_at_once() -> None:
    decide = three_brokers(partition(1, 2))
    decide.beat(1, want_shut_down=True)
    decide.fence(1)
    assert decide.beat(1, want_shut_down=True).should_shut_down


def test_a_broker_that_leaves_gets_no_new_partitions() -> None:
    decide = three_brokers(partition(1, 2))
    decide.beat(1, want_shut_down=True)
    assert all(1 not in replicas for replicas in topics_of(decide.image).place(10, 2))
    with pytest.raises(ApiError, match="only 2 broker"):
        topics_of(decide.image).place(1, 3)


# --- AlterPartition


def alter(decide: Decisions, leader: int, isr: list[int], **asked: Any) -> m.AlterPartitionResponse.PartitionData:
    of, now = m.AlterPartitionRequest, found(decide)
    epochs = asked.pop("epochs", {id_: decide.image.brokers[id_].epoch for id_ in isr if id_ in decide.image.brokers})
    entry = of.PartitionData(asked.pop("index", 0), now.leader_epoch)
    entry.new_isr_with_epochs = [of.BrokerState(id_, epochs.get(id_, -1)) for id_ in isr]
    entry.partition_epoch = now.partition_epoch
    topic = asked.pop("topic", topic_id("t"))
    for name, value in asked.items():
        setattr(entry, name, value)
    request = of(leader, decide.image.brokers[leader].epoch, [of.TopicData(topic, [entry])])
    answer = decide.write(decide.isr_changes.alter(request))
    return answer.topics[0].partitions[0]


def test_a_leader_shrinks_and_expands_its_isr() -> None:
    decide = three_brokers(partition(1, 2, 3))
    answer = alter(decide, 1, [1, 3])
    assert (answer.error_code, answer.isr, answer.leader_epoch, answer.partition_epoch) == (0, [1, 3], 0, 1)
    assert state(decide) == (1, (1, 3), ())
    assert alter(decide, 1, [1, 2, 3]).partition_epoch == 2
    assert found(decide).isr == (1, 2, 3)
    same = alter(decide, 1, [1, 2, 3])
    assert (same.error_code, same.partition_epoch) == (0, 2)


def test_the_isr_that_is_back_above_its_minimum_needs_no_eligible_replicas() -> None:
    decide = three_brokers(partition(1, 2, 3), elr=True, min_insync_replicas="2")
    alter(decide, 1, [1])
    assert state(decide) == (1, (1,), (2, 3))
    alter(decide, 1, [1, 3])
    assert state(decide) == (1, (1, 3), ())


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"topic": bytes(16)}, ErrorCode.UNKNOWN_TOPIC_ID),
        ({"index": 7}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ({"leader_epoch": 6}, ErrorCode.NOT_CONTROLLER),
        ({"leader_epoch": 4}, ErrorCode.FENCED_LEADER_EPOCH),
        ({"partition_epoch": 10}, ErrorCode.NOT_CONTROLLER),
        ({"partition_epoch": 8}, ErrorCode.INVALID_UPDATE_VERSION),
        ({"leader": 2}, ErrorCode.INVALID_REQUEST),
        ({"isr": [1, 9]}, ErrorCode.INVALID_REQUEST),
        ({"isr": [1, 1]}, ErrorCode.INVALID_REQUEST),
        ({"isr": [2, 3]}, ErrorCode.INVALID_REQUEST),
        ({"leader_recovery_state": 1}, ErrorCode.INVALID_REQUEST),
        ({"isr": [1, 3], "epochs": {1: 10, 3: 29}}, ErrorCode.INELIGIBLE_REPLICA),
    ],
)
def test_an_isr_that_a_leader_cannot_know_to_be_right_is_refused(asked: dict[str, Any], code: ErrorCode) -> None:
    decide = three_brokers(partition(1, 2, 3, leader_epoch=5, partition_epoch=9))
    before = found(decide)
    assert alter(decide, asked.pop("leader", 1), asked.pop("isr", [1, 2]), **asked).error_code == code
    assert found(decide) == before


def test_a_replica_that_is_fenced_or_leaves_does_not_join_the_isr() -> None:
    decide = three_brokers(partition(1, 2, 3))
    decide.fence(2)
    assert alter(decide, 1, [1, 2, 3]).error_code == ErrorCode.INELIGIBLE_REPLICA
    replayed([m.BrokerRegistrationChangeRecord(3, 30, 0, 1)], decide.image)
    assert alter(decide, 1, [1, 3]).error_code == ErrorCode.INELIGIBLE_REPLICA


def test_ids_without_epochs_will_do_in_the_old_version() -> None:
    decide = three_brokers(partition(1, 2, 3))
    of = m.AlterPartitionRequest
    request = of(1, 10, [of.TopicData(topic_id("t"), [of.PartitionData(0, 0, [1, 2])])])
    assert decide.write(decide.isr_changes.alter(request)).topics[0].partitions[0].isr == [1, 2]


def test_a_leader_says_that_it_has_recovered() -> None:
    decide = three_brokers(partition(1, 2, isr=[1], leader_recovery_state=1))
    assert alter(decide, 1, [1, 2], leader_recovery_state=1).error_code == ErrorCode.INVALID_REQUEST
    answer = alter(decide, 1, [1], leader_recovery_state=0)
    assert (answer.error_code, answer.leader_recovery_state, found(decide).recovering) == (0, 0, 0)


def test_a_move_is_complete_when_its_target_is_in_sync() -> None:
    moving = partition(3, 2, 1, isr=[1, 2], leader=1, adding_replicas=[3], removing_replicas=[1])
    decide = three_brokers(moving)
    answer = alter(decide, 1, [1, 2, 3])
    assert answer.error_code == ErrorCode.NEW_LEADER_ELECTED
    done = found(decide)
    assert (done.replicas, done.adding, done.removing, done.leader) == ((3, 2), (), (), 3)
    assert (done.isr, done.leader_epoch, done.directories) == ((2, 3), 1, (directory_of(3), directory_of(2)))


def test_a_move_that_takes_a_follower_away_begins_a_leader_epoch() -> None:
    decide = three_brokers(partition(1, 3, 2, isr=[1, 2], adding_replicas=[3], removing_replicas=[2]))
    answer = alter(decide, 1, [1, 2, 3])
    assert (answer.error_code, answer.leader_id, answer.leader_epoch, answer.isr) == (0, 1, 1, [1, 3])
    assert found(decide).replicas == (1, 3)


# --- directories


def test_partitions_of_a_lost_directory_are_led_elsewhere() -> None:
    other = b"other directory!"
    image = replayed(
        topic_records("t", partition(1, 2), partition(1, 2, directories=[other, directory_of(2)])), cluster(2, 3)
    )
    replayed([broker_record(1, log_dirs=[directory_of(1), other])], image)
    decide = Decisions(image)
    decide.beat(1, offline_log_dirs=[other])
    assert (found(decide, 0).leader, found(decide, 1).leader, found(decide, 1).isr) == (1, 2, (2,))
    assert (image.brokers[1].log_dirs, image.brokers[1].fenced) == ((directory_of(1),), False)
    assert decide.heartbeat(m.BrokerHeartbeatRequest(1, 10, 99_999, offline_log_dirs=[other])).records == []


def test_a_broker_with_a_lost_directory_is_unfenced_when_that_is_known() -> None:
    other = b"other directory!"
    image = replayed(topic_records("t", partition(1, leader=-1, directories=[other])), cluster(2))
    replayed([broker_record(1, log_dirs=[directory_of(1), other], fenced=True)], image)
    decide = Decisions(image)
    assert decide.beat(1, offline_log_dirs=[other]).is_fenced
    assert not decide.beat(1, offline_log_dirs=[other]).is_fenced
    assert found(decide).leader == -1


def assign(decide: Decisions, broker: int, directory: bytes, index: int = 0, topic: bytes | None = None) -> int:
    of = m.AssignReplicasToDirsRequest
    asked = of.TopicData(topic or topic_id("t"), [of.PartitionData(index)])
    request = of(broker, decide.image.brokers[broker].epoch, [of.DirectoryData(directory, [asked])])
    answer = decide.write(decide.directories.assign(request))
    return int(answer.directories[0].topics[0].partitions[0].error_code)


def test_a_broker_tells_which_directory_it_took() -> None:
    decide = three_brokers(partition(1, 2, directories=[UNASSIGNED_DIRECTORY, directory_of(2)]))
    assert assign(decide, 1, directory_of(1)) == 0
    assert (found(decide).directories, found(decide).leader_epoch) == ((directory_of(1), directory_of(2)), 0)


def test_a_replica_in_a_lost_directory_does_not_lead() -> None:
    decide = three_brokers(partition(1, 2))
    assert assign(decide, 1, LOST_DIRECTORY) == 0
    assert (state(decide), found(decide).directories[0]) == ((2, (2,), ()), LOST_DIRECTORY)


def test_a_directory_of_what_the_broker_does_not_have_is_refused() -> None:
    decide = three_brokers(partition(1, 2))
    assert assign(decide, 1, directory_of(1), topic=bytes(16)) == ErrorCode.UNKNOWN_TOPIC_ID
    assert assign(decide, 1, directory_of(1), index=5) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert assign(decide, 3, directory_of(3)) == ErrorCode.NOT_LEADER_OR_FOLLOWER
    with pytest.raises(ApiError) as refused:
        assign(three_brokers(partition(1), level=16), 1, directory_of(1))
    assert refused.value.code is ErrorCode.UNSUPPORTED_VERSION


# --- elections that nobody asked for


def test_preferred_replicas_lead_again_once_they_are_in_sync() -> None:
    decide = three_brokers(partition(1, 2, leader=2), partition(1, 2, leader=2, isr=[2]), partition(1, 2))
    assert decide.write(decide.elections.balance()) is False
    assert [p.leader for p in _partitions(decide).values()] == [1, 2, 1]


def test_unclean_elections_happen_where_the_topic_allows_them() -> None:
    decide = three_brokers(partition(1, 2), unclean_leader_election_enable="false")
    decide.fence(2)
    decide.fence(1)
    decide.beat(2)
    decide.write(decide.elections.revive())
    assert state(decide) == (-1, (1,), ())
    replayed([m.ConfigRecord(2, "t", "unclean.leader.election.enable", "true")], decide.image)
    decide.write(decide.elections.revive())
    assert (state(decide), found(decide).recovering) == ((2, (2,), ()), 1)


def test_elections_come_in_lots() -> None:
    decide = three_brokers(*(partition(1, 2, leader=2) for _ in range(1_001)))
    assert decide.write(decide.elections.balance()) is True
    assert len(decide.image.memberships.imbalanced) == 1
    assert decide.write(decide.elections.balance()) is False
    assert not decide.image.memberships.imbalanced


def test_an_image_that_stays_as_it_is_keeps_an_index_of_its_own() -> None:
    decide = three_brokers(partition(1, 2))
    kept: MetadataImage = decide.image.copy()
    decide.fence(1)
    assert (kept.memberships.in_isr(1), decide.image.memberships.in_isr(1)) == ([(topic_id("t"), 0)], [])
