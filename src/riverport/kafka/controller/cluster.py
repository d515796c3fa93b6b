"""Brokers and controllers of the cluster: registration, heartbeats, fencing (KIP-631)."""

from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode


class Cluster:
    """Decisions on nodes; the image is only read."""

    def __init__(self, image: MetadataImage, cluster_id: str) -> None:
        self._image = image
        self._cluster_id = cluster_id

    def register_broker(self, request: m.BrokerRegistrationRequest, next_offset: int) -> Outcome:
        """A broker's epoch is the offset of its registration record, `next_offset`."""
        if request.cluster_id != self._cluster_id:
            raise ApiError(
                ErrorCode.INCONSISTENT_CLUSTER_ID,
                f"Expected cluster ID {self._cluster_id}, but got cluster ID {request.cluster_id}",
            )
        known = self._image.brokers.get(request.broker_id)
        if known is not None and known.incarnation_id != request.incarnation_id and not known.fenced:
            raise ApiError(
                ErrorCode.DUPLICATE_BROKER_REGISTRATION,
                "Another broker is registered with that broker id. If the broker was recently restarted this should "
                "self-resolve once the heartbeat manager expires the broker's session.",
            )
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
        return Outcome(m.BrokerRegistrationResponse(broker_epoch=next_offset), [record])

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

    def change_broker(self, id_: int, epoch: int, *, fenced: int = 0, shutdown: int = 0) -> list[Any]:
        return [m.BrokerRegistrationChangeRecord(id_, epoch, fenced, shutdown)]

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

    def shutdown_records(self, id_: int) -> list[Any]:
        """What a broker's clean stop changes: its partitions lose their last leader, and it is fenced."""
        node = self._image.brokers[id_]
        records: list[Any] = [m.BrokerRegistrationChangeRecord(id_, node.epoch, 0, 1)]
        elr = self._image.features.get("eligible.leader.replicas.version", 0) > 0
        for topic in self._image.topics.values():
            for index, partition in topic.partitions.items():
                if partition.leader == id_ and partition.isr == (id_,):
                    change = m.PartitionChangeRecord(index, topic.id, isr=[], leader=-1)
                    if elr:
                        change.eligible_leader_replicas = [id_]
                        change.last_known_elr = [id_]
                    else:
                        change.isr = None
                    records.append(change)
        records.append(m.BrokerRegistrationChangeRecord(id_, node.epoch, 1, 0))
        return records

    def unfence_records(self, id_: int) -> list[Any]:
        """A broker is up: it leads again what waits for it, as the last in-sync replica or as an eligible one."""
        node = self._image.brokers[id_]
        records: list[Any] = [m.BrokerRegistrationChangeRecord(id_, node.epoch, -1, 0)]
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
