"""ListGroups v0-5: the groups that this broker coordinates (KIP-518 by state from v4, KIP-848 by type from v5)."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.ListGroupsResponse:
    body: m.ListGroupsRequest = request.body
    states = {state.strip().lower() for state in body.states_filter}
    kinds = {kind.strip().lower() for kind in body.types_filter}
    groups = [entry for one in broker.groups.coordinators() for entry in one.listed(states, kinds)]
    return m.ListGroupsResponse(groups=groups)
