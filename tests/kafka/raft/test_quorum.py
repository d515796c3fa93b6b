"""One replica of the metadata quorum: what it says, to whom, and what it remembers before it does."""

from typing import Any

import pytest
from replicas import CLUSTER, Replica, address, directory, voter_set

from riverport.base.ids import METADATA_TOPIC_ID
from riverport.kafka.raft.events import (
    Answer,
    Answered,
    Append,
    AppendLeaderChange,
    Committed,
    Effect,
    Failed,
    LostLead,
    Persist,
    ReplicaFetched,
    Requested,
    Resign,
    Send,
    Stored,
    Tick,
    Truncate,
    VotersChanged,
)
from riverport.kafka.raft.requests import (
    LogEnd,
    Standing,
    begin_answer,
    begin_request,
    end_request,
    vote_answer,
    vote_request,
)
from riverport.kafka.raft.state import QuorumState
from riverport.kafka.raft.voters import Endpoint, ReplicaKey
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

_Of = m.FetchResponse


def key(id_: int) -> ReplicaKey:
    return ReplicaKey(id_, directory(id_))


def vote(candidate: int, epoch: int, end: LogEnd, voter: int = 1, *, pre: bool = False) -> m.VoteRequest:
    return vote_request(CLUSTER, epoch, key(candidate), ReplicaKey(voter), end, is_pre_vote=pre)


def asked(replica: Replica, request: Any) -> Any:
    """The partition of the replica's answer."""
    replica.step(Requested(1, request))
    (answer,) = replica.of(Answer)
    return answer.response.topics[0].partitions[0]


def told(replica: Replica, leader: int, epoch: int) -> Any:
    request = begin_request(
        CLUSTER, epoch, leader, ReplicaKey(replica.quorum.own.id), [Endpoint("C", *address(leader))]
    )
    return asked(replica, request)


def fetched(leader: int, epoch: int, error: int = 0, **partition: Any) -> m.FetchResponse:
    data = _Of.PartitionData(
        0,
        error,
        current_leader=_Of.LeaderIdAndEpoch(leader, epoch),
        **{"records": b"", "high_watermark": 0, **partition},
    )
    endpoints = [_Of.NodeEndpoint(leader, *address(leader))] if leader >= 0 else []
    return _Of(responses=[_Of.FetchableTopicResponse("", METADATA_TOPIC_ID, [data])], node_endpoints=endpoints)


def answer_votes(replica: Replica, *granting: int, epoch: int | None = None) -> list[Effect]:
    """Each of these voters grants what it was asked; the effects of the last answer."""
    sent = dict(replica.sent)
    for id_ in granting:
        standing = Standing(replica.quorum.epoch if epoch is None else epoch, -1, None)
        replica.step(Answered(sent[address(id_)].serial, vote_answer(ErrorCode.NONE, standing, True)))
    return replica.effects


def elected(*voters: int, state: QuorumState | None = None, end: LogEnd | None = None) -> Replica:
    """Replica 1 as the leader of its next epoch, by the vote of replica 2."""
    replica = Replica(1, *voters, state=state, end=end)
    replica.start()
    replica.step(Tick(), after_ms=100)
    answer_votes(replica, 2)
    answer_votes(replica, 2)
    assert replica.quorum.role == "leader"
    return replica


def appended(replica: Replica, epoch: int, offset: int) -> None:
    """The log of a replica has grown, and is on its disk."""
    replica.log.end = LogEnd(epoch, offset)
    replica.step(Stored(offset))


# --- a voter alone


def test_a_voter_alone_persists_a_new_epoch_before_it_leads_in_it() -> None:
    replica = Replica(1, 1, state=QuorumState(1, 7, voters=(1,)), end=LogEnd(7, 40))
    assert replica.start() == [Persist(QuorumState(1, 8, voters=(1,))), AppendLeaderChange(8, (1,), (1,))]
    assert (replica.quorum.leader_id, replica.quorum.epoch) == (1, 8)


def test_what_a_voter_alone_has_on_its_disk_is_committed_once() -> None:
    replica = Replica(1, 1)
    replica.start()
    replica.log.end = LogEnd(1, 5)
    assert replica.step(Stored(5)) == [Committed(5)]
    assert replica.step(Stored(5)) == []
    assert replica.quorum.high_watermark == 5


# --- elections


def test_a_start_asks_whether_it_would_be_elected_before_it_begins_an_epoch() -> None:
    replica = Replica(1, 1, 2, 3, state=QuorumState(-1, 4, voters=(1, 2, 3)), end=LogEnd(3, 9))
    assert replica.start() == []
    replica.step(Tick(), after_ms=100)
    assert replica.quorum.role == "prospective"
    assert not replica.of(Persist)
    for id_ in (2, 3):
        question = replica.sent[address(id_)].request.topics[0].partitions[0]
        assert (question.pre_vote, question.replica_epoch) == (True, 4)
        assert (question.last_offset_epoch, question.last_offset) == (3, 9)


def test_a_candidate_persists_its_vote_for_itself_before_it_asks_for_others() -> None:
    replica = Replica(1, 1, 2, 3, state=QuorumState(-1, 4, voters=(1, 2, 3)))
    replica.start()
    replica.step(Tick(), after_ms=100)
    effects = answer_votes(replica, 2)
    assert effects[0] == Persist(QuorumState(-1, 5, 1, voters=(1, 2, 3)))
    assert all(isinstance(effect, Send) for effect in effects[1:])
    assert not replica.sent[address(2)].request.topics[0].partitions[0].pre_vote


def test_a_leader_persists_its_lead_begins_its_epoch_and_tells_the_others() -> None:
    replica = elected(1, 2, 3)
    persisted, change, *sent = replica.effects
    assert persisted == Persist(QuorumState(1, 1, voters=(1, 2, 3)))
    assert change == AppendLeaderChange(1, (1, 2, 3), (1, 2))
    assert [type(send.request) for send in sent] == [m.BeginQuorumEpochRequest] * 2  # type: ignore[union-attr]


def test_a_vote_is_on_the_disk_before_the_candidate_hears_of_it() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    replica.step(Requested(7, vote(2, 1, LogEnd(0, 0))))
    kinds = [type(effect) for effect in replica.effects]
    assert kinds == [Persist, Persist, Answer]  # the epoch, the vote, the word
    assert replica.effects[1] == Persist(QuorumState(-1, 1, 2, voters=(1, 2, 3)))


def test_nobody_gets_a_second_vote_of_an_epoch_not_after_a_restart_either() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    assert asked(replica, vote(2, 1, LogEnd(0, 0))).vote_granted
    assert asked(replica, vote(2, 1, LogEnd(0, 0))).vote_granted
    assert not asked(replica, vote(3, 1, LogEnd(0, 0))).vote_granted
    again = Replica(1, 1, 2, 3, state=QuorumState(-1, 1, 2, voters=(1, 2, 3)))
    again.start()
    assert not asked(again, vote(3, 1, LogEnd(0, 0))).vote_granted
    assert asked(again, vote(2, 1, LogEnd(0, 0))).vote_granted


@pytest.mark.parametrize("leader", [1, 3])
def test_an_epoch_that_has_a_leader_has_no_votes_left(leader: int) -> None:
    replica = Replica(1, 1, 2, 3, state=QuorumState(leader, 4, voters=(1, 2, 3)))
    replica.start()
    assert not asked(replica, vote(2, 4, LogEnd(0, 0))).vote_granted
    assert asked(replica, vote(2, 5, LogEnd(0, 0))).vote_granted


@pytest.mark.parametrize(
    ("end", "granted"), [(LogEnd(3, 9), True), (LogEnd(4, 1), True), (LogEnd(3, 8), False), (LogEnd(2, 99), False)]
)
@pytest.mark.parametrize("pre", [True, False])
def test_only_a_log_that_is_not_behind_is_voted_for(end: LogEnd, granted: bool, pre: bool) -> None:
    replica = Replica(1, 1, 2, 3, end=LogEnd(3, 9))
    replica.start()
    assert asked(replica, vote(2, 5, end, pre=pre)).vote_granted is granted


def test_a_follower_that_hears_of_its_leader_wants_no_other() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    told(replica, 3, 5)
    assert asked(replica, vote(2, 5, LogEnd(0, 0), pre=True)).vote_granted  # it has not heard of it by itself yet
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5)))
    assert not asked(replica, vote(2, 5, LogEnd(0, 0), pre=True)).vote_granted


def replica_fetch(replica: Replica) -> Send:
    """The fetch that is on its way to the leader."""
    for effect in replica.effects:
        if isinstance(effect, Send):
            return effect
    # It was sent in an earlier step: the one that made this replica a follower.
    serial = next(iter(replica.quorum._outbox._in_flight))
    to, request = replica.quorum._outbox._in_flight[serial]
    return Send(serial, to, request)


def test_a_question_of_another_epoch_or_for_another_replica_gets_no_vote() -> None:
    replica = Replica(1, 1, 2, 3, state=QuorumState(-1, 4, voters=(1, 2, 3)))
    replica.start()
    assert asked(replica, vote(2, 3, LogEnd(0, 0))).error_code == ErrorCode.FENCED_LEADER_EPOCH
    assert asked(replica, vote(2, 5, LogEnd(0, 0), voter=3)).error_code == ErrorCode.INVALID_VOTER_KEY
    assert asked(replica, vote(2, 5, LogEnd(5, 0))).error_code == ErrorCode.INVALID_REQUEST
    replica.step(Requested(1, m.VoteRequest("another")))
    assert replica.of(Answer)[0].response.error_code == ErrorCode.INCONSISTENT_CLUSTER_ID


def test_a_lost_election_is_tried_again_after_a_pause_and_with_a_question_first() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    replica.step(Tick(), after_ms=100)
    answer_votes(replica, 2)
    sent = dict(replica.sent)
    for id_ in (2, 3):
        standing = Standing(1, -1, None)
        replica.step(Answered(sent[address(id_)].serial, vote_answer(ErrorCode.NONE, standing, False)))
    assert replica.quorum.role == "candidate"
    replica.step(Tick(), after_ms=max(replica.quorum.deadline_ms - replica.now_ms, 0))
    assert (replica.quorum.role, replica.quorum.epoch) == ("prospective", 1)


def test_a_candidate_whose_other_voters_are_gone_does_not_wait_for_them() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    replica.step(Tick(), after_ms=100)
    answer_votes(replica, 2)
    sent = dict(replica.sent)
    replica.step(Failed(sent[address(3)].serial, refused=True))
    standing = Standing(1, -1, None)
    replica.step(Answered(sent[address(2)].serial, vote_answer(ErrorCode.NONE, standing, False)))
    assert replica.quorum.deadline_ms - replica.now_ms <= 100


# --- following


def test_a_follower_asks_again_only_once_what_it_got_is_on_its_disk() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    told(replica, 3, 5)
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, records=b"x" * 61, high_watermark=0)))
    assert replica.of(Append)
    assert not replica.sent
    replica.log.end = LogEnd(5, 1)
    replica.step(Stored(0))
    assert not replica.sent
    replica.step(Stored(1))
    request = replica.sent[address(3)].request.topics[0].partitions[0]
    assert (request.fetch_offset, request.last_fetched_epoch, request.current_leader_epoch) == (1, 5, 5)


def test_a_diverging_log_is_cut_but_never_what_is_committed() -> None:
    replica = Replica(1, 1, 2, 3, end=LogEnd(4, 20))
    replica.start()
    told(replica, 3, 5)
    replica.step(Stored(20))
    diverging = _Of.EpochEndOffset(2, 17)
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, high_watermark=17)))
    assert replica.of(Committed) == [Committed(17)]
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, diverging_epoch=diverging)))
    assert replica.of(Truncate) == [Truncate(2, 17)]
    replica.log.end = LogEnd(2, 17)
    replica.step(Stored(17))
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, diverging_epoch=_Of.EpochEndOffset(2, 16))))
    assert not replica.of(Truncate)


def test_a_leader_whose_process_is_gone_is_replaced_without_waiting_for_the_fetch_timeout() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    told(replica, 3, 5)
    replica.step(Failed(replica_fetch(replica).serial, refused=True))
    assert replica.quorum.deadline_ms - replica.now_ms < 200
    while replica.quorum.role == "follower":
        replica.step(Tick(), after_ms=max(replica.quorum.deadline_ms - replica.now_ms, 1))
    assert replica.quorum.role == "prospective"
    assert replica.now_ms < 200


def test_a_leader_that_does_not_answer_is_given_the_whole_fetch_timeout() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    told(replica, 3, 5)
    replica.step(Failed(replica_fetch(replica).serial, refused=False))
    replica.step(Tick(), after_ms=1_900)
    assert replica.quorum.role == "follower"
    replica.step(Tick(), after_ms=100)
    assert replica.quorum.role == "prospective"


def test_who_is_named_first_when_a_leader_resigns_begins_its_election_at_once() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    told(replica, 3, 5)
    answer = asked(replica, end_request(CLUSTER, 5, 3, [key(1), key(2)], [Endpoint("C", *address(3))]))
    assert (answer.error_code, replica.quorum.role) == (0, "prospective")
    second = Replica(2, 1, 2, 3)
    second.start()
    told(second, 3, 5)
    asked(second, end_request(CLUSTER, 5, 3, [key(1), key(2)], [Endpoint("C", *address(3))]))
    assert second.quorum.role == "follower"
    assert second.quorum.deadline_ms - second.now_ms <= 1_000


def test_a_greater_epoch_ends_a_lead_and_is_persisted_first() -> None:
    replica = elected(1, 2, 3)
    replica.step(Requested(1, vote(2, 9, LogEnd(0, 0))))
    assert replica.effects[:2] == [LostLead(), Persist(QuorumState(-1, 9, voters=(1, 2, 3)))]
    assert replica.quorum.epoch == 9


# --- leading


def test_a_new_leader_tells_of_no_high_watermark_before_it_has_committed_something_itself() -> None:
    """Apache Kafka's voter ended: "Non-monotonic update of high watermark from 54 to 51"."""
    replica = elected(1, 2, 3, end=LogEnd(1, 51))
    assert replica.quorum.told_high_watermark == -1
    replica.quorum.high_watermark = 51  # as the last leader told it; another follower was told of 54
    start = replica.log.end.offset
    appended(replica, replica.quorum.epoch, start + 1)
    replica.step(ReplicaFetched(key(2), start, 1_000))
    assert replica.quorum.told_high_watermark == -1
    replica.step(ReplicaFetched(key(2), start + 1, 1_000))
    assert replica.quorum.told_high_watermark == start + 1


def test_a_majority_commits_but_not_before_something_of_the_leader_s_own_epoch() -> None:
    replica = elected(1, 2, 3, end=LogEnd(0, 10))
    appended(replica, 1, 11)
    replica.step(ReplicaFetched(key(2), 10, 1_000))
    assert not replica.of(Committed)  # ten records of earlier epochs, and the leader has them, too
    replica.step(ReplicaFetched(key(3), 11, 1_000))
    assert replica.of(Committed) == [Committed(11)]


def test_a_leader_s_own_log_counts_only_as_far_as_it_is_on_the_disk() -> None:
    replica = elected(1, 2, 3)
    replica.log.end = LogEnd(1, 3)
    replica.step(ReplicaFetched(key(2), 3, 1_000))
    assert not replica.of(Committed)
    replica.step(Stored(2))
    assert replica.of(Committed) == [Committed(2)]
    replica.step(ReplicaFetched(key(3), 3, 1_000))
    assert replica.of(Committed) == [Committed(3)]


def test_observers_do_not_count() -> None:
    replica = elected(1, 2, 3)
    appended(replica, 1, 1)
    replica.step(ReplicaFetched(key(9), 1, 1_000))
    assert not replica.of(Committed)
    assert replica.quorum.leading is not None
    assert list(replica.quorum.leading.observers) == [key(9)]


def test_a_leader_without_a_majority_of_fetches_resigns_and_says_so() -> None:
    replica = elected(1, 2, 3)
    replica.step(Tick(), after_ms=2_000)
    replica.step(ReplicaFetched(key(2), 0, 1_000))
    replica.step(Tick(), after_ms=2_900)
    assert replica.quorum.is_leader
    replica.step(Tick(), after_ms=100)
    assert replica.quorum.role == "resigned"
    assert replica.of(LostLead)
    assert {type(send.request) for send in replica.sent.values()} == {m.EndQuorumEpochRequest}


def test_a_leader_that_stops_names_who_is_to_follow_the_longest_log_first() -> None:
    replica = elected(1, 2, 3)
    appended(replica, 1, 5)
    replica.step(ReplicaFetched(key(2), 2, 1_000))
    replica.step(ReplicaFetched(key(3), 4, 1_000))
    replica.step(Resign())
    partition = replica.sent[address(2)].request.topics[0].partitions[0]
    assert partition.preferred_successors == [3, 2]
    sent = dict(replica.sent)
    for id_ in (2, 3):
        answer = m.EndQuorumEpochResponse(0, begin_answer(ErrorCode.NONE, Standing(1, -1, None)).topics)  # type: ignore[arg-type]
        assert replica.quorum.is_resigning
        replica.step(Answered(sent[address(id_)].serial, answer))
    assert not replica.quorum.is_resigning


def test_a_leader_that_was_alone_for_long_gives_its_first_company_time_to_fetch() -> None:
    replica = Replica(1, 1)
    replica.start()
    appended(replica, 1, 1)
    replica.log.end = LogEnd(1, 2)
    replica.history.note(1, voter_set(1, 2, dynamic=True).record())
    replica.step(VotersChanged(), after_ms=1_000_000)
    assert replica.quorum.is_leader
    replica.step(Stored(2), after_ms=2_900)
    assert not replica.of(Committed)
    replica.step(ReplicaFetched(key(2), 2, 1_000))
    assert replica.of(Committed) == [Committed(2)]
    replica.step(Tick(), after_ms=2_900)
    assert replica.quorum.is_leader


def test_a_leader_without_a_vote_resigns_once_that_is_committed() -> None:
    replica = elected(1, 2, 3)
    appended(replica, 1, 1)
    replica.step(ReplicaFetched(key(2), 1, 1_000))
    replica.log.end = LogEnd(1, 2)
    replica.history.note(1, voter_set(2, 3, dynamic=True).record())
    replica.step(VotersChanged())
    replica.step(Stored(2))
    replica.step(ReplicaFetched(key(2), 2, 1_000))
    assert replica.quorum.is_leader  # one of two voters; the leader does not count any more
    replica.step(ReplicaFetched(key(3), 2, 1_000))
    assert [type(effect) for effect in replica.effects[:2]] == [Committed, LostLead]
    assert replica.quorum.role == "resigned"


def test_a_leader_that_alone_has_its_own_removal_is_elected_once_more_to_finish_it() -> None:
    replica = Replica(1, 1, 2, end=LogEnd(4, 9), state=QuorumState(1, 4, data_version=1))
    replica.history.begin(1, voter_set(1, 2, dynamic=True))
    replica.history.note(8, voter_set(2, dynamic=True).record())
    replica.start()
    assert list(replica.sent) == [address(2)]
    while replica.quorum.role == "unattached":
        replica.step(Tick(), after_ms=100)
    assert replica.quorum.role == "prospective"
    answer_votes(replica, 2)
    answer_votes(replica, 2)
    assert replica.quorum.is_leader
    assert replica.of(AppendLeaderChange) == [AppendLeaderChange(5, (2,), (2,))]
    replica.log.end = LogEnd(5, 10)
    replica.step(Stored(10))
    assert not replica.of(Committed)
    replica.step(ReplicaFetched(key(2), 10, 1_000))
    assert [type(effect) for effect in replica.effects[:2]] == [Committed, LostLead]


# --- without a vote


def test_an_observer_asks_around_and_follows_whom_it_is_told_of() -> None:
    replica = Replica(9, 1, 2, 3)
    replica.start()
    (first,) = replica.sent.values()
    assert isinstance(first.request, m.FetchRequest)
    replica.step(Answered(first.serial, fetched(-1, 4, ErrorCode.NOT_LEADER_OR_FOLLOWER)))
    (second,) = replica.sent.values()
    assert second.to != first.to
    replica.step(Answered(second.serial, fetched(3, 5, ErrorCode.NOT_LEADER_OR_FOLLOWER)))
    assert (replica.quorum.role, replica.quorum.leader_id, replica.quorum.epoch) == ("observer", 3, 5)
    assert list(replica.sent) == [address(3)]


def test_an_observer_whose_leader_is_gone_asks_the_others() -> None:
    replica = Replica(9, 1, 2, 3)
    replica.start()
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, ErrorCode.NOT_LEADER_OR_FOLLOWER)))
    replica.step(Failed(replica.sent[address(3)].serial, refused=True))
    assert replica.quorum.leader_id == -1
    assert replica.sent
    assert address(3) not in replica.sent


def test_an_answer_of_an_older_epoch_changes_nothing() -> None:
    replica = Replica(9, 1, 2, 3)
    replica.start()
    replica.step(Answered(replica_fetch(replica).serial, fetched(3, 5, ErrorCode.NOT_LEADER_OR_FOLLOWER)))
    replica.step(Answered(replica_fetch(replica).serial, fetched(2, 4, high_watermark=7)))
    assert replica.quorum.epoch == 5
    assert replica.quorum.high_watermark == 0


def test_an_answer_that_nobody_waits_for_any_more_means_nothing() -> None:
    replica = Replica(1, 1, 2, 3)
    replica.start()
    replica.step(Tick(), after_ms=100)
    late = replica.sent[address(3)].serial
    answer_votes(replica, 2)
    epoch = replica.quorum.epoch
    replica.step(Answered(late, vote_answer(ErrorCode.NONE, Standing(99, -1, None), True)))
    assert replica.quorum.epoch == epoch
