"""UpdateFeatures: which changes of feature levels are allowed, and the records that make them (KIP-584, KIP-778).

All updates of a request take effect together or none does. A level that is there already may be set again. The level of
`kraft.version` is kept in control records of the quorum, not among the features (KIP-853).
"""

from collections.abc import Callable, Mapping
from typing import Any

from riverport.kafka.controller import features
from riverport.kafka.controller.image import BROKER_RESOURCE, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE = 1, 2, 3
MIN_INSYNC_REPLICAS = "min.insync.replicas"
_ALL_FAILED = "The update failed for all features since the following feature had an error: "


class FeatureUpdates:
    """Decisions on feature levels; the image is only read."""

    def __init__(self, image: MetadataImage, node_id: int, default_min_insync: Callable[[], int]) -> None:
        """`default_min_insync` is the cluster's min.insync.replicas where nobody has changed it."""
        self._image = image
        self._node_id = node_id
        self._default_min_insync = default_min_insync

    def update(self, request: m.UpdateFeaturesRequest, version: int, kraft_version: int) -> Outcome:
        """`kraft_version` is the one in force; a higher one that is asked for is a control record."""
        wanted = {update.feature: update for update in request.feature_updates}
        current = {**self._image.features, features.KRAFT_VERSION: kraft_version}
        proposed = {**current, **{name: update.max_version_level for name, update in wanted.items()}}
        records: list[Any] = []
        try:
            for name, update in sorted(wanted.items()):
                self._ensure_allowed(name, update.max_version_level, update.upgrade_type, current.get(name, 0))
                records += self._records(name, update.max_version_level, proposed)
        except ApiError as refused:
            return Outcome(m.UpdateFeaturesResponse(0, refused.code, f"{_ALL_FAILED}{refused.message}"))
        response = m.UpdateFeaturesResponse(0, 0, None)
        if version <= 1:
            # "NONE" is what Apache Kafka calls success here.
            result = m.UpdateFeaturesResponse.UpdatableFeatureResult
            response.results = [result(update.feature, 0, "NONE") for update in request.feature_updates]
        if request.validate_only:
            return Outcome(response)
        outcome = Outcome(response, records)
        if proposed[features.KRAFT_VERSION] > kraft_version:
            outcome.control.append(m.KRaftVersionRecord(0, proposed[features.KRAFT_VERSION]))
        return outcome

    def _ensure_allowed(self, name: str, level: int, kind: int, current: int) -> None:
        """Raises ApiError INVALID_UPDATE_VERSION."""
        problem = None
        if kind not in (UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE):
            problem = "The controller does not support the given upgrade type."
        elif level < 0:
            problem = "A feature version cannot be less than 0."
        elif level == 0 and name not in features.SUPPORTED:
            problem = f"Feature {name} not found."
        else:
            problem = self._unsupported(name, level)
        if problem is None and level < current:
            if kind == UPGRADE:
                problem = (
                    "Can't downgrade the version of this feature without setting the upgrade type to either safe or "
                    "unsafe downgrade."
                )
            elif name == features.KRAFT_VERSION:
                problem = "Can't downgrade the version of this feature."
        elif problem is None and level > current and kind != UPGRADE:
            problem = "Can't downgrade to a newer version."
        if problem is not None:
            raise _refused(f"Invalid update version {level} for feature {name}. {problem}")
        if name == features.METADATA_VERSION and level < current:
            _ensure_lossless(current, level, kind)

    def _unsupported(self, name: str, level: int) -> str | None:
        """Who of the nodes does not know the level: this controller, the brokers, the other controllers."""
        nodes: list[tuple[str, Mapping[str, tuple[int, int]]]] = [
            (f"Local controller {self._node_id}", features.SUPPORTED)
        ]
        nodes += [(f"Broker {id_}", node.features) for id_, node in sorted(self._image.brokers.items())]
        nodes += [
            (f"Controller {id_}", node.features)
            for id_, node in sorted(self._image.controllers.items())
            if id_ != self._node_id
        ]
        for who, known in nodes:
            low, high = known.get(name, (0, 0))
            if not (low <= level <= high):
                if high == 0:
                    return f"{who} does not support this feature."
                return f"{who} only supports versions {low}-{high}"
        return None

    def _records(self, name: str, level: int, proposed: Mapping[str, int]) -> list[Any]:
        if name == features.KRAFT_VERSION:
            return []
        for other, least in features.DEPENDENCIES.get((name, level), {}).items():
            if proposed.get(other, 0) < least:
                raise _refused(
                    f"Invalid update version {level} for feature {name}. {name} could not be set to {level} because it "
                    f"depends on {other} level {least}"
                )
        record = m.FeatureLevelRecord(name, level)
        if name == features.ELR_VERSION and level > self._image.features.get(name, 0):
            return [*self._one_min_insync(), record]
        return [record]

    def _one_min_insync(self) -> list[Any]:
        """Eligible leader replicas are counted against one value for the whole cluster: no broker keeps its own."""
        records: list[Any] = []
        if MIN_INSYNC_REPLICAS not in self._image.config(BROKER_RESOURCE, ""):
            records.append(m.ConfigRecord(BROKER_RESOURCE, "", MIN_INSYNC_REPLICAS, str(self._default_min_insync())))
        for (kind, name), values in sorted(self._image.configs.items()):
            if kind == BROKER_RESOURCE and name and MIN_INSYNC_REPLICAS in values:
                records.append(m.ConfigRecord(kind, name, MIN_INSYNC_REPLICAS, None))
        return records


def _ensure_lossless(current: int, level: int, kind: int) -> None:
    """Raises ApiError where records of a level between would not fit the lower one."""
    if not any(level < changed <= current for changed in features.RECORDS_CHANGED):
        return
    why = "Unsafe metadata downgrade is not supported in this version."
    if kind != UNSAFE_DOWNGRADE:
        why = "Refusing to perform the requested downgrade because it might delete metadata information."
    raise _refused(f"Unsupported metadata.version downgrade from {current} to {level}. {why}")


def _refused(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_UPDATE_VERSION, message)
