"""Where the leaders are that an answer names beside NOT_LEADER_OR_FOLLOWER: clients go there at once (KIP-951)."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from riverport.kafka.server.request import Request

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


def leader_endpoints(
    broker: "Broker", request: Request, leaders: Collection[int], make: Callable[[int, str, int, str | None], Any]
) -> list[Any]:
    """An entry for each of the leaders that has an endpoint on the listener of the request."""
    if not any(leader >= 0 for leader in leaders):
        return []
    listed = broker.view.brokers(request.connection.listener.name)
    return [make(node.id, host, port, node.rack) for node, host, port in listed if node.id in leaders]
