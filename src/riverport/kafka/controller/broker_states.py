"""The states of a registered broker, and what moves it from one to the next (KIP-631, KIP-841).

fenced        it leads nothing and is in sync nowhere; it is not shown to clients
  │ ▲           up: it wants to, and has read the metadata up to its own registration
  ▼ │           down: it wants to, its session has timed out, or it is known to have died
unfenced
  │           it wants to stop, and leads something: leaderships are given up
  ▼
leaving       until nothing is led, and the other brokers have read that; then it is fenced and may stop
"""

from collections.abc import Sequence
from typing import Any

from riverport.kafka.controller.cluster import CORDONED_SINCE, DIRECTORIES_SINCE, Cluster
from riverport.kafka.controller.failover import Failover
from riverport.kafka.controller.heartbeats import Heartbeats
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.policies import Policies
from riverport.kafka.controller.registrations import BrokerRegistration
from riverport.kafka.wire import messages as m

FENCE, UNFENCE = 1, -1


class BrokerStates:
    """Decisions on states; the image is only read, the sessions are followed."""

    def __init__(
        self, image: MetadataImage, cluster: Cluster, policies: Policies, failover: Failover, heartbeats: Heartbeats
    ) -> None:
        self._image = image
        self._cluster = cluster
        self._policies = policies
        self._failover = failover
        self._heartbeats = heartbeats

    def heartbeat(self, request: m.BrokerHeartbeatRequest, now_ms: float, next_offset: int) -> Outcome:
        """What a broker wants and has reached decides its next state. `next_offset` is that of the first record.

        Raises ApiError STALE_BROKER_EPOCH.
        """
        node = self._cluster.registered(request.broker_id, request.broker_epoch)
        caught_up = request.current_metadata_offset >= node.epoch
        response = m.BrokerHeartbeatResponse(is_caught_up=caught_up, is_fenced=node.fenced)
        records = self._cordoned(node, request.cordoned_log_dirs)
        lost = self._newly_lost(node, request.offline_log_dirs)
        if lost:
            # First things first: what else it wants is decided on its next heartbeat, on what is then true.
            records += self._lose_directories(node, lost)
        elif request.want_shut_down or self._heartbeats.is_leaving(node.id):
            records += self._leave(node, request, response, next_offset + len(records))
        elif request.want_fence:
            response.is_fenced = True
            records += self.fence(node.id)
        elif node.fenced and caught_up and not node.in_controlled_shutdown:
            response.is_fenced = False
            records += [self._change(node, fenced=UNFENCE), *self._failover.came_up(node.id)]
        if response.is_fenced:
            self._heartbeats.end(node.id)
        else:
            self._heartbeats.touch(node.id, now_ms, request.current_metadata_offset)
        return Outcome(response, records)

    def _leave(
        self, node: BrokerRegistration, request: m.BrokerHeartbeatRequest, response: Any, next_offset: int
    ) -> list[Any]:
        beats = self._heartbeats
        if not node.fenced and not request.want_fence:
            leads = self._failover.leads_anything(node.id)
            if leads and not beats.is_leaving(node.id):
                moved = self._failover.gone(node.id)
                beats.leave(node.id, next_offset + len(moved))
                return [self._change(node, in_controlled_shutdown=1), *moved]
            if leads or (beats.is_leaving(node.id) and not beats.may_stop(node.id)):
                return []
        response.should_shut_down = response.is_fenced = True
        return self.fence(node.id)

    def fence(self, id_: int) -> list[Any]:
        """The records of a broker that is gone; none where it is fenced already."""
        node = self._image.brokers[id_]
        return [] if node.fenced else [*self._failover.gone(id_), self._change(node, fenced=FENCE)]

    def fence_incarnation(self, id_: int, epoch: int) -> Outcome:
        """Fence exactly this life of a broker: a later one has nothing to do with how it ended."""
        node = self._image.brokers.get(id_)
        if node is None or node.epoch != epoch or node.fenced:
            return Outcome(None)
        self._heartbeats.end(id_)
        return Outcome(None, self.fence(id_))

    def unregister(self, id_: int) -> Outcome:
        outcome = self._cluster.unregister_broker(id_)
        self._heartbeats.end(id_)
        return outcome

    # --- directories

    def _newly_lost(self, node: BrokerRegistration, offline: Sequence[bytes]) -> list[bytes]:
        if self._policies.level < DIRECTORIES_SINCE:
            return []
        return [directory for directory in node.log_dirs if directory in offline]

    def _lose_directories(self, node: BrokerRegistration, lost: list[bytes]) -> list[Any]:
        left = [directory for directory in node.log_dirs if directory not in lost]
        change = m.BrokerRegistrationChangeRecord(node.id, node.epoch, log_dirs=left)
        return [*self._failover.directories_lost(node.id, lost), change]

    def _cordoned(self, node: BrokerRegistration, cordoned: list[bytes] | None) -> list[Any]:
        """A broker tells which of its directories take no new partitions."""
        known = self._policies.level >= CORDONED_SINCE
        if not known or cordoned is None or set(cordoned) == set(node.cordoned_log_dirs):
            return []
        return [m.BrokerRegistrationChangeRecord(node.id, node.epoch, cordoned_log_dirs=list(cordoned))]

    def _change(self, node: BrokerRegistration, *, fenced: int = 0, in_controlled_shutdown: int = 0) -> Any:
        """The record's own encoding: FENCE, UNFENCE, or 0 to leave it."""
        return m.BrokerRegistrationChangeRecord(node.id, node.epoch, fenced, in_controlled_shutdown)
