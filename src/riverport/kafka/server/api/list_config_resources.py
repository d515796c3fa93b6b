"""ListConfigResources v0-1 (KIP-1142); v0 was ListClientMetricsResources (KIP-714)."""

from typing import TYPE_CHECKING

from riverport.kafka.admin.listing import list_resources
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.server.request import Request
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def handle(broker: "Broker", request: Request) -> m.ListConfigResourcesResponse:
    image = broker.metadata.image
    configured = (Resource(ResourceType.of(kind), name) for kind, name in image.configs)
    brokers = (id_ for id_, registered in image.brokers.items() if not registered.fenced)
    return list_resources(request.body, request.version, image.topics, brokers, configured)
