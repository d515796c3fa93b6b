"""Whatever comes in whatever order, what is true of partitions stays true: a model of a small cluster."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from images import Decisions, broker_record, cluster, directory_of, partition, replayed, topic_id, topic_records
from test_decisions import topics_of

from riverport.kafka.controller.memberships import Memberships
from riverport.kafka.controller.placement import is_online
from riverport.kafka.controller.reassignments import Reassignments
from riverport.kafka.controller.registrations import PartitionRegistration
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

BROKERS = (1, 2, 3, 4)
_brokers = st.sampled_from(BROKERS)
_indexes = st.integers(0, 2)
_replicas = st.lists(_brokers, min_size=1, max_size=3, unique=True)


class Partitions(RuleBasedStateMachine):
    """Four brokers, one topic of three partitions, with and without ELR and unclean elections."""

    elr = False
    unclean = False

    def __init__(self) -> None:
        super().__init__()
        image = cluster(level=30, **({"eligible_leader_replicas_version": 1} if self.elr else {}))
        spare = [bytes([200 + id_] * 16) for id_ in BROKERS]
        brokers = [broker_record(id_, log_dirs=[directory_of(id_), spare[id_ - 1]]) for id_ in BROKERS]
        topic = topic_records("t", partition(1, 2, 3), partition(2, 3, 4), partition(4, 1))
        replayed([*brokers, *topic, m.ConfigRecord(2, "t", "min.insync.replicas", "2")], image)
        self.decide = Decisions(image, **{"unclean.leader.election.enable": self.unclean})
        self.reassignments = Reassignments(image, topics_of(image), self.decide.policies)
        self.seen: dict[int, PartitionRegistration] = dict(image.topics["t"].partitions)

    def partition(self, index: int) -> PartitionRegistration:
        return self.decide.image.topics["t"].partitions[index]

    @rule(broker=_brokers)
    def its_session_ends(self, broker: int) -> None:
        self.decide.fence(broker)

    @rule(broker=_brokers)
    def it_sends_a_heartbeat(self, broker: int) -> None:
        self.decide.beat(broker)

    @rule(broker=_brokers)
    def it_wants_to_stop(self, broker: int) -> None:
        self.decide.beat(broker, want_shut_down=True)

    @rule(broker=_brokers, clean=st.booleans())
    def it_is_started_again(self, broker: int, clean: bool) -> None:
        decide, known = self.decide, self.decide.image.brokers[broker]
        of = m.BrokerRegistrationRequest
        features = [of.Feature("metadata.version", 7, 33), of.Feature("eligible.leader.replicas.version", 0, 1)]
        incarnation = decide.next_offset.to_bytes(16, "big")
        request = of(broker, "c", incarnation, [], features, log_dirs=list(known.log_dirs))
        request.previous_broker_epoch = known.epoch if clean else -1
        before = {i: p.isr for i, p in decide.image.topics["t"].partitions.items()}
        decide.write(decide.cluster.register_broker(request, decide.next_offset, lambda _: False))
        decide.heartbeats.end(broker)
        for index in before:
            now = self.partition(index)
            assert broker != now.leader
            if self.elr and not clean:
                assert broker not in (*now.isr, *now.elr), "it may lack what it had acknowledged"

    @rule(broker=_brokers)
    def it_loses_a_directory(self, broker: int) -> None:
        dirs = self.decide.image.brokers[broker].log_dirs
        if len(dirs) > 1:
            self.decide.beat(broker, offline_log_dirs=[dirs[-1]])

    @rule(broker=_brokers, index=_indexes, lost=st.booleans())
    def it_tells_a_directory(self, broker: int, index: int, lost: bool) -> None:
        of, node = m.AssignReplicasToDirsRequest, self.decide.image.brokers[broker]
        directory = bytes(15) + b"\x02" if lost else node.log_dirs[-1]
        asked = of.DirectoryData(directory, [of.TopicData(topic_id("t"), [of.PartitionData(index)])])
        self.decide.write(self.decide.directories.assign(of(broker, node.epoch, [asked])))

    @rule(index=_indexes, isr=_replicas, recovered=st.booleans(), stale=st.booleans())
    def its_leader_tells_an_isr(self, index: int, isr: list[int], recovered: bool, stale: bool) -> None:
        before = self.partition(index)
        if before.leader == -1:
            return
        answer = self._alter(index, sorted({before.leader, *isr}), 0 if recovered else before.recovering, stale)
        if answer.error_code not in (0, ErrorCode.NEW_LEADER_ELECTED):
            assert self.partition(index) == before
        elif answer.error_code == 0:
            after = self.partition(index)
            told = (answer.leader_id, answer.leader_epoch, answer.partition_epoch, tuple(answer.isr))
            assert told == (after.leader, after.leader_epoch, after.partition_epoch, after.isr)
        assert not (stale and answer.error_code == 0)

    def _alter(self, index: int, isr: list[int], recovery: int, stale: bool) -> Any:
        of, before, brokers = m.AlterPartitionRequest, self.partition(index), self.decide.image.brokers
        entry = of.PartitionData(index, before.leader_epoch, leader_recovery_state=recovery)
        entry.new_isr_with_epochs = [of.BrokerState(id_, brokers[id_].epoch) for id_ in isr]
        entry.partition_epoch = before.partition_epoch - stale
        request = of(before.leader, brokers[before.leader].epoch, [of.TopicData(topic_id("t"), [entry])])
        return self.decide.write(self.decide.isr_changes.alter(request)).topics[0].partitions[0]

    @rule(index=_indexes, replicas=st.none() | _replicas)
    def it_is_to_move(self, index: int, replicas: list[int] | None) -> None:
        of = m.AlterPartitionReassignmentsRequest
        request = of(1000, True, [of.ReassignableTopic("t", [of.ReassignablePartition(index, replicas)])])
        self.decide.write(self.reassignments.alter(request))

    @rule(kind=st.integers(0, 1))
    def somebody_asks_for_elections(self, kind: int) -> None:
        self.decide.write(self.decide.elections.elect(m.ElectLeadersRequest(kind, None)))

    @rule()
    def leaders_are_brought_back(self) -> None:
        self.decide.write(self.decide.elections.balance())
        self.decide.write(self.decide.elections.revive())

    @precondition(lambda self: self.elr)
    @rule()
    def min_isr_changes(self) -> None:
        self.decide.replay([m.ClearElrRecord("t")])

    # --- what is always true

    @invariant()
    def a_leader_is_in_sync_and_alive(self) -> None:
        for index in range(3):
            found = self.partition(index)
            if found.leader != -1:
                node = self.decide.image.brokers[found.leader]
                assert found.leader in found.isr
                assert node.is_active
                assert is_online(node, found.directories[found.replicas.index(found.leader)])

    @invariant()
    def members_are_replicas_and_in_one_role_only(self) -> None:
        for index in range(3):
            found = self.partition(index)
            assert len(set(found.replicas)) == len(found.replicas) == len(found.directories)
            assert {*found.isr, *found.elr} <= set(found.replicas)
            assert not set(found.isr) & set(found.elr)
            assert {*found.adding, *found.removing} <= set(found.replicas)
            if self.elr:
                assert (
                    len(found.isr) < 2
                    or not found.elr
                    or len(found.isr) < self.decide.policies.min_isr(self.decide.image.topics["t"])
                )
            else:
                assert found.isr
                assert not found.elr

    @invariant()
    def who_is_in_sync_is_alive_unless_nobody_is(self) -> None:
        for index in range(3):
            found = self.partition(index)
            assert found.leader == -1 or all(self.decide.image.brokers[id_].is_active for id_ in found.isr)

    @invariant()
    def epochs_only_grow(self) -> None:
        for index, before in self.seen.items():
            found = self.partition(index)
            assert found.partition_epoch >= before.partition_epoch
            assert found.leader_epoch >= before.leader_epoch
            assert found.leader_epoch > before.leader_epoch or found.leader == before.leader
            self.seen[index] = found

    @invariant()
    def the_index_says_what_the_image_says(self) -> None:
        known, made = self.decide.image.memberships, Memberships(self.decide.image.topics.values())
        for broker in BROKERS:
            assert sorted(known.in_isr(broker)) == sorted(made.in_isr(broker))
            assert sorted(known.in_elr(broker)) == sorted(made.in_elr(broker))
        assert (set(known.leaderless), set(known.imbalanced)) == (set(made.leaderless), set(made.imbalanced))


class PartitionsWithElr(Partitions):
    elr = True


class PartitionsOfThoseWhoTakeRisks(Partitions):
    elr = True
    unclean = True


TestPartitions = Partitions.TestCase
TestPartitionsWithElr = PartitionsWithElr.TestCase
TestPartitionsOfThoseWhoTakeRisks = PartitionsOfThoseWhoTakeRisks.TestCase
TestPartitions.settings = TestPartitionsWithElr.settings = TestPartitionsOfThoseWhoTakeRisks.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
