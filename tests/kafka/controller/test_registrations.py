"""A registration is a value: a record makes another of it, in which all that the record leaves out is as it was."""

from images import broker_record, partition, topic_id

from riverport.kafka.controller.registrations import (
    NO_LEADER,
    changed_broker,
    changed_partition,
    registered_broker,
    registered_partition,
)
from riverport.kafka.wire import messages as m


def test_a_change_of_a_partition_leaves_what_it_does_not_name() -> None:
    before = registered_partition(partition(1, 2))
    shrunk = changed_partition(before, m.PartitionChangeRecord(0, topic_id("t"), isr=[1]))
    assert (shrunk.isr, shrunk.leader, shrunk.leader_epoch, shrunk.partition_epoch) == ((1,), 1, 0, 1)
    orphan = changed_partition(shrunk, m.PartitionChangeRecord(0, topic_id("t"), leader=NO_LEADER))
    assert (orphan.isr, orphan.leader, orphan.leader_epoch, orphan.partition_epoch) == ((1,), NO_LEADER, 1, 2)
    assert (before.isr, orphan.replicas) == ((1, 2), (1, 2))


def test_a_broker_that_is_fenced_and_unfenced_is_replaced_not_changed() -> None:
    held = registered_broker(broker_record(1))
    fenced = changed_broker(held, m.BrokerRegistrationChangeRecord(1, 10, fenced=1))
    assert (held.fenced, fenced.fenced) == (False, True)
    assert changed_broker(fenced, m.BrokerRegistrationChangeRecord(1, 10, fenced=-1)) == held


def test_a_broker_that_leaves_goes_on_leaving_whatever_else_is_said_of_it() -> None:
    leaving = changed_broker(
        registered_broker(broker_record(1)), m.BrokerRegistrationChangeRecord(1, 10, in_controlled_shutdown=1)
    )
    fenced = changed_broker(leaving, m.BrokerRegistrationChangeRecord(1, 10, fenced=1))
    assert (fenced.in_controlled_shutdown, fenced.is_active) == (True, False)
    assert not registered_broker(broker_record(1)).in_controlled_shutdown
