"""How many partitions a client may make and delete (KIP-599)."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire

from riverport.kafka.server.mutation_quotas import Bucket, Charge
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.testing import Broker

RATE, BURST = 2.0, 10.0


def charge(bucket: Bucket, now_ms: float, *, strict: bool = True) -> Charge:
    return Charge(bucket, RATE, BURST, now_ms, strict=strict)


def test_a_full_bucket_takes_one_request_of_any_size_and_then_none_until_it_is_level() -> None:
    bucket = Bucket(BURST, 0.0)
    charge(bucket, 0.0)(30)
    refused = charge(bucket, 4_000.0)
    with pytest.raises(ApiError) as error:
        refused(1)
    assert (error.value.code, refused.throttle_ms) == (ErrorCode.THROTTLING_QUOTA_EXCEEDED, 6_000)
    level = charge(bucket, 10_000.0)
    level(1)
    assert (level.throttle_ms, bucket.tokens) == (0, -1.0)


def test_a_client_that_does_not_know_the_error_pays_afterwards() -> None:
    bucket = Bucket(BURST, 0.0)
    old = charge(bucket, 0.0, strict=False)
    old(14)
    old(2)
    assert old.throttle_ms == 3_000


def test_a_bucket_holds_no_more_than_a_burst() -> None:
    bucket = Bucket(BURST, 0.0)
    charge(bucket, 1e9)(10)
    assert bucket.tokens == 0.0


def test_no_quota_takes_nothing() -> None:
    free = Charge(None, 0, 0, 0.0, strict=True)
    free(1_000_000)
    assert free.throttle_ms == 0


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5_000)), min_size=1, max_size=30))
def test_what_is_let_through_is_never_above_rate_and_burst_but_for_the_last(steps: list[tuple[int, int]]) -> None:
    bucket, now_ms, taken = Bucket(BURST, 0.0), 0.0, 0
    for partitions, later_ms in steps:
        now_ms += later_ms
        assert taken <= BURST + RATE * now_ms / 1000 + 20
        try:
            charge(bucket, now_ms)(partitions)
        except ApiError:
            continue
        taken += partitions


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A client `c` that may make one partition in a hundred seconds, and has made five."""
    with Broker({"controller.quota.window.num": 1}) as broker, Wire(address_of(broker)) as wire:
        of = m.AlterClientQuotasRequest
        entity = [of.EntityData("client-id", "c")]
        wire.ask(of([of.EntryData([*entity], [of.OpData("controller_mutation_rate", 0.01, False)])], False))
        assert create(wire, "first", 5).topics[0].error_code == 0
        yield wire


def create(wire: Wire, name: str, partitions: int, version: int = 7, client: str = "c") -> Any:
    of = m.CreateTopicsRequest
    return wire.ask(of([of.CreatableTopic(name, partitions, 1)]), version, client_id=client)


def test_clients_are_refused_what_goes_beyond_their_quota_and_told_how_long(wire: Wire) -> None:
    answer = create(wire, "second", 1)
    assert answer.topics[0].error_code == ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert 490_000 < answer.throttle_time_ms <= 500_000


def test_deletions_and_new_partitions_count_too(wire: Wire) -> None:
    grow = m.CreatePartitionsRequest
    answer = wire.ask(grow([grow.CreatePartitionsTopic("first", 6, None)], 1000, False), client_id="c")
    assert answer.results[0].error_code == ErrorCode.THROTTLING_QUOTA_EXCEEDED


def test_a_topic_is_not_deleted_beyond_the_quota(wire: Wire) -> None:
    drop = m.DeleteTopicsRequest
    answer = wire.ask(drop([drop.DeleteTopicState("first")]), client_id="c")
    assert answer.responses[0].error_code == ErrorCode.THROTTLING_QUOTA_EXCEEDED


def test_an_older_client_is_served_and_silenced(wire: Wire) -> None:
    answer = create(wire, "second", 1, version=5)
    assert (answer.topics[0].error_code, answer.throttle_time_ms > 500_000) == (0, True)


def test_other_clients_are_not_concerned(wire: Wire) -> None:
    answer = create(wire, "second", 1, client="d")
    assert (answer.topics[0].error_code, answer.throttle_time_ms) == (0, 0)
