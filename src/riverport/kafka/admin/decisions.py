"""What the controller writes for AlterConfigs and IncrementalAlterConfigs."""

from collections.abc import Mapping, Sequence
from typing import Any

from riverport.kafka.admin.alter import Altered, Features, plan_all
from riverport.kafka.admin.resources import Resource, ResourceType
from riverport.kafka.admin.rules import ConfigRules
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

MIN_INSYNC_REPLICAS = "min.insync.replicas"
CORDONED_SINCE = 30
"""The metadata.version (4.3-IV0) from which log directories can be cordoned (KIP-1066)."""


class ConfigDecisions:
    """Decisions on configurations; the image is only read."""

    def __init__(self, image: MetadataImage, rules: ConfigRules) -> None:
        self._image = image
        self._rules = rules

    def alter(self, altered: Sequence[Altered]) -> tuple[list[ApiError | None], list[Any]]:
        """What becomes of each resource, in order, and the records that make it so."""
        plans = plan_all(self._rules, altered, self._configs, self._ensure_exists, self._features())
        errors: list[ApiError | None] = []
        records: list[Any] = []
        for one, plan in zip(altered, plans, strict=True):
            if isinstance(plan, ApiError):
                errors.append(plan)
                continue
            errors.append(None)
            records += [m.ConfigRecord(one.number, one.name, key, value) for key, value in plan.items()]
        return errors, records + self._clear_elr(records)

    def _clear_elr(self, records: Sequence[Any]) -> list[Any]:
        """Replicas are eligible by the old min.insync.replicas: with a new one nobody is, until the ISR moves again."""
        if not self._features().elr:
            return []
        return [
            m.ClearElrRecord(record.resource_name if record.resource_type == ResourceType.TOPIC else "")
            for record in records
            if record.name == MIN_INSYNC_REPLICAS
        ]

    def _features(self) -> Features:
        levels = self._image.features
        return Features(
            elr=levels.get("eligible.leader.replicas.version", 0) > 0,
            cordoned_log_dirs=levels.get("metadata.version", 0) >= CORDONED_SINCE,
        )

    def _configs(self, resource: Resource) -> Mapping[str, str]:
        return self._image.config(resource.kind, resource.name)

    def _ensure_exists(self, resource: Resource) -> None:
        image, name = self._image, resource.name
        if resource.kind is ResourceType.TOPIC and name not in image.topics:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        if resource.kind is ResourceType.BROKER and name and not {int(name)} & {*image.brokers, *image.controllers}:
            raise ApiError(ErrorCode.BROKER_ID_NOT_REGISTERED, f"No node with id {name} found.")
