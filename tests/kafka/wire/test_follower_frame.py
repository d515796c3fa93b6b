"""The short way of followers' fetches reads and writes what the general codec does, and leaves the rest to it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.server.wire import frame

from riverport.kafka.wire import codec, follower_frame
from riverport.kafka.wire import messages as m

INT, LONG = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
PARTITION = st.tuples(INT, INT, LONG, INT, LONG, INT)
TOPICS = st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.lists(PARTITION, max_size=3)), max_size=3)


def request(topics: list[tuple[bytes, list[tuple[int, ...]]]], **fields: Any) -> m.FetchRequest:
    entry = m.FetchRequest.FetchPartition
    made = m.FetchRequest(
        max_wait_ms=500,
        min_bytes=1,
        max_bytes=7_000,
        session_id=42,
        session_epoch=3,
        topics=[
            m.FetchRequest.FetchTopic(
                "", topic_id, [entry(i, epoch, at, last, start, most) for i, epoch, at, last, start, most in partitions]
            )
            for topic_id, partitions in topics
        ],
    )
    made.replica_state = m.FetchRequest.ReplicaState(2, 99)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def read(made: m.FetchRequest, version: int = 17, cut: int = 0) -> follower_frame.FollowerRequest | None:
    raw = memoryview(b"????" + frame(made, version, correlation_id=77)[4:])
    return follower_frame.read(raw, 4, len(raw) - cut)


@given(TOPICS, st.integers(follower_frame.OLDEST, follower_frame.NEWEST))
def test_request_is_read_as_the_codec_wrote_it(topics: Any, version: int) -> None:
    found = read(request(topics), version)
    assert found is not None
    assert (found.version, found.correlation_id, found.max_wait_ms, found.min_bytes) == (version, 77, 500, 1)
    assert (found.max_bytes, found.session_id, found.session_epoch) == (7_000, 42, 3)
    assert (found.replica_id, found.replica_epoch) == (2, 99)
    assert found.topics == [(topic_id, [(*entry, 0) for entry in entries]) for topic_id, entries in topics]


@pytest.mark.parametrize(
    "fields",
    [
        {"session_epoch": 0},
        {"session_epoch": -1},
        {"rack_id": "a"},
        {"forgotten_topics_data": [m.FetchRequest.ForgottenTopic("", bytes(16), [0])]},
        {"replica_state": m.FetchRequest.ReplicaState()},
        {"cluster_id": "c"},
    ],
    ids=["opens", "closes", "rack", "forgets", "consumer", "cluster"],
)
def test_other_shapes_are_left_to_the_codec(fields: dict[str, Any]) -> None:
    assert read(request([(bytes(16), [(0, 0, 0, 0, 0, 0)])], **fields)) is None


def test_tagged_partition_is_left_to_the_codec() -> None:
    made = request([(bytes(16), [(0, 0, 0, 0, 0, 0)])])
    made.topics[0].partitions[0].replica_directory_id = b"d" * 16
    assert read(made) is None


def test_request_cut_anywhere_is_left_to_the_codec() -> None:
    made = request([(bytes(16), [(0, 0, 0, 0, 0, 0)])])
    size = len(frame(made, 17)) - 4
    assert all(read(made, cut=cut) is None for cut in range(1, size))


@given(
    st.lists(st.tuples(st.sampled_from([b"a" * 16, b"b" * 16]), INT, LONG, LONG, LONG, st.binary(max_size=300))),
    st.integers(follower_frame.OLDEST, follower_frame.NEWEST),
)
def test_answer_is_what_the_codec_would_write(told: Any, version: int) -> None:
    parts: list[Any] = []
    follower_frame.write(42, told, parts.append)
    made = m.FetchResponse
    topics: dict[bytes, list[Any]] = {}
    for topic_id, index, mark, stable, start, records in told:
        entry = made.PartitionData(index, 0, mark, stable, start, aborted_transactions=None, records=records)
        topics.setdefault(topic_id, []).append(entry)
    answer = made(0, 0, 42, [made.FetchableTopicResponse("", id_, entries) for id_, entries in topics.items()])
    assert b"".join(parts) == codec.encode(answer, version)
