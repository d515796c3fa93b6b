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


def leader_of(broker: "Broker", topic: str | None, index: int) -> tuple[int, int] | None:
    """(leader, leader epoch) of a partition, whether this broker has a replica of it or not."""
    partition = broker.partitions.get((topic, index))
    if partition is not None:
        return partition.leader_id, partition.leader_epoch
    known = broker.metadata.image.topics.get(topic or "")
    registration = None if known is None else known.partitions.get(index)
    return None if registration is None else (registration.leader, registration.leader_epoch)
