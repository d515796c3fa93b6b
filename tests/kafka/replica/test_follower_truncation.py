"""A follower finds where its log leaves its leader's, and goes on from there."""

from tests.kafka.log.kit import NOW_MS, batch
from tests.kafka.replica.pair import (
    Leader,
    batches,
    catch_up,
    exchange,
    fetcher_of,
    led_by,
    log_of,
    replica,
    write,
)

from riverport.kafka.replica.divergence import truncation_point
from riverport.kafka.replica.fetcher import StartAt, Truncate
from riverport.kafka.replica.partition import Partition


def pair(*, epoch: int = 1) -> tuple[Partition, Partition]:
    """Broker 1 leads, broker 2 follows."""
    leader, own = replica(1), replica(2)
    led_by(leader, 1, epoch)
    led_by(own, 1, epoch)
    return leader, own


def level(leader: Partition, own: Partition) -> None:
    catch_up(fetcher_of(own), Leader(leader))
    assert batches(log_of(own)) == batches(log_of(leader))


def test_an_empty_follower_takes_everything() -> None:
    leader, own = pair()
    write(leader, *(b"%d" % n for n in range(50)))
    level(leader, own)
    assert log_of(own).log_end_offset == 50
    assert log_of(own).leader_epochs.entries == [(1, 0)]


def test_what_only_the_old_leader_wrote_is_cut() -> None:
    one, two = pair()
    write(one, b"a", b"b")
    level(one, two)
    write(one, b"lost", b"lost, too")
    for partition in (one, two):
        led_by(partition, 2, 2)
    write(two, b"c")
    effects = exchange(fetcher_of(one), Leader(two))
    assert [type(effect) for effect in effects] == [Truncate]
    assert log_of(one).log_end_offset == 2
    level(two, one)


def test_an_epoch_without_records_is_no_divergence() -> None:
    one, two = pair()
    write(one, b"a")
    level(one, two)
    led_by(one, 1, 2)  # begun, and nobody wrote in it
    for partition in (one, two):
        led_by(partition, 2, 3)
    write(two, b"b")
    level(two, one)
    assert log_of(one).leader_epochs.entries == [(1, 0), (3, 1)]


def test_two_logs_that_parted_several_epochs_ago_find_their_common_part() -> None:
    one, two = pair()
    write(one, b"a", b"b")
    level(one, two)
    for epoch in (3, 5, 7):
        led_by(one, 1, epoch)
        write(one, b"one", b"one")
    for epoch in (2, 4, 6, 8):
        led_by(two, 2, epoch)
        write(two, b"two")
    led_by(one, 2, 8)
    level(two, one)
    assert log_of(one).leader_epochs.entries == [(1, 0), (2, 2), (4, 3), (6, 4), (8, 5)]


def test_a_follower_that_ends_before_the_leader_begins_starts_there() -> None:
    leader, own = pair()
    write(leader, b"a", b"b")
    level(leader, own)
    write(leader, b"c", b"d", b"e")
    log = log_of(leader)
    log.update_high_watermark(5)
    log.delete_records(4)
    fetcher = fetcher_of(own)
    sent = Leader(leader)
    catch_up(fetcher, sent)
    assert log_of(own).log_start_offset == 4
    assert batches(log_of(own), 4) == batches(log, 4)
    assert log_of(own).high_watermark == 5


def test_the_leader_s_log_starts_in_the_middle_of_a_batch() -> None:
    leader, own = pair()
    log = log_of(leader)
    log.append_as_leader(batch(b"a", b"b", b"c", b"d"), 1, NOW_MS)
    log.update_high_watermark(4)
    log.delete_records(2)
    catch_up(fetcher_of(own), Leader(leader))
    assert (log_of(own).log_start_offset, log_of(own).log_end_offset) == (2, 4)
    assert batches(log_of(own)) == batches(log)


def test_a_leader_with_less_than_we_decides_after_an_unclean_election() -> None:
    one, two = pair()
    write(one, *(b"%d" % n for n in range(30)))
    log_of(one).update_high_watermark(30)
    led_by(two, 2, 2)
    led_by(one, 2, 2)
    level(two, one)
    assert log_of(one).log_end_offset == 0
    assert log_of(one).high_watermark == 0


def test_a_cut_below_the_first_segment_begins_the_log_anew() -> None:
    one, two = pair()
    write(one, b"a")
    log_of(two).truncate_fully_and_start_at(10, NOW_MS)
    led_by(two, 2, 0)
    write(two, b"later")
    led_by(two, 1, 1)
    level(one, two)
    assert log_of(two).log_start_offset == 0


def test_an_answer_of_an_unknown_epoch_leaves_only_the_leader_s_word() -> None:
    own = replica(2)
    led_by(own, 2, 5)
    write(own, b"a", b"b", b"c")
    assert truncation_point(log_of(own), 3, 1) == 0  # our first epoch is later than the leader's last
    assert truncation_point(log_of(own), 5, 2) == 2
    assert truncation_point(log_of(own), 5, 9) == 3
    assert truncation_point(log_of(own), 7, 2) == 2


def test_start_at_is_asked_for_only_where_the_leader_begins_behind_us() -> None:
    leader, own = pair()
    write(leader, b"a", b"b", b"c")
    level(leader, own)
    log_of(leader).update_high_watermark(3)
    log_of(leader).delete_records(3)
    effects = exchange(fetcher_of(own), Leader(leader))
    assert not any(isinstance(effect, StartAt) for effect in effects)
    assert log_of(own).log_start_offset == 3
