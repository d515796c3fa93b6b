"""What a broker tells clients of topics is encoded once for each version, until the image says otherwise."""

import pytest

from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.registrations import BrokerRegistration, Endpoint
from riverport.kafka.server import metadata_view
from riverport.kafka.server.metadata_view import MetadataView
from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m

Topic = m.MetadataResponse.MetadataResponseTopic


def an_image(topics: int) -> MetadataImage:
    image = MetadataImage()
    endpoint = Endpoint("PLAINTEXT", "localhost", 9092, 0)
    image.brokers[1] = BrokerRegistration(1, 1, bytes(16), (endpoint,), {}, None, False, False, ())
    for n in range(topics):
        topic_id = bytes(15) + bytes([n + 1])
        image.apply(m.TopicRecord(f"t{n}", topic_id), MetadataDelta())
        partition = m.PartitionRecord(0, topic_id, replicas=[1], isr=[1], leader=1, leader_epoch=0, partition_epoch=0)
        image.apply(partition, MetadataDelta())
    return image


def a_view(topics: int = 3) -> tuple[MetadataView, MetadataImage]:
    view, image = MetadataView(frozenset()), an_image(topics)
    view.changed(image, None)
    return view, image


def leader_in(encoded: bytes) -> int:
    topic, _ = codec.decode(Topic, 13, encoded)
    return int(topic.partitions[0].leader_id)


def test_a_topic_is_encoded_once_for_each_version() -> None:
    view, _ = a_view()
    assert view.encoded_topic("t0", "PLAINTEXT", 13) is view.encoded_topic("t0", "PLAINTEXT", 13)
    assert view.encoded_topic("t0", "PLAINTEXT", 0) != view.encoded_topic("t0", "PLAINTEXT", 13)


def test_a_topic_that_changes_is_encoded_again_and_others_are_not() -> None:
    view, image = a_view()
    changed, other = (view.encoded_topic(name, "PLAINTEXT", 13) for name in ("t0", "t1"))
    image.apply(m.PartitionChangeRecord(0, image.topics["t0"].id, leader=-1), MetadataDelta())
    view.changed(image, ["t0"])

    assert (leader_in(changed), leader_in(view.encoded_topic("t0", "PLAINTEXT", 13))) == (1, -1)
    assert view.encoded_topic("t1", "PLAINTEXT", 13) is other


def test_a_doubted_leader_is_not_told_of() -> None:
    view, _ = a_view()
    assert leader_in(view.encoded_topic("t0", "PLAINTEXT", 13)) == 1
    view.doubted = {1}
    view.forget()
    assert leader_in(view.encoded_topic("t0", "PLAINTEXT", 13)) == -1


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    view, _ = a_view(topics=20)
    size = len(view.encoded_topic("t0", "PLAINTEXT", 13))
    monkeypatch.setattr(metadata_view, "ENCODED_BYTES", 5 * size)

    for version in range(14):
        for n in range(20):
            decoded, _ = codec.decode(Topic, version, view.encoded_topic(f"t{n}", "PLAINTEXT", version))
            assert decoded.name == f"t{n}"
            kept = sum(len(each) for shown in view._topics.values() for each in shown.encoded.values())
            assert kept == view._encoded_bytes <= 5 * size
