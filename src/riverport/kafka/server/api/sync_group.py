"""SyncGroup v0-5: the leader brings the assignment, everybody gets its part (KIP-559: with the protocol from v5)."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

PROTOCOL_SINCE = 5


def handle(broker: "Broker", request: Request) -> "asyncio.Future[m.SyncGroupResponse] | m.SyncGroupResponse":
    body: m.SyncGroupRequest = request.body
    if request.version >= PROTOCOL_SINCE and (body.protocol_type is None or body.protocol_name is None):
        return m.SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    waiter: asyncio.Future[m.SyncGroupResponse] = broker.loop.create_future()
    broker.groups.ask(body.group_id, lambda coordinator, now: coordinator.sync(now, body, waiter))
    return waiter
