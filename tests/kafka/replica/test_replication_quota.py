"""Replication quotas: whose bytes count, and when there were too many."""

import pytest

from riverport.kafka.replica.quota import LEADER, ReplicationQuota

RATE, REPLICAS = "leader.replication.throttled.rate", "leader.replication.throttled.replicas"


def quota(rate: int | None = 1_000, replicas: str = "*") -> ReplicationQuota:
    made = ReplicationQuota(LEADER, 1, samples=3, sample_ms=1_000)
    made.set_rate({} if rate is None else {RATE: str(rate)}, {})
    made.set_topic("t", {REPLICAS: replicas})
    return made


@pytest.mark.parametrize(
    ("replicas", "throttled"),
    [("*", [0, 1, 2]), ("0:1, 2:1,1:2", [0, 2]), ("0:2,1:3", []), ("", [])],
    ids=["all", "some", "other brokers'", "none"],
)
def test_throttled_are_those_that_the_topic_names(replicas: str, throttled: list[int]) -> None:
    made = quota(replicas=replicas)
    assert [index for index in range(3) if made.is_throttled("t", index)] == throttled
    assert made.is_active == bool(throttled)
    assert not made.is_throttled("other", 0)


def test_without_a_rate_nothing_is_throttled() -> None:
    made = quota(rate=None)
    made.record(1 << 40, 0)
    assert not made.is_active
    assert not made.is_exceeded(0)


def test_own_rate_counts_before_the_cluster_s() -> None:
    made = quota()
    made.record(3_000, 0)
    assert made.is_exceeded(1_000)
    made.set_rate({RATE: "5000"}, {RATE: "1"})
    assert not made.is_exceeded(1_000)
    made.set_rate({}, {RATE: "1"})
    assert made.is_exceeded(1_000)


def test_too_many_bytes_count_until_enough_time_has_passed() -> None:
    made = quota()
    made.record(1_500, 0)
    assert made.is_exceeded(500)  # the first second counts as a whole one, and no more than that
    assert made.is_exceeded(1_499)
    assert not made.is_exceeded(1_500)
    made.record(1_500, 2_000)
    assert made.is_exceeded(2_100)
    assert not made.is_exceeded(5_000)


def test_topic_that_is_not_throttled_any_more_is_forgotten() -> None:
    made = quota()
    made.set_topic("t", {})
    assert not made.is_active


def test_the_excess_is_how_long_nothing_may_come() -> None:
    made = quota()
    assert made.excess_ms(0) == 0
    made.record(2_500, 0)
    assert made.excess_ms(0) == 1_500
    assert made.excess_ms(2_000) == 500
    assert made.excess_ms(2_500) == 0
