"""Directories of partitions are told by their names, and whose log one holds by the file in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.log.kit import TOPIC_ID, disk_with

from riverport.kafka.log.partition_directory import (
    MAX_NAME,
    PARTITION_METADATA,
    future_index,
    is_leftover,
    name_aside,
    partition_of,
    read_topic_id,
    write_topic_id,
)

topics = st.text("abcXYZ019._-", min_size=1, max_size=249)
partitions = st.integers(0, 2**31 - 1)


@given(topics, partitions)
def test_the_name_of_a_log_is_read_back(topic: str, partition: int) -> None:
    assert partition_of(f"{topic}-{partition}") == (topic, partition)
    assert not is_leftover(f"{topic}-{partition}")


@given(topics, partitions, st.binary(min_size=16, max_size=16), st.sampled_from(["delete", "future", "stray"]))
def test_what_is_aside_is_no_log_and_has_room_for_its_name(
    topic: str, partition: int, unique: bytes, kind: str
) -> None:
    name = name_aside(topic, partition, unique, kind)  # type: ignore[arg-type]
    assert len(name) <= MAX_NAME
    assert partition_of(name) is None
    assert is_leftover(name) == (kind != "stray")
    assert future_index(name) == (partition if kind == "future" else None)


def test_a_topics_id_is_read_back() -> None:
    disk = disk_with()
    disk.mkdir("/data/t-0")
    write_topic_id(disk, "/data/t-0", TOPIC_ID)
    assert read_topic_id(disk, "/data/t-0") == TOPIC_ID


@pytest.mark.parametrize("content", [None, b"", b"version: 0\n", b"topic_id: ?", b"\xff"])
def test_whose_a_log_is_may_not_be_known(content: bytes | None) -> None:
    disk = disk_with()
    disk.mkdir("/data/t-0")
    if content is not None:
        disk.write(f"/data/t-0/{PARTITION_METADATA}", content)
    assert read_topic_id(disk, "/data/t-0") is None
