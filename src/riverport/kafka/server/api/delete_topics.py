"""DeleteTopics v1-6 (KIP-516 ids from v6; `delete.topic.enable`, KIP-599 quota)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.DeleteTopicsResponse | asyncio.Future[m.DeleteTopicsResponse]:
    body: m.DeleteTopicsRequest = request.body
    if not broker.config["delete.topic.enable"]:
        if request.version < 3:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Topic deletion is disabled.")
        raise ApiError(ErrorCode.TOPIC_DELETION_DISABLED)
    charge = broker.active_controller().mutations.charge(request, strict_since=5)

    def decide() -> Outcome:
        outcome = broker.topic_decisions.delete(body, charge)
        outcome.response.throttle_time_ms = charge.throttle_ms
        return outcome

    return broker.metadata.submit_operation(decide)
