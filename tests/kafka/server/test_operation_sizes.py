"""How much of the metadata one request may change."""

from collections.abc import Iterator

import pytest
from tests.kafka.server.conftest import address_of
from tests.kafka.server.wire import Wire

from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.metadata_writer import MAX_OPERATION_RECORDS, bounded
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.testing import Broker


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Broker() as broker, Wire(address_of(broker)) as wire:
        yield wire


def test_an_operation_may_write_as_many_records_as_a_batch_holds_and_no_more() -> None:
    record = m.NoOpRecord()
    most = Outcome("answer", [record] * MAX_OPERATION_RECORDS)
    assert bounded(most) is most
    with pytest.raises(ApiError, match="excessively large batch operation") as error:
        bounded(Outcome("answer", [record] * (MAX_OPERATION_RECORDS + 1)))
    assert error.value.code == ErrorCode.POLICY_VIOLATION


def test_a_topic_whose_records_are_too_many_for_one_operation_is_not_made(wire: Wire) -> None:
    of = m.CreateTopicsRequest
    # 10,000 partitions may be asked for; the topic's own record is the one too many.
    answer = wire.ask(of([of.CreatableTopic("vast", 10_000, 1)]))
    assert [topic.error_code for topic in answer.topics] == [ErrorCode.POLICY_VIOLATION]
    assert answer.topics[0].error_message == "Unable to perform excessively large batch operation."
    asked = m.MetadataRequest
    found = wire.ask(asked([asked.MetadataRequestTopic(name="vast")], allow_auto_topic_creation=False))
    assert [topic.error_code for topic in found.topics] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
