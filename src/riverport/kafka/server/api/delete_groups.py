"""DeleteGroups v0-3: empty groups, with all their offsets (KIP-229)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Result = m.DeleteGroupsResponse.DeletableGroupResult


async def _gathered(answers: list[Any]) -> m.DeleteGroupsResponse:
    return m.DeleteGroupsResponse(0, [await one if isinstance(one, asyncio.Future) else one for one in answers])


def handle(broker: "Broker", request: Request) -> "m.DeleteGroupsResponse | asyncio.Future[m.DeleteGroupsResponse]":
    body: m.DeleteGroupsRequest = request.body
    answers = [_delete(broker, group_id) for group_id in dict.fromkeys(body.groups_names)]
    if any(isinstance(answer, asyncio.Future) for answer in answers):
        return broker.loop.create_task(_gathered(answers))
    return m.DeleteGroupsResponse(0, answers)


def _delete(broker: "Broker", group_id: str) -> Any:
    """The result, or a future of it. Groups stand alone: what one of them is refused does not hold up the others."""
    try:
        return broker.groups.ask(group_id, lambda coordinator, now: coordinator.delete_group(now, group_id))
    except ApiError as error:
        return _Result(group_id, error.code, error.message)
