"""Whatever followers fetch and the controller decides, what is committed is in every replica in sync.

A follower's log is as long as its highest fetch says. The controller knows the committed in-sync replicas; the leader
hears of them by answers, which may be lost, and by metadata, which may be late.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.kafka.replica.test_leader import EPOCHS, LAG_MS, Scene

from riverport.kafka.replica.leader import Proposal
from riverport.kafka.wire.errors import ErrorCode

FOLLOWERS = (2, 3)


class Leading(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.has = dict.fromkeys(FOLLOWERS, 0)  # the end of each follower's log
        self.isr: tuple[int, ...] = (1, 2, 3)  # as the controller has it
        self.partition_epoch = self.scene.partition.partition_epoch
        self.leader_epoch = 0
        self.proposed: list[Proposal] = []
        self.committed = 0

    # --- what happens

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        self.scene.write(count)

    @rule(id_=st.sampled_from(FOLLOWERS), count=st.integers(0, 4))
    def fetch(self, id_: int, count: int) -> None:
        """A follower has appended some more, and says so."""
        self.has[id_] = min(self.has[id_] + count, self.scene.log.log_end_offset)
        self._note(self.scene.fetch(id_, self.has[id_]))

    @rule(ms=st.sampled_from((1, LAG_MS // 2, LAG_MS + 1)))
    def pass_time(self, ms: int) -> None:
        self.scene.now_ms += ms
        self._note(self.scene.shrink())
        self.scene.leadership.advance(self.scene.log)

    @rule(id_=st.sampled_from(FOLLOWERS), fenced=st.booleans())
    def fence(self, id_: int, fenced: bool) -> None:
        """The controller takes a fenced broker out of sync; the leader hears of both."""
        self.scene.change(id_, fenced=fenced)
        if fenced and id_ in self.isr:
            self._commit(tuple(other for other in self.isr if other != id_))
            self._tell()

    def _note(self, proposal: Proposal | None) -> None:
        if proposal is not None:
            self.proposed.append(proposal)

    def _commit(self, isr: tuple[int, ...]) -> None:
        self.isr = isr
        self.partition_epoch += 1

    # --- what the controller makes of proposals

    @precondition(lambda self: self.proposed)
    @rule(answers=st.booleans())
    def decide(self, answers: bool) -> None:
        proposal = self.proposed.pop(0)
        leadership = self.scene.leadership
        current = (proposal.leader_epoch, proposal.partition_epoch) == (self.leader_epoch, self.partition_epoch)
        if not current:
            leadership.refused(proposal, ErrorCode.INVALID_UPDATE_VERSION)
            return
        brokers = self.scene.brokers
        if any(brokers[id_].fenced or epoch not in (-1, EPOCHS[id_]) for id_, epoch in proposal.isr):
            leadership.refused(proposal, ErrorCode.INELIGIBLE_REPLICA)
            return
        self._commit(tuple(id_ for id_, _ in proposal.isr))
        if answers:
            leadership.decided(proposal, self.leader_epoch, self.partition_epoch, self.isr)

    @rule()
    def read_metadata(self) -> None:
        self._tell()

    @rule()
    def elect_again(self) -> None:
        self.leader_epoch += 1
        self.partition_epoch += 1
        self._tell()

    def _tell(self) -> None:
        self.scene.learn(self.isr, epoch=self.leader_epoch, partition_epoch=self.partition_epoch)

    # --- what always holds

    @invariant()
    def every_replica_in_sync_has_what_is_committed(self) -> None:
        mark = self.scene.high_watermark
        for id_ in self.isr:
            assert id_ == 1 or self.has[id_] >= mark, (id_, self.has, mark, self.isr)

    @invariant()
    def high_watermark_is_monotonic_and_in_the_log(self) -> None:
        assert self.committed <= self.scene.high_watermark <= self.scene.log.log_end_offset
        self.committed = self.scene.high_watermark

    @invariant()
    def leader_is_in_sync_with_itself(self) -> None:
        assert 1 in self.scene.partition.isr
        assert 1 in self.scene.leadership.maximal_isr

    def teardown(self) -> None:
        """Everybody recovers: everything is committed, and everybody in sync."""
        scene = self.scene
        for id_ in FOLLOWERS:
            scene.change(id_, fenced=False)
        while self.proposed:
            self.decide(True)
        self._tell()
        for _ in range(4):
            for id_ in FOLLOWERS:
                self.has[id_] = scene.log.log_end_offset
                self._note(scene.fetch(id_, self.has[id_]))
            if (proposal := scene.leadership.maybe_expand(scene.log)) is not None:
                self.proposed.append(proposal)
            while self.proposed:
                self.decide(True)
        assert scene.high_watermark == scene.log.log_end_offset
        assert sorted(scene.partition.isr) == [1, 2, 3]


TestLeading = Leading.TestCase
TestLeading.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
