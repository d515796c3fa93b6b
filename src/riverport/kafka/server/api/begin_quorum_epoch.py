"""BeginQuorumEpoch v0-1 (KIP-595, KIP-853 for directories and endpoints): a leader tells a voter that it leads."""

from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> Any:
    response = broker.metadata.answer(request.body)
    if request.version < 1:
        response.node_endpoints = []
    return response
