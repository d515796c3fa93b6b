"""Heartbeat v0-4: a member of a classic group is there, and is told of rebalances."""

from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> Any:
    body: m.HeartbeatRequest = request.body
    try:
        return broker.groups.ask(body.group_id, lambda coordinator, now: coordinator.heartbeat(now, body))
    except ApiError as error:
        # While groups are loaded no session can end, so there is nothing that the member had to know.
        code = ErrorCode.NONE if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS else error.code
        return m.HeartbeatResponse(0, code)
