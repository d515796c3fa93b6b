"""InitProducerId v0-5 (KIP-98, KIP-360): a producer id for an idempotent producer.

A request without a transactional id gets a fresh id with epoch 0, also when it brings an old one (KIP-360: only the
transaction coordinator bumps epochs in place). Ids come from blocks of 1,000 that the controller hands out; who comes
before the first block waits for it, and is told COORDINATOR_LOAD_IN_PROGRESS where it cannot be had. There are no
transactions yet: a request with a transactional id is told UNSUPPORTED_VERSION.
"""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.InitProducerIdResponse | asyncio.Future[m.InitProducerIdResponse]:
    body: m.InitProducerIdRequest = request.body
    if body.transactional_id is not None:
        code = ErrorCode.INVALID_REQUEST if body.transactional_id == "" else ErrorCode.UNSUPPORTED_VERSION
        return m.InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
    if (body.producer_id == -1) != (body.producer_epoch == -1):
        return m.InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_id=-1, producer_epoch=-1)
    producer_id = broker.producer_ids.next()
    if producer_id is not None:
        return m.InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)
    answer: asyncio.Future[m.InitProducerIdResponse] = broker.loop.create_future()

    def again() -> None:
        producer_id = broker.producer_ids.next()
        if answer.done():
            return
        if producer_id is None:
            answer.set_result(_later())
        else:
            answer.set_result(m.InitProducerIdResponse(producer_id=producer_id, producer_epoch=0))

    return answer if broker.producer_ids.when_asked(again) else _later()


def _later() -> m.InitProducerIdResponse:
    return m.InitProducerIdResponse(
        error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producer_id=-1, producer_epoch=-1
    )
