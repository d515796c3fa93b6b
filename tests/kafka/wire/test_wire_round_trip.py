"""Every message in every version: what is encoded is decoded, whole, in place and bounded."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kafka.wire.values import Chances, every_message, every_version, random_value, versions_of

from riverport.kafka.wire import messages, schema
from riverport.kafka.wire.codec import decode, encode, encode_parts
from riverport.kafka.wire.errors import WireError

EXAMPLES = settings(max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", every_message())
@EXAMPLES
@given(rng=st.randoms(use_true_random=False))
def test_what_is_encoded_is_decoded(name: str, rng: Random) -> None:
    for version in versions_of(name):
        value = random_value(name, version, Chances(rng))
        data = encode(value, version)
        decoded, end = decode(type(value), version, b"head" + data + b"tail", 4)
        assert end == 4 + len(data)
        assert decoded == value
        assert encode(decoded, version) == data


def test_a_message_of_every_field_unset_is_its_defaults() -> None:
    for name, version in every_version():
        cls = getattr(messages, name)
        if _has_required_struct(name):
            continue
        assert decode(cls, version, encode(cls(), version))[0] == cls(), (name, version)


def _has_required_struct(name: str) -> bool:
    """Nothing in the protocol is refused when left at its default but a struct whose default is null."""
    message = schema.parse_message(name)
    return any(
        field.struct is not None and not field.array and field.default is None and field.nullable == schema.NONE
        for struct in (message.root, *message.structs.values())
        for field in struct.fields
    )


def test_records_are_slices_of_what_was_received() -> None:
    partition = messages.ProduceRequest.PartitionProduceData(index=1, records=b"R" * 100)
    request = messages.ProduceRequest(
        topic_data=[messages.ProduceRequest.TopicProduceData(name="t", partition_data=[partition])]
    )
    buffer = bytearray(encode(request, 9))
    decoded, _ = decode(messages.ProduceRequest, 9, memoryview(buffer))
    records = decoded.topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    buffer[buffer.index(b"RRR")] = ord("!")
    assert bytes(records[:2]) == b"!R"


def test_records_leave_as_the_buffers_they_came_as() -> None:
    records = memoryview(b"R" * 100)
    partition = messages.FetchResponse.PartitionData(records=records)
    response = messages.FetchResponse(
        responses=[messages.FetchResponse.FetchableTopicResponse(topic="t", partitions=[partition])]
    )
    parts = encode_parts(response, 12)
    assert any(part is records for part in parts)
    assert b"".join(parts) == encode(response, 12)


def test_unknown_tagged_fields_are_kept_in_order() -> None:
    header = messages.ResponseHeader(correlation_id=7, unknown_tags=[(900, b"later"), (3, b"sooner")])
    data = encode(header, 1)
    assert data == bytes.fromhex("00000007 02 03 06") + b"sooner" + bytes.fromhex("8407 05") + b"later"
    assert decode(messages.ResponseHeader, 1, data)[0].unknown_tags == [(3, b"sooner"), (900, b"later")]


def test_a_value_that_the_version_cannot_carry_is_refused() -> None:
    # Not ignorable: dropping the transactional id of a write silently would turn it into another write.
    request = messages.FetchRequest(replica_state=messages.FetchRequest.ReplicaState(replica_id=2))
    with pytest.raises(WireError, match="replica_state is set, and version 12 has no such field"):
        encode(request, 12)
    # Ignorable: an older client does not know log append times, and needs none.
    messages.ProduceResponse.PartitionProduceResponse(log_append_time_ms=5)
    encode(messages.FetchRequest(rack_id="rack"), 4)


def test_null_is_refused_where_the_version_has_none() -> None:
    with pytest.raises(WireError, match="topics is null"):
        encode(messages.MetadataRequest(topics=None), 0)
    assert decode(messages.MetadataRequest, 1, encode(messages.MetadataRequest(topics=None), 1))[0].topics is None


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(WireError, match="ProduceRequest has no version 2, only 3-13"):
        decode(messages.ProduceRequest, 2, b"")
    with pytest.raises(WireError):
        encode(messages.ProduceRequest(), 14)
    with pytest.raises(WireError):
        decode(messages.LeaderAndIsrRequest, 0, b"")


def test_nested_structs_can_be_read_alone() -> None:
    broker = messages.MetadataResponse.MetadataResponseBroker(node_id=1, host="h", port=9092)
    assert decode(type(broker), 9, encode(broker, 9))[0] == broker
