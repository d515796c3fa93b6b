"""Which replica a consumer is to read from (KIP-392): with `RackAwareReplicaSelector` one of its own rack."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riverport.kafka.replica.partition import Partition

RACK_AWARE = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
LEADER = "org.apache.kafka.common.replica.LeaderSelector"
SELECTORS = (RACK_AWARE, LEADER)
"""What `replica.selector.class` may name; without it nobody is sent away from the leader."""


def nearest_replica(
    partition: "Partition", rack: str, offset: int, rack_of: Callable[[int], str | None], now_ms: float
) -> int | None:
    """A follower for a consumer in this rack that is at this offset; None where it is to read from the leader.

    `rack_of` gives None for brokers that the consumer cannot reach. Only replicas in sync count: a consumer of one that
    lags would fall behind with it, and come back to be sent there again.
    """
    leadership = partition.leadership
    if leadership is None or not rack or rack_of(partition.broker_id) == rack:
        return None
    near = [
        follower
        for follower in leadership.followers.values()
        if follower.broker_id in partition.isr
        and follower.start_offset <= offset <= follower.end_offset
        and rack_of(follower.broker_id) == rack
    ]
    if not near:
        return None
    best = max(near, key=lambda follower: (follower.end_offset, follower.last_level_ms(now_ms), follower.broker_id))
    return best.broker_id
