"""Arrays whose elements were encoded before are written as if they had not been."""

import pytest

from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.classes import EncodedElements

_Topic = m.MetadataResponse.MetadataResponseTopic
_Partition = m.MetadataResponse.MetadataResponsePartition


@pytest.mark.parametrize("topics", [0, 1, 200], ids="{} topics".format)
@pytest.mark.parametrize("version", range(14))
def test_elements_encoded_before_are_those_encoded_now(version: int, topics: int) -> None:
    made = [_Topic(0, f"t{n}", partitions=[_Partition(0, 0, 1, replica_nodes=[1, 2, 3])]) for n in range(topics)]
    encoded = EncodedElements(codec.encode(topic, version) for topic in made)

    whole = codec.encode(m.MetadataResponse(cluster_id="c" if version >= 2 else None, topics=made), version)
    joined = codec.encode(m.MetadataResponse(cluster_id="c" if version >= 2 else None, topics=encoded), version)
    assert joined == whole
