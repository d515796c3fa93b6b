"""DescribeGroups v0-6: classic groups with their members; from v6 a group that is not there is an error (KIP-1043)."""

from typing import TYPE_CHECKING, Any

from riverport.kafka.server.metadata_view import GROUP_OPERATIONS
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

OPERATIONS_SINCE = 3
NOT_FOUND_SINCE = 6


def handle(broker: "Broker", request: Request) -> m.DescribeGroupsResponse:
    body: m.DescribeGroupsRequest = request.body
    groups = [_describe(broker, group_id, request.version) for group_id in body.groups]
    if request.version >= OPERATIONS_SINCE and body.include_authorized_operations:
        for group in groups:
            if group.error_code == 0:
                group.authorized_operations = GROUP_OPERATIONS
    return m.DescribeGroupsResponse(groups=groups)


def _describe(broker: "Broker", group_id: str, version: int) -> Any:
    group = m.DescribeGroupsResponse.DescribedGroup(group_id=group_id)
    try:
        return broker.groups.shard_of(group_id).coordinator.describe(group_id)
    except ApiError as error:
        if error.code is ErrorCode.GROUP_ID_NOT_FOUND:
            group.group_state = "Dead"
            if version < NOT_FOUND_SINCE:
                return group
        group.error_code, group.error_message = error.code, error.message
        return group
