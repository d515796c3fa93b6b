"""The leader's side of replication on one broker: what its partitions go by, and the changes of their in-sync replicas.

fetches of followers        move progress and high watermark, propose that a follower joins      `follower_fetch`
every half lag time         the late are proposed to leave, the level to join                    `check_lag`
proposals                   go to the controller, many partitions in one request, one at a time  `IsrChanges`
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from riverport.kafka.controller.image import BROKER_RESOURCE, TOPIC_RESOURCE, MetadataDelta, MetadataImage
from riverport.kafka.replica.leader import Proposal, Surroundings
from riverport.kafka.replica.partition import Partition
from riverport.kafka.replica.quota import FOLLOWER, LEADER, MOVES_RATE, ByteQuota, ReplicationQuota
from riverport.kafka.replica.selector import RACK_AWARE
from riverport.kafka.server.isr_changes import IsrChanges
from riverport.kafka.server.shared_reads import SharedReads
from riverport.kafka.server.waiting import committed

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


class Replication:
    """Used from the event loop only."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.surroundings = Surroundings(
            broker.node_id,
            broker.config["replica.lag.time.max.ms"],
            lambda: broker.broker_epoch,
            lambda id_: broker.metadata.image.brokers.get(id_),
        )
        self.isr_changes = IsrChanges(broker)
        self.reads = SharedReads()
        self.leader_quota = self._quota(LEADER)
        self.follower_quota = self._quota(FOLLOWER)
        self.moves_quota = ByteQuota(
            MOVES_RATE,
            broker.config["alter.log.dirs.replication.quota.window.num"],
            broker.config["alter.log.dirs.replication.quota.window.size.seconds"] * 1000,
        )
        self.sends_to_near = broker.config["replica.selector.class"] == RACK_AWARE

    def _quota(self, side: str) -> ReplicationQuota:
        config = self._broker.config
        samples, seconds = config["replication.quota.window.num"], config["replication.quota.window.size.seconds"]
        return ReplicationQuota(side, self._broker.node_id, samples, seconds * 1000)

    def changed(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Take over what newer metadata says of quotas, and of brokers that follow."""
        if delta.everything or any(kind == BROKER_RESOURCE for kind, _ in delta.configs):
            own = image.config(BROKER_RESOURCE, str(self._broker.node_id))
            for quota in (self.leader_quota, self.follower_quota, self.moves_quota):
                quota.set_rate(own, image.config(BROKER_RESOURCE, ""))
        for quota in (self.leader_quota, self.follower_quota):
            for kind, name in image.configs if delta.everything else delta.configs:
                if kind == TOPIC_RESOURCE:
                    quota.set_topic(name, image.config(kind, name))
        if delta.brokers:
            self.brokers_changed()

    def racks(self, listener: str) -> Callable[[int], str | None]:
        """The racks of brokers that clients of a listener can reach."""
        brokers = self._broker.metadata.image.brokers

        def rack_of(id_: int) -> str | None:
            node = brokers.get(id_)
            return None if node is None or node.fenced or node.endpoint(listener) is None else node.rack

        return rack_of

    def propose(self, partition: Partition, proposal: Proposal) -> None:
        self.isr_changes.submit(partition, proposal)

    def check_lag(self) -> None:
        """Have late followers taken out of the in-sync replicas."""
        broker = self._broker
        now_ms = broker.clock.mono_ms()
        for partition in broker.partitions.values():
            leadership, log = partition.leadership, partition.log
            if leadership is None or log is None:
                continue
            proposal = leadership.maybe_shrink(log, now_ms) or leadership.maybe_expand(log)
            if proposal is not None:
                self.propose(partition, proposal)
            elif log.high_watermark < log.log_end_offset and leadership.advance(log):
                committed(partition, broker.loop)  # it was held back by a follower that has now been away for too long

    def brokers_changed(self) -> None:
        """Followers that are level may have become ones that are to be in sync."""
        for partition in self._broker.partitions.values():
            if partition.leadership is not None and len(partition.isr) < len(partition.replicas):
                self.reconsider(partition)

    def reconsider(self, partition: Partition) -> None:
        """Take in who was level while another change was under way, or before it might join."""
        leadership, log = partition.leadership, partition.log
        if leadership is not None and log is not None and (proposal := leadership.maybe_expand(log)) is not None:
            self.propose(partition, proposal)

    def close(self) -> None:
        self.isr_changes.close()
