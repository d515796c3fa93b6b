"""Brokers and controllers of the cluster: who is registered, with what (KIP-631, KIP-919)."""

from collections.abc import Callable
from typing import Any

from riverport.base.ids import uuid_text
from riverport.kafka.controller.failover import Failover
from riverport.kafka.controller.features import ELR_VERSION, METADATA_VERSION
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.registrations import BrokerRegistration
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

PRODUCER_ID_BLOCK = 1_000
MAX_PRODUCER_ID = 2**63 - 1
DIRECTORIES_SINCE, CORDONED_SINCE = 17, 30
"""The metadata.version from which the cluster knows of log directories, and of cordoned ones (KIP-858, KIP-1066)."""
CONTROLLERS_SINCE = 15
"""The metadata.version (3.7-IV0) from which controllers register themselves (KIP-919)."""
RESERVED_DIRECTORIES = 100
"""Directory ids below this stand for something else than a directory."""


class Cluster:
    """Decisions on nodes; the image is only read."""

    def __init__(self, image: MetadataImage, cluster_id: str, failover: Failover) -> None:
        self._image = image
        self._cluster_id = cluster_id
        self._failover = failover

    def register_broker(
        self, request: m.BrokerRegistrationRequest, next_offset: int, alive: Callable[[int], bool]
    ) -> Outcome:
        """A broker's epoch is `next_offset`, where the records of its registration begin.

        `alive(id)` tells whether the incarnation that is registered under an id may still run: it has a session, and
        nothing is known of its end.
        """
        if request.cluster_id != self._cluster_id:
            raise ApiError(
                ErrorCode.INCONSISTENT_CLUSTER_ID,
                f"Expected cluster ID {self._cluster_id}, but got cluster ID {request.cluster_id}",
            )
        known = self._image.brokers.get(request.broker_id)
        is_new = known is None or known.incarnation_id != request.incarnation_id
        # Who has stopped cleanly left its epoch in its directories as the last thing it did.
        was_clean = known is not None and known.epoch == request.previous_broker_epoch
        if known is not None and is_new and not was_clean and alive(request.broker_id):
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
        before = self._end_of_former_life(request.broker_id, was_clean) if is_new else []
        return Outcome(m.BrokerRegistrationResponse(broker_epoch=record.broker_epoch), [*before, record])

    def _end_of_former_life(self, id_: int, was_clean: bool) -> list[Any]:
        """A new incarnation is in sync nowhere; after an unclean end it may even lack what it had acknowledged."""
        if was_clean or self._image.features.get(ELR_VERSION, 0) == 0:
            return self._failover.gone(id_)
        return self._failover.gone_with_its_data(id_)

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
            else:
                problem = self._other_owner(request)
        if problem is None and METADATA_VERSION not in {feature.name for feature in request.features}:
            problem = "Request features do not contain 'metadata.version'"
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_REGISTRATION, problem)

    def _other_owner(self, request: m.BrokerRegistrationRequest) -> str | None:
        for node in self._image.brokers.values():
            shared = set(node.log_dirs) & set(request.log_dirs)
            if shared and node.id != request.broker_id:
                return f"Broker {node.id} is already registered with directory {uuid_text(min(shared))}"
        return None

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
        records = [*self._failover.gone_with_its_data(id_), m.UnregisterBrokerRecord(id_, node.epoch)]
        return Outcome(m.UnregisterBrokerResponse(error_message=""), records)

    def register_controller(self, request: m.ControllerRegistrationRequest) -> Outcome:
        """Raises ApiError UNSUPPORTED_VERSION at a level that has no record for it."""
        if self._image.features.get(METADATA_VERSION, 0) < CONTROLLERS_SINCE:
            text = "The current MetadataVersion is too old to support controller registrations."
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, text)
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

    def registered(self, id_: int, epoch: int) -> BrokerRegistration:
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
        self.registered(request.broker_id, request.broker_epoch)
        start = self._image.next_producer_id
        if start > MAX_PRODUCER_ID - PRODUCER_ID_BLOCK:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, "Exhausted all producerIds")
        record = m.ProducerIdsRecord(request.broker_id, request.broker_epoch, start + PRODUCER_ID_BLOCK)
        response = m.AllocateProducerIdsResponse(producer_id_start=start, producer_id_len=PRODUCER_ID_BLOCK)
        return Outcome(response, [record])
