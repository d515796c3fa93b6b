"""Which partitions this broker replicates from whom: one `ReplicaFetcher` for each leader and `num.replica.fetchers`.

Told by `Topics` with each image; leaders that nothing is followed from any more are let go.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING
from zlib import crc32

from riverport.base.tasks import Tasks
from riverport.kafka.replica.partition import Partition
from riverport.kafka.server.leader_doubts import LeaderDoubts
from riverport.kafka.wire.errors import ApiError

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.replica_fetcher import ReplicaFetcher


class ReplicaFetchers:
    """All fetchers of one broker; used from the event loop only."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._doubts = LeaderDoubts(broker.loop, broker.view.forget)
        broker.view.doubted = self._doubts
        self._fetchers: dict[tuple[int, int], ReplicaFetcher] = {}
        self._of: dict[Partition, ReplicaFetcher] = {}
        self._count: int = broker.config["num.replica.fetchers"]
        self._closing = Tasks(broker.loop)

    def __len__(self) -> int:
        """How many partitions are followed."""
        return len(self._of)

    def follow(self, partition: Partition) -> None:
        """The partition's leadership has changed: follow its leader, if there is one elsewhere."""
        self.unfollow(partition)
        if partition.log is None or partition.is_leader or partition.leader_id < 0:
            return
        from riverport.kafka.replica import follower  # a broker that follows nobody pays for none of it

        try:
            follower.begin(partition, self._broker.clock.wall_ms())
        except ApiError:
            return  # its directory has failed right now
        fetcher = self._of[partition] = self._fetcher(partition)
        fetcher.core.follow(partition)
        fetcher.ring()

    def unfollow(self, partition: Partition) -> None:
        fetcher = self._of.pop(partition, None)
        if fetcher is not None:
            fetcher.core.unfollow(partition)

    def settle(self) -> None:
        """After the changes of an image: nobody is asked for nothing."""
        for key, fetcher in list(self._fetchers.items()):
            if not len(fetcher.core):
                del self._fetchers[key]
                self._close(fetcher)

    def brokers_changed(self, ids: Iterable[int]) -> None:
        """Leaders may have come back, or moved: whoever waits to try again tries now."""
        changed = set(ids)
        for (leader_id, _), fetcher in self._fetchers.items():
            if leader_id in changed:
                fetcher.ring()

    def try_again(self) -> None:
        """A throttle may have been lifted: nobody sits out what it was told before."""
        for fetcher in self._fetchers.values():
            fetcher.core.end_waits()
            fetcher.ring()

    def resize(self) -> None:
        """`num.replica.fetchers` may have changed."""
        count: int = self._broker.config["num.replica.fetchers"]
        if count == self._count:
            return
        self._count = count
        for partition in list(self._of):
            self.follow(partition)
        self.settle()

    async def close(self) -> None:
        fetchers = [*self._fetchers.values()]
        self._fetchers.clear()
        self._of.clear()
        self._doubts.close()
        await asyncio.gather(*(fetcher.close() for fetcher in fetchers), *self._closing)

    def _fetcher(self, partition: Partition) -> "ReplicaFetcher":
        number = 0
        if self._count > 1:
            number = crc32(f"{partition.topic}-{partition.index}".encode()) % self._count
        key = (partition.leader_id, number)
        found = self._fetchers.get(key)
        if found is None:
            from riverport.kafka.server.replica_fetcher import ReplicaFetcher

            found = self._fetchers[key] = ReplicaFetcher(self._broker, *key, self._doubts)
        return found

    def _close(self, fetcher: "ReplicaFetcher") -> None:
        self._closing.start(fetcher.close())
