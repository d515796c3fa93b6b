"""JoinGroup v0-9: become a member of a classic group. The answer comes when the group has a new generation."""

import asyncio
from typing import TYPE_CHECKING

from riverport.kafka.groups.rebalance import join_refusal
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

NULL_PROTOCOL_SINCE = 7


def handle(broker: "Broker", request: Request) -> "asyncio.Future[m.JoinGroupResponse]":
    body: m.JoinGroupRequest = request.body
    waiter: asyncio.Future[m.JoinGroupResponse] = broker.loop.create_future()
    client_id, host, version = request.client_id or "", request.client_host, request.version
    try:
        broker.groups.ask(
            body.group_id, lambda coordinator, now: coordinator.join(now, body, version, client_id, host, waiter)
        )
    except ApiError as error:
        waiter.set_result(join_refusal(error.code))
    if version < NULL_PROTOCOL_SINCE:
        # Runs before whoever encodes the answer is told of it.
        waiter.add_done_callback(_without_null)
    return waiter


def _without_null(waiter: "asyncio.Future[m.JoinGroupResponse]") -> None:
    """Older clients cannot read that there is no protocol."""
    if not waiter.cancelled() and waiter.exception() is None and waiter.result().protocol_name is None:
        waiter.result().protocol_name = ""
