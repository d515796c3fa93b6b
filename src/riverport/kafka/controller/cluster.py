"""Brokers and controllers of the cluster: registration, heartbeats, fencing (KIP-631)."""

from collections.abc import Callable
from typing import Any

from riverport.kafka.controller.features import METADATA_VERSION
from riverport.kafka.controller.image import BrokerRegistration, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

PRODUCER_ID_BLOCK = 1_000
MAX_PRODUCER_ID = 2**63 - 1
DIRECTORIES_SINCE, CORDONED_SINCE = 17, 30
"""The metadata.version from which the cluster knows of log directories, and of cordoned ones (KIP-858, KIP-1066)."""
RESERVED_DIRECTORIES = 100
"""Directory ids below this stand for something else than a directory."""


class Cluster:
    """Decisions on nodes; the image is only read."""

    def __init__(self, image: MetadataImage, cluster_id: str) -> None:
        self._image = image
        self._cluster_id = cluster_id

    def register_broker(
        self, request: m.BrokerRegistrationRequest, next_offset: int, alive: Callable[[int], bool]
    ) -> Outcome:
        """A broker's epoch is the offset of its registration record, `next_offset`.

        `alive(id)` tells whether the broker that is registered under an id still has a session.
        """
        if request.cluster_id != self._cluster_id:
            raise ApiError(
                ErrorCode.INCONSISTENT_CLUSTER_ID,
                f"Expected cluster ID {self._cluster_id}, but got cluster ID {request.cluster_id}",
            )
        known = self._image.brokers.get(request.broker_id)
        if known is not None and known.incarnation_id != request.incarnation_id and alive(request.broker_id):
            raise ApiError(
                ErrorCode.DUPLICATE_BROKER_REGISTRATION,
                "Another broker is registered with that broker id. If the broker was recently restarted this should "
                "self-resolve once the heartbeat manager expires the broker's session.",
            )
        self._check_registration(request)
        self._check_features(request.features)
        record = m.RegisterBrokerRecord(
            broker_id=request.broker_id,
            incarnation_id=request.incarnation_id,
            broker_epoch=next_offset,
            end_points=[
                m.RegisterBrokerRecord.BrokerEndpoint(e.name, e.host, e.port, e.security_protocol)
                for e in request.listeners
            ],
            features=[
                m.RegisterBrokerRecord.BrokerFeature(f.name, f.min_supported_version, f.max_supported_version)
                for f in request.features
            ],
            rack=request.rack,
            fenced=True,
            log_dirs=list(request.log_dirs),
        )
        if known is not None and known.incarnation_id == request.incarnation_id:
            # The same process, which has something to add; what it is to the cluster stays.
            record.broker_epoch, record.fenced = known.epoch, known.fenced
            record.in_controlled_shutdown = known.in_controlled_shutdown
            record.cordoned_log_dirs = list(known.cordoned_log_dirs) or None
        return Outcome(m.BrokerRegistrationResponse(broker_epoch=record.broker_epoch), [record])

    def _check_registration(self, request: m.BrokerRegistrationRequest) -> None:
        if request.is_migrating_zk_broker:
            text = "Controller does not support registering ZK brokers."
            raise ApiError(ErrorCode.BROKER_ID_NOT_REGISTERED, text)
        problem = None
        if self._image.features.get(METADATA_VERSION, 0) >= DIRECTORIES_SINCE:
            if not request.log_dirs:
                problem = "No directories specified in request"
            elif any(int.from_bytes(id_, "big") < RESERVED_DIRECTORIES for id_ in request.log_dirs):
                problem = "Reserved directory ID in request"
            elif len(set(request.log_dirs)) < len(request.log_dirs):
                problem = "Duplicate directory ID in request"
        if problem is None and METADATA_VERSION not in {feature.name for feature in request.features}:
            problem = "Request features do not contain 'metadata.version'"
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_REGISTRATION, problem)

    def _check_features(self, features: Any) -> None:
        offered = {f.name: (f.min_supported_version, f.max_supported_version) for f in features}
        for name, level in self._image.features.items():
            low, high = offered.get(name, (0, 0))
            if not low <= level <= high and name != "kraft.version":
                raise ApiError(
                    ErrorCode.UNSUPPORTED_VERSION,
                    f"Unable to register because the broker does not support finalized version {level} of {name}. "
                    f"The broker wants a version between {low} and {high}, inclusive.",
                )

    def unregister_broker(self, id_: int) -> Outcome:
        """Forget a broker, alive or not: one that is alive is a stranger from now on, until it is started again."""
        node = self._image.brokers.get(id_)
        if node is None:
            raise ApiError(ErrorCode.BROKER_ID_NOT_REGISTERED, f"Broker ID {id_} is not currently registered")
        records = [*self._loss_records(id_), m.UnregisterBrokerRecord(id_, node.epoch)]
        return Outcome(m.UnregisterBrokerResponse(error_message=""), records)

    def register_controller(self, request: m.ControllerRegistrationRequest) -> Outcome:
        record = m.RegisterControllerRecord(
            request.controller_id,
            request.incarnation_id,
            request.zk_migration_ready,
            [
                m.RegisterControllerRecord.ControllerEndpoint(e.name, e.host, e.port, e.security_protocol)
                for e in request.listeners
            ],
            [
                m.RegisterControllerRecord.ControllerFeature(f.name, f.min_supported_version, f.max_supported_version)
                for f in request.features
            ],
        )
        return Outcome(m.ControllerRegistrationResponse(), [record])

    # --- heartbeats

    def heartbeat(self, request: m.BrokerHeartbeatRequest) -> Outcome:
        """What a broker wants and has reached decides its next state (KIP-631).

        fenced -> unfenced          it wants to be, and has read the metadata up to its own registration
        unfenced -> fenced          it wants to be
        any -> fenced for good      it wants to shut down: its leaderships are given up first
        """
        node = self._registered(request.broker_id, request.broker_epoch)
        records = self._cordoned_records(node, request.cordoned_log_dirs)
        caught_up = request.current_metadata_offset >= node.epoch
        response = m.BrokerHeartbeatResponse(is_caught_up=caught_up, is_fenced=node.fenced)
        if request.want_shut_down:
            response.should_shut_down = response.is_fenced = True
            if not node.fenced:
                if not request.want_fence:
                    records.append(self._change(node, in_controlled_shutdown=1))
                records += self.fence_records(node.id)
        elif request.want_fence:
            response.is_fenced = True
            if not node.fenced:
                records += self.fence_records(node.id)
        elif node.fenced and caught_up:
            response.is_fenced = False
            records += self._unfence_records(node.id)
        return Outcome(response, records)

    def _cordoned_records(self, node: BrokerRegistration, cordoned: list[bytes] | None) -> list[Any]:
        """A broker tells which of its directories take no new partitions."""
        known = self._image.features.get(METADATA_VERSION, 0) >= CORDONED_SINCE
        if not known or cordoned is None or set(cordoned) == set(node.cordoned_log_dirs):
            return []
        return [m.BrokerRegistrationChangeRecord(node.id, node.epoch, cordoned_log_dirs=list(cordoned))]

    def _registered(self, id_: int, epoch: int) -> BrokerRegistration:
        """Raises ApiError STALE_BROKER_EPOCH for who is not, or no longer, registered."""
        node = self._image.brokers.get(id_)
        if node is None:
            raise ApiError(ErrorCode.STALE_BROKER_EPOCH, f"No broker registration found for broker id {id_}")
        if node.epoch != epoch:
            raise ApiError(
                ErrorCode.STALE_BROKER_EPOCH, f"Expected broker epoch {epoch}, but found broker epoch {node.epoch}"
            )
        return node

    def allocate_producer_ids(self, request: m.AllocateProducerIdsRequest) -> Outcome:
        """The next block of producer ids for a broker (KIP-730)."""
        self._registered(request.broker_id, request.broker_epoch)
        start = self._image.next_producer_id
        if start > MAX_PRODUCER_ID - PRODUCER_ID_BLOCK:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, "Exhausted all producerIds")
        record = m.ProducerIdsRecord(request.broker_id, request.broker_epoch, start + PRODUCER_ID_BLOCK)
        response = m.AllocateProducerIdsResponse(producer_id_start=start, producer_id_len=PRODUCER_ID_BLOCK)
        return Outcome(response, [record])

    # --- what fencing means for partitions

    def _change(self, node: BrokerRegistration, *, fenced: int = 0, in_controlled_shutdown: int = 0) -> Any:
        """`fenced` is 1 to fence, -1 to unfence, 0 to leave it; the record's own encoding."""
        return m.BrokerRegistrationChangeRecord(node.id, node.epoch, fenced, in_controlled_shutdown)

    def fence_records(self, id_: int) -> list[Any]:
        """A broker is gone: partitions of which it was the last in-sync replica lose their leader, and it is fenced."""
        return [*self._loss_records(id_), self._change(self._image.brokers[id_], fenced=1)]

    def _loss_records(self, id_: int) -> list[Any]:
        records: list[Any] = []
        elr = self._image.features.get("eligible.leader.replicas.version", 0) > 0
        for topic in self._image.topics.values():
            for index, partition in topic.partitions.items():
                if partition.leader == id_ and partition.isr == (id_,):
                    change = m.PartitionChangeRecord(index, topic.id, leader=-1)
                    if elr:
                        change.isr = []
                        change.eligible_leader_replicas = [id_]
                        change.last_known_elr = [id_]
                    records.append(change)
        return records

    def _unfence_records(self, id_: int) -> list[Any]:
        """A broker is up: it leads again what waits for it, as the last in-sync replica or as an eligible one."""
        records: list[Any] = [self._change(self._image.brokers[id_], fenced=-1)]
        for topic in self._image.topics.values():
            for index, partition in topic.partitions.items():
                if partition.leader != -1 or id_ not in (*partition.isr, *partition.elr):
                    continue
                change = m.PartitionChangeRecord(index, topic.id, leader=id_)
                if id_ not in partition.isr:
                    change.isr = [id_]
                if partition.elr:
                    change.eligible_leader_replicas = [other for other in partition.elr if other != id_]
                if partition.last_known_elr:
                    change.last_known_elr = []
                records.append(change)
        return records
