"""ListConfigResources v0-1: which resources there are to describe (KIP-714, KIP-1142).

Topics and brokers are all listed, whether they have configurations of their own or not; groups and subscriptions only
exist as resources by having some.
"""

from collections.abc import Iterable
from typing import Final

from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

LISTED: Final = (
    ResourceType.GROUP,
    ResourceType.CLIENT_METRICS,
    ResourceType.BROKER_LOGGER,
    ResourceType.BROKER,
    ResourceType.TOPIC,
)


def list_resources(
    request: m.ListConfigResourcesRequest,
    version: int,
    topics: Iterable[str],
    brokers: Iterable[int],
    configured: Iterable[Resource],
) -> m.ListConfigResourcesResponse:
    """`configured` are the resources that have dynamic configurations."""
    if version == 0:
        wanted = [ResourceType.CLIENT_METRICS]
    elif not request.resource_types:
        wanted = list(LISTED)
    else:
        wanted = [kind for kind in LISTED if kind.value in request.resource_types]
        if len(wanted) < len(set(request.resource_types)):
            return m.ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    nodes, set_up = sorted(brokers), sorted(configured)
    names: dict[ResourceType, list[str]] = {
        ResourceType.TOPIC: sorted(topics),
        ResourceType.BROKER: [str(node) for node in nodes],
        ResourceType.BROKER_LOGGER: [str(node) for node in nodes],
        ResourceType.CLIENT_METRICS: [name for kind, name in set_up if kind is ResourceType.CLIENT_METRICS],
        ResourceType.GROUP: [name for kind, name in set_up if kind is ResourceType.GROUP],
    }
    line = m.ListConfigResourcesResponse.ConfigResource
    return m.ListConfigResourcesResponse(
        config_resources=[line(name, kind) for kind in wanted for name in names[kind]]
    )
