"""JoinGroup v0-9: become a member of a classic group. The answer comes when the group has a new generation."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> "asyncio.Future[m.JoinGroupResponse]":
    body: m.JoinGroupRequest = request.body
    waiter: asyncio.Future[m.JoinGroupResponse] = broker.loop.create_future()
    client_id, host, version = request.client_id or "", request.client_host, request.version
    broker.groups.ask(
        body.group_id, lambda coordinator, now: coordinator.join(now, body, version, client_id, host, waiter)
    )
    return waiter
