"""ListPartitionReassignments v0 (KIP-455): partitions that are on the move."""

from typing import TYPE_CHECKING

from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.ListPartitionReassignmentsResponse:
    return broker.active_controller().reassignments.ongoing(request.body)
