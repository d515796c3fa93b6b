"""An image is what its records say: written out and replayed it is the same, at every level that has room for it."""

from typing import Any

import pytest
from hypothesis import given
from images import DIRECTORY, cluster, histories, partition, replayed, topic_id, topic_records

from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.records import encoded_records_of, records_of
from riverport.kafka.controller.replay import Replayer
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.metadata_records import decode_record

AT_NEWEST = m.FeatureLevelRecord(features.METADATA_VERSION, features.DEFAULT_RELEASE)
PLACE = ("offset", "epoch")
"""Where in the log an image is; a snapshot's name says it, not its records."""


def content(image: MetadataImage) -> dict[str, Any]:
    return {name: value for name, value in vars(image).items() if name not in PLACE}


@given(histories)
def test_a_written_image_replays_to_itself(history: list[Any]) -> None:
    image = replayed([AT_NEWEST, *history])
    written = [decode_record(value)[0] for value in encoded_records_of(image)]
    assert content(replayed(written)) == content(image)


@given(histories)
def test_a_copy_stays_what_it_was(history: list[Any]) -> None:
    image = replayed(history[: len(history) // 2])
    copy, before = image.copy(), list(records_of(image))
    replayed(history[len(history) // 2 :], image)
    assert list(records_of(copy)) == before


@given(histories, histories)
def test_records_of_one_commit_make_what_those_of_many_do_and_leave_what_was_there(
    first: list[Any], second: list[Any]
) -> None:
    image, one_by_one = replayed(first), replayed(first + second)
    held, before = dict(image.topics), {name: dict(topic.partitions) for name, topic in image.topics.items()}
    delta = MetadataDelta()
    for record in second:
        image.apply(record, delta)
    assert content(image) == content(one_by_one)
    assert {name: topic.partitions for name, topic in held.items()} == before


@pytest.mark.parametrize("level", sorted(features.RELEASES))
def test_every_level_writes_what_it_has_room_for(level: int) -> None:
    image = cluster(1, level=level)
    replayed(
        [
            *topic_records("t", partition(1, eligible_leader_replicas=[1])),
            m.RegisterControllerRecord(1, DIRECTORY, False),
            m.UserScramCredentialRecord("u", 1, b"s", b"k", b"k", 4096),
            m.DelegationTokenRecord("o", "r", [], 1, 2, 3, "id"),
        ],
        image,
    )
    found = replayed([decode_record(value)[0] for value in encoded_records_of(image)])
    assert found.features[features.METADATA_VERSION] == level
    assert bool(found.controllers) == (level >= 15)
    assert bool(found.scram) == (level >= 11)
    assert bool(found.tokens) == (level >= 14)
    assert found.topics["t"].partitions[0].directories == ((DIRECTORY,) if level >= 17 else ())
    assert found.topics["t"].partitions[0].elr == ((1,) if level >= 23 else ())
    assert found.brokers[1].log_dirs == ((DIRECTORY,) if level >= 17 else ())


def test_the_level_comes_first() -> None:
    image = cluster(1, group_version=1, eligible_leader_replicas_version=1)
    first = next(records_of(image))
    assert first == m.FeatureLevelRecord(features.METADATA_VERSION, features.DEFAULT_RELEASE)


def test_a_removed_topic_takes_its_configuration_with_it() -> None:
    image = replayed([*topic_records("t", partition(1)), m.ConfigRecord(2, "t", "retention.ms", "5")])
    delta = MetadataDelta()
    image.apply(m.RemoveTopicRecord(topic_id("t")), delta)
    assert (image.topics, image.topic_names, image.configs) == ({}, {}, {})
    assert delta.deleted_topics == {topic_id("t"): "t"}


def test_a_record_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(WireError):
        MetadataImage().apply(m.LeaderChangeMessage(), MetadataDelta())


# --- transactions


def test_what_a_transaction_holds_is_true_at_its_end() -> None:
    replayer = Replayer(MetadataImage())
    for offset, record in enumerate([m.BeginTransactionRecord("t"), *topic_records("t", partition(1))]):
        replayer.apply(record, MetadataDelta(), offset)
    assert (replayer.image.topics, replayer.transaction_offset) == ({}, 0)
    replayer.apply(m.EndTransactionRecord(), MetadataDelta(), 3)
    assert list(replayer.image.topics) == ["t"]
    assert replayer.transaction_offset == -1


def test_what_an_aborted_transaction_held_never_was() -> None:
    replayer = Replayer(MetadataImage())
    records = [m.BeginTransactionRecord("t"), *topic_records("t", partition(1)), m.AbortTransactionRecord("why")]
    for offset, record in enumerate([*records, *topic_records("u", partition(1))]):
        replayer.apply(record, MetadataDelta(), offset)
    assert list(replayer.image.topics) == ["u"]
