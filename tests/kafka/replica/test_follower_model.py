"""Whatever leaders come and go, a follower's log becomes its leader's.

Leaders are elected without regard to what they have; answers are lost, or come after the next election; nodes are
killed; logs lose their beginning. At any time two logs that have the same batch of the same epoch agree on everything
before it, and once the leader stays, everybody's log is the leader's.
"""

from itertools import count, pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.kafka.log.kit import reopened
from tests.kafka.replica.pair import LIMITS, Leader, batches, catch_up, log_of, perform, replica, write

from riverport.kafka.replica import follower
from riverport.kafka.replica.fetcher import Asked, Fetcher
from riverport.kafka.replica.partition import Partition

BROKERS = (1, 2, 3)
PARTITIONS = (0, 1)


class Replication(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.replicas: dict[int, list[Partition]] = {id_: [replica(id_, n) for n in PARTITIONS] for id_ in BROKERS}
        self.leaders = [1 for _ in PARTITIONS]
        self.epoch = 0
        self.now_ms = 0.0
        self.value = count()
        self.fetchers: dict[tuple[int, int], Fetcher] = {}  # (follower, leader)
        self.servers: dict[tuple[int, int], Leader] = {}
        self.on_their_way: dict[tuple[int, int], list[tuple[Asked, object]]] = {}
        for index in PARTITIONS:
            self._elect(index, 1)

    # --- what happens

    @rule(index=st.sampled_from(PARTITIONS), leader_id=st.sampled_from(BROKERS))
    def elect(self, index: int, leader_id: int) -> None:
        self._elect(index, leader_id)

    def _elect(self, index: int, leader_id: int) -> None:
        self.epoch += 1
        self.leaders[index] = leader_id
        for id_ in BROKERS:
            self._learn(id_, index)

    def _learn(self, id_: int, index: int) -> None:
        partition, leader_id = self.replicas[id_][index], self.leaders[index]
        partition.leader_id, partition.leader_epoch = leader_id, self.epoch
        for (follower_id, _), fetcher in self.fetchers.items():
            if follower_id == id_:
                fetcher.unfollow(partition)
        if partition.is_leader:
            log_of(partition).start_leader_epoch(self.epoch)
        else:
            follower.begin(partition, 0)
            self._fetcher(id_, leader_id).follow(partition)

    def _fetcher(self, follower_id: int, leader_id: int) -> Fetcher:
        key = (follower_id, leader_id)
        if key not in self.fetchers:
            self.fetchers[key] = Fetcher(follower_id, LIMITS)
            self.servers[key] = Leader(*self.replicas[leader_id])
            self.on_their_way[key] = []
        return self.fetchers[key]

    @rule(index=st.sampled_from(PARTITIONS), batches=st.integers(1, 8))
    def produce(self, index: int, batches: int) -> None:
        leader = self.replicas[self.leaders[index]][index]
        write(leader, *(b"%d" % next(self.value) for _ in range(batches)))

    @rule(index=st.sampled_from(PARTITIONS), share=st.floats(0, 1))
    def commit_and_delete(self, index: int, share: float) -> None:
        log = log_of(self.replicas[self.leaders[index]][index])
        log.update_high_watermark(log.log_end_offset)
        log.delete_records(log.log_start_offset + int((log.high_watermark - log.log_start_offset) * share))

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.fetchers)))
        self.now_ms += 100
        asked = self.fetchers[key].next_request(self.now_ms, 7)
        if asked is not None:
            self.on_their_way[key].append((asked, self.servers[key].answer(asked.message)))

    @precondition(lambda self: any(self.on_their_way.values()))
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, waiting in self.on_their_way.items() if waiting)))
        asked, answer = self.on_their_way[key].pop(0)
        perform(self.fetchers[key].answered(asked, answer, self.now_ms))

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.fetchers)))
        self.on_their_way[key].clear()
        self.fetchers[key].disconnected()

    @rule(id_=st.sampled_from(BROKERS), clean=st.booleans())
    def restart(self, id_: int, clean: bool) -> None:
        """Its process dies; nobody else is elected meanwhile."""
        for key in [key for key in self.fetchers if id_ in key]:
            self.on_their_way[key].clear()
            self.fetchers[key].disconnected()
            if key[0] == id_:
                del self.fetchers[key]
        for index in PARTITIONS:
            partition = self.replicas[id_][index]
            partition.log = reopened(log_of(partition), clean=clean)
            if self.leaders[index] == id_:
                log_of(partition).start_leader_epoch(partition.leader_epoch)
            else:
                self._fetcher(id_, self.leaders[index]).follow(partition)

    # --- what holds

    @invariant()
    def logs_with_a_common_batch_agree_up_to_it(self) -> None:
        for index in PARTITIONS:
            logs = [log_of(self.replicas[id_][index]) for id_ in BROKERS]
            for log in logs:
                assert log.log_start_offset <= log.high_watermark <= log.log_end_offset
            for one, other in pairwise(logs):
                start = max(one.log_start_offset, other.log_start_offset)
                mine, theirs = batches(one, start), batches(other, start)
                common = max(
                    (n for n, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] == pair[1]), default=-1
                )
                assert mine[: common + 1] == theirs[: common + 1]

    def teardown(self) -> None:
        for key, fetcher in self.fetchers.items():
            fetcher.disconnected()
            if len(fetcher):
                catch_up(fetcher, self.servers[key])
        for index in PARTITIONS:
            leader = log_of(self.replicas[self.leaders[index]][index])
            for id_ in BROKERS:
                own = log_of(self.replicas[id_][index])
                assert own.log_end_offset == leader.log_end_offset
                start = max(own.log_start_offset, leader.log_start_offset)
                assert batches(own, start) == batches(leader, start)


TestReplication = Replication.TestCase
TestReplication.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
