"""LeaveGroup v0-5: members go, by themselves or removed by an administrator (KIP-345: several at once from v3)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

BATCH_SINCE = 3


def handle(broker: "Broker", request: Request) -> Any:
    body: m.LeaveGroupRequest = request.body
    members = body.members
    if request.version < BATCH_SINCE:
        members = [m.LeaveGroupRequest.MemberIdentity(body.member_id)]
    answer = broker.groups.ask(body.group_id, lambda coordinator, now: coordinator.leave(now, body.group_id, members))
    if request.version >= BATCH_SINCE:
        return answer
    if not isinstance(answer, asyncio.Future):
        return _of_one(answer)
    single: asyncio.Future[m.LeaveGroupResponse] = broker.loop.create_future()

    def done(answer: "asyncio.Future[m.LeaveGroupResponse]") -> None:
        error = answer.exception()
        if error is None:
            single.set_result(_of_one(answer.result()))
        else:
            single.set_exception(error)

    answer.add_done_callback(done)
    return single


def _of_one(response: m.LeaveGroupResponse) -> m.LeaveGroupResponse:
    """Before v3 the error of the one member is the answer's."""
    return m.LeaveGroupResponse(error_code=response.error_code or response.members[0].error_code)
