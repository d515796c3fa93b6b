"""LeaveGroup v0-5: members go, by themselves or removed by an administrator (KIP-345: several at once from v3)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

BATCH_SINCE = 3


def handle(broker: "Broker", request: Request) -> Any:
    body: m.LeaveGroupRequest = request.body
    members = body.members
    if request.version < BATCH_SINCE:
        members = [m.LeaveGroupRequest.MemberIdentity(body.member_id)]
    is_batch = request.version >= BATCH_SINCE
    try:
        answer = broker.groups.ask(
            body.group_id, lambda coordinator, now: coordinator.leave(now, body.group_id, members)
        )
    except ApiError as error:
        return m.LeaveGroupResponse(error_code=error.code)
    if isinstance(answer, asyncio.Future):
        return broker.loop.create_task(_when_done(answer, is_batch))
    return answer if is_batch else _of_one(answer)


async def _when_done(answer: "asyncio.Future[m.LeaveGroupResponse]", is_batch: bool) -> m.LeaveGroupResponse:
    try:
        response = await answer
    except ApiError as error:
        return m.LeaveGroupResponse(error_code=error.code)
    return response if is_batch else _of_one(response)


def _of_one(response: m.LeaveGroupResponse) -> m.LeaveGroupResponse:
    """Before v3 the error of the one member is the answer's."""
    return m.LeaveGroupResponse(error_code=response.members[0].error_code)
