"""A leader and what its followers' fetches do to the high watermark and to who is in sync."""

from dataclasses import replace

import pytest
from tests.kafka.log.kit import DIR, NOW_MS, SMALL, TOPIC_ID, batch, disk_with, open_at

from riverport.kafka.controller.registrations import BrokerRegistration
from riverport.kafka.log import Log, LogConfig
from riverport.kafka.replica.leader import MAX_UNCOMMITTED, Leadership, Proposal, Surroundings
from riverport.kafka.replica.partition import ACKS_ALL, Partition
from riverport.kafka.replica.progress import Contact
from riverport.kafka.wire.errors import ApiError, ErrorCode

LAG_MS = 30_000
EPOCHS = {1: 11, 2: 12, 3: 13}


class Scene:
    """Broker 1 leads; 2 and 3 follow."""

    def __init__(self, isr: tuple[int, ...] = (1, 2, 3), config: LogConfig = SMALL) -> None:
        self.now_ms = 1_000.0
        self.brokers = {
            id_: BrokerRegistration(id_, epoch, bytes(16), (), {}, None, False, False, ())
            for id_, epoch in EPOCHS.items()
        }
        self.log = open_at(disk_with(), DIR, config)
        surroundings = Surroundings(1, LAG_MS, lambda: EPOCHS[1], self.brokers.get)
        self.partition = Partition(1, "t", 0, TOPIC_ID, self.log, self._failed, surroundings)
        self.learn(isr)

    def _failed(self, log: Log, error: Exception) -> None:
        raise AssertionError(f"{log}: {error}")

    @property
    def leadership(self) -> Leadership:
        assert self.partition.leadership is not None
        return self.partition.leadership

    @property
    def high_watermark(self) -> int:
        return self.log.high_watermark

    def learn(self, isr: tuple[int, ...], *, epoch: int = 0, partition_epoch: int | None = None) -> None:
        known = self.partition.partition_epoch
        partition_epoch = known + 1 if partition_epoch is None else partition_epoch
        self.partition.follow_metadata(1, epoch, partition_epoch, (1, 2, 3), isr, self.now_ms)

    def change(self, id_: int, **fields: object) -> None:
        self.brokers[id_] = replace(self.brokers[id_], **fields)  # type: ignore[arg-type]

    def write(self, count: int = 1, acks: int = 1) -> None:
        for _ in range(count):
            self.partition.append(batch(b"v"), acks, NOW_MS)

    def fetch(
        self, id_: int, offset: int, *, epoch: int | None = None, contact: Contact | None = None
    ) -> Proposal | None:
        contact = contact or Contact(self.now_ms)
        contact.fetched_ms = self.now_ms
        follower = self.partition.follower(id_, knows_epoch=True)
        broker_epoch = EPOCHS[id_] if epoch is None else epoch
        return self.leadership.fetched(self.log, follower, offset, 0, broker_epoch, self.now_ms, contact)

    def decide(self, proposal: Proposal) -> None:
        """The controller agrees."""
        isr = [id_ for id_, _ in proposal.isr]
        self.leadership.decided(proposal, proposal.leader_epoch, proposal.partition_epoch + 1, isr)

    def shrink(self) -> Proposal | None:
        return self.leadership.maybe_shrink(self.log, self.now_ms)


# --- high watermark


def test_high_watermark_is_what_every_replica_in_sync_has() -> None:
    scene = Scene()
    scene.write(3)
    assert scene.high_watermark == 0
    scene.fetch(2, 3)
    assert scene.high_watermark == 0
    scene.fetch(3, 1)
    assert scene.high_watermark == 1
    scene.fetch(3, 3)
    assert scene.high_watermark == 3


def test_high_watermark_never_goes_back() -> None:
    scene = Scene()
    scene.write(2)
    scene.fetch(2, 2)
    scene.fetch(3, 2)
    scene.fetch(3, 0)
    assert scene.high_watermark == 2
    scene.learn((1, 2, 3), epoch=1)
    assert scene.high_watermark == 2


def test_leader_that_is_alone_in_sync_commits_at_once() -> None:
    scene = Scene(isr=(1,))
    scene.write(2)
    assert scene.high_watermark == 2
    assert scene.leadership.take_committed(2) == 0


def test_dropping_a_replica_lets_the_high_watermark_go_on() -> None:
    scene = Scene()
    scene.write()
    scene.fetch(2, 1)
    scene.learn((1, 2))  # the controller has fenced broker 3
    scene.change(3, fenced=True)
    scene.fetch(2, 1)
    scene.write()
    scene.fetch(2, 2)
    assert scene.high_watermark == 2


def test_follower_that_may_join_is_waited_for_while_it_keeps_up() -> None:
    scene = Scene(isr=(1,))
    assert scene.fetch(2, 0) is not None  # it is proposed at once, and counts from then on
    scene.write()
    assert scene.high_watermark == 0
    scene.learn((1,))  # another change was made meanwhile, the proposal is void
    assert scene.high_watermark == 0  # but broker 2 was level a moment ago
    scene.now_ms += LAG_MS + 1
    assert scene.shrink() is None
    assert scene.leadership.advance(scene.log)
    assert scene.high_watermark == 1


def test_fenced_follower_holds_nobody_up() -> None:
    scene = Scene(isr=(1,))
    scene.change(2, fenced=True)
    assert scene.fetch(2, 0) is None
    scene.write()
    assert scene.high_watermark == 1


def test_under_the_least_number_in_sync_nothing_is_committed() -> None:
    scene = Scene(isr=(1,), config=replace(SMALL, min_insync_replicas=2))
    scene.write()
    assert scene.high_watermark == 0
    with pytest.raises(ApiError) as refused:
        scene.write(acks=ACKS_ALL)
    assert refused.value.code == ErrorCode.NOT_ENOUGH_REPLICAS
    proposal = scene.fetch(2, 1)
    assert proposal is not None
    assert scene.high_watermark == 0  # it counts only once the controller has agreed
    scene.decide(proposal)
    assert scene.high_watermark == 1


def test_sizes_of_appends_are_told_as_they_are_committed() -> None:
    scene = Scene()
    size = len(batch(b"v"))
    scene.write(MAX_UNCOMMITTED + 10)
    for follower in (2, 3):
        scene.fetch(follower, 2)
    assert scene.leadership.take_committed(scene.high_watermark) == 2 * size
    for follower in (2, 3):
        scene.fetch(follower, MAX_UNCOMMITTED + 10)
    assert scene.leadership.take_committed(scene.high_watermark) == (MAX_UNCOMMITTED + 8) * size


# --- joining


def test_follower_joins_with_the_epoch_that_it_fetched_with() -> None:
    scene = Scene(isr=(1, 2))
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    assert proposal.isr == [(1, EPOCHS[1]), (2, -1), (3, EPOCHS[3])]  # of broker 2 nothing was heard yet
    scene.decide(proposal)
    assert scene.partition.isr == (1, 2, 3)
    assert scene.leadership.pending is None


def test_follower_must_have_what_is_committed_and_reach_the_leader_s_epoch() -> None:
    scene = Scene()
    scene.write(3)
    scene.fetch(2, 2)
    scene.fetch(3, 2)
    assert scene.high_watermark == 2
    scene.learn((1, 2), epoch=1)  # which begins at 3
    assert scene.fetch(3, 1) is None
    assert scene.fetch(3, 2) is None
    assert scene.fetch(3, 3) is not None


@pytest.mark.parametrize("change", [{"fenced": True}, {"in_controlled_shutdown": True}, {"epoch": 99}])
def test_follower_that_the_controller_would_refuse_is_not_proposed(change: dict[str, object]) -> None:
    scene = Scene(isr=(1, 2))
    scene.change(3, **change)
    if "epoch" in change:
        with pytest.raises(ApiError) as refused:  # it was another incarnation that fetched
            scene.fetch(3, 0)
        assert refused.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    else:
        assert scene.fetch(3, 0) is None
    assert scene.fetch(3, 0, epoch=-1) is None or "epoch" in change


def test_one_change_at_a_time() -> None:
    scene = Scene(isr=(1,))
    proposal = scene.fetch(2, 0)
    assert proposal is not None
    assert scene.fetch(3, 0) is None
    scene.decide(proposal)
    following = scene.leadership.maybe_expand(scene.log)
    assert following is not None
    assert [id_ for id_, _ in following.isr] == [1, 2, 3]
    assert following.partition_epoch == proposal.partition_epoch + 1


def test_replica_that_is_about_to_join_counts_already() -> None:
    scene = Scene(isr=(1, 2))
    scene.fetch(2, 0)
    assert scene.fetch(3, 0) is not None
    scene.write()
    scene.fetch(2, 1)
    scene.now_ms += 10 * LAG_MS
    scene.fetch(2, 1)
    assert scene.high_watermark == 0
    scene.fetch(3, 1)
    assert scene.high_watermark == 1


# --- leaving


def test_follower_that_is_late_is_dropped_and_counts_until_that_is_decided() -> None:
    scene = Scene()
    scene.write()
    scene.now_ms += LAG_MS
    scene.fetch(2, 1)
    assert scene.shrink() is None
    scene.now_ms += 1
    proposal = scene.shrink()
    assert proposal is not None
    assert [id_ for id_, _ in proposal.isr] == [1, 2]
    scene.fetch(2, 1)
    assert scene.high_watermark == 0
    assert scene.shrink() is None
    scene.decide(proposal)
    assert scene.high_watermark == 1


def test_follower_that_is_level_stays_however_long_nothing_happens() -> None:
    scene = Scene()
    scene.write()
    scene.fetch(2, 1)
    scene.fetch(3, 1)
    scene.now_ms += 10 * LAG_MS
    assert scene.shrink() is None


def test_silence_of_a_level_follower_in_touch_is_no_lag() -> None:
    """Its session goes on without naming the partition; what is appended then is a moment old, not minutes."""
    scene = Scene()
    sessions = {id_: Contact(scene.now_ms) for id_ in (2, 3)}
    for id_, session in sessions.items():
        scene.fetch(id_, 0, contact=session)
    scene.now_ms += 10 * LAG_MS
    sessions[2].fetched_ms = scene.now_ms  # of broker 3 nothing was heard
    scene.write()
    proposal = scene.shrink()
    assert proposal is not None
    assert [id_ for id_, _ in proposal.isr] == [1, 2]


def test_follower_that_is_always_one_fetch_behind_is_in_sync() -> None:
    scene = Scene()
    for written in range(10):
        scene.write()
        scene.fetch(2, written)
        scene.fetch(3, written)
        scene.now_ms += LAG_MS / 2
        assert scene.shrink() is None


def test_follower_that_falls_back_further_and_further_is_dropped() -> None:
    scene = Scene()
    for written in range(6):
        scene.write(2)
        scene.fetch(2, 2 * written + 2)
        scene.fetch(3, written)
        scene.now_ms += LAG_MS / 2
    proposal = scene.shrink()
    assert proposal is not None
    assert [id_ for id_, _ in proposal.isr] == [1, 2]


def test_replica_in_sync_has_the_whole_lag_time_to_find_a_new_leader() -> None:
    scene = Scene()
    scene.write()
    scene.now_ms += 10 * LAG_MS
    scene.learn((1, 2, 3), epoch=1)
    scene.now_ms += LAG_MS
    assert scene.shrink() is None
    scene.now_ms += 1
    proposal = scene.shrink()
    assert proposal is not None
    assert [id_ for id_, _ in proposal.isr] == [1]


# --- the controller's answer


@pytest.mark.parametrize("code", [ErrorCode.INELIGIBLE_REPLICA, ErrorCode.OPERATION_NOT_ATTEMPTED])
def test_change_that_was_certainly_not_made_may_be_proposed_again(code: ErrorCode) -> None:
    scene = Scene(isr=(1, 2))
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    assert not scene.leadership.refused(proposal, code)
    assert scene.fetch(3, 0) is not None


@pytest.mark.parametrize("code", [ErrorCode.INVALID_UPDATE_VERSION, ErrorCode.FENCED_LEADER_EPOCH])
def test_change_that_may_have_been_made_stays_until_the_metadata_says(code: ErrorCode) -> None:
    scene = Scene(isr=(1, 2))
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    assert not scene.leadership.refused(proposal, code)
    assert scene.fetch(3, 0) is None
    assert scene.leadership.maximal_isr == (1, 2, 3)
    scene.learn((1, 2))
    assert scene.fetch(3, 0) is not None


def test_controller_that_moved_is_asked_again() -> None:
    scene = Scene(isr=(1, 2))
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    assert scene.leadership.refused(proposal, ErrorCode.NOT_CONTROLLER)
    assert scene.leadership.pending is proposal


def test_answer_to_what_newer_metadata_has_settled_is_nothing() -> None:
    scene = Scene(isr=(1, 2))
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    scene.learn((1,))
    scene.decide(proposal)
    assert scene.partition.isr == (1,)
    assert not scene.leadership.refused(proposal, ErrorCode.NOT_CONTROLLER)


def test_metadata_older_than_the_controller_s_answer_is_passed_over() -> None:
    scene = Scene(isr=(1, 2))
    before = scene.partition.partition_epoch
    proposal = scene.fetch(3, 0)
    assert proposal is not None
    scene.decide(proposal)
    scene.learn((1, 2), partition_epoch=before)
    assert scene.partition.isr == (1, 2, 3)


# --- who else


def test_stranger_is_no_follower() -> None:
    scene = Scene()
    with pytest.raises(ApiError) as refused:
        scene.partition.follower(4, knows_epoch=True)
    assert refused.value.code == ErrorCode.UNKNOWN_LEADER_EPOCH
    with pytest.raises(ApiError) as refused:
        scene.partition.follower(4, knows_epoch=False)
    assert refused.value.code == ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_replica_that_comes_with_a_reassignment_starts_from_nothing() -> None:
    scene = Scene(isr=(1,))
    scene.partition.follow_metadata(1, 0, 5, (1,), (1,), scene.now_ms)
    assert scene.partition.leadership is None
    scene.write(2)
    assert scene.high_watermark == 2
    scene.partition.follow_metadata(1, 0, 6, (1, 2), (1,), scene.now_ms)
    scene.write()
    assert scene.high_watermark == 3
    assert scene.fetch(2, 1) is None
    assert scene.fetch(2, 3) is not None


def test_low_watermark_is_the_lowest_start_of_the_living() -> None:
    scene = Scene()
    scene.write(3)
    for follower in (2, 3):
        scene.fetch(follower, 3)
    scene.log.delete_records(2)
    assert scene.partition.low_watermark == 0
    scene.leadership.followers[2].start_offset = 2
    scene.change(3, fenced=True)
    assert scene.partition.low_watermark == 2


def test_metadata_that_tells_what_is_known_leaves_the_next_change_alone() -> None:
    scene = Scene(isr=(1,))
    first = scene.fetch(2, 0)
    assert first is not None
    scene.decide(first)
    second = scene.leadership.maybe_expand(scene.log) or scene.fetch(3, 0)
    assert second is not None
    scene.learn((1, 2), partition_epoch=scene.partition.partition_epoch)
    assert scene.leadership.pending is second
    assert scene.leadership.maximal_isr == (1, 2, 3)
