"""What the controller lets be written as the configuration of a resource, and what a new topic's answer shows.

The rules read the controller's own settings as they are now: a topic is judged together with what it takes from them.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from riverport.base.kinds import Kind
from riverport.kafka.admin import client_metrics_settings, group_settings, topic_settings
from riverport.kafka.admin.broker_settings import BrokerSettings
from riverport.kafka.admin.resources import ConfigSource, Resource, ResourceType, topic_name_problem, whole_number
from riverport.kafka.wire.errors import ApiError, ErrorCode


class EffectiveConfig(NamedTuple):
    """One line of what CreateTopics answers about a topic's configuration."""

    key: str
    value: str | None
    source: ConfigSource
    sensitive: bool


class ConfigRules:
    """The controller's rules for configurations."""

    def __init__(self, settings: Callable[[], BrokerSettings]) -> None:
        self._settings = settings

    def ensure_allowed(self, resource: Resource, configs: Mapping[str, str], existing: Mapping[str, str]) -> None:
        """Raises ApiError if `configs` may not be all that `resource` has; `existing` is what it has now."""
        match resource.kind:
            case ResourceType.TOPIC:
                self._ensure_topic(resource.name, configs, existing)
            case ResourceType.BROKER:
                _ensure_broker_name(resource.name)
            case ResourceType.GROUP:
                if not resource.name:
                    raise ApiError(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
                _refuse(group_settings.problem_of(configs, self._settings().values))
            case ResourceType.CLIENT_METRICS:
                client_metrics_settings.ensure_valid(resource.name, configs)
            case _:
                raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {resource.kind.name}")

    def _ensure_topic(self, name: str, configs: Mapping[str, str], existing: Mapping[str, str]) -> None:
        if not name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        wrong_name = topic_name_problem(name)
        if wrong_name:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong_name)
        values = self._settings().values
        remote = values.flag("remote.log.storage.system.enable")
        defaults = topic_settings.broker_defaults(values)
        _refuse(topic_settings.problem_of(configs, existing, defaults, remote_storage=remote))

    def is_list(self, kind: ResourceType, key: str) -> bool:
        """Whether entries can be appended to and subtracted from a value: known lists of topics and brokers only."""
        if kind is ResourceType.TOPIC:
            row = topic_settings.TABLE.get(key)
        elif kind is ResourceType.BROKER:
            row = self._settings().table.get(key)
        else:
            row = None
        return row is not None and row.kind is Kind.LIST

    def default_text(self, kind: ResourceType, key: str) -> str | None:
        """The default of a list that `is_list` knows."""
        table = topic_settings.TABLE if kind is ResourceType.TOPIC else self._settings().table
        return table[key].default_text()

    def is_known(self, kind: ResourceType, key: str) -> bool:
        """Whether a record with this key means anything to us; others are skipped when the metadata log is replayed."""
        match kind:
            case ResourceType.TOPIC:
                return key in topic_settings.TABLE
            case ResourceType.GROUP:
                return key in group_settings.TABLE
            case ResourceType.CLIENT_METRICS:
                return key in client_metrics_settings.TABLE
            case _:
                return kind is ResourceType.BROKER

    def effective(self, configs: Mapping[str, str]) -> list[EffectiveConfig]:
        """What a topic with these configurations of its own is shown to have: all keys with a value, and from where."""
        settings = self._settings()
        layers = (
            (settings.own, ConfigSource.DYNAMIC_BROKER),
            (settings.cluster, ConfigSource.DYNAMIC_DEFAULT_BROKER),
            (settings.given, ConfigSource.STATIC_BROKER),
        )
        found = []
        for key in sorted(topic_settings.TABLE):
            row = topic_settings.TABLE[key]
            text, source = row.default_text(), ConfigSource.DEFAULT
            if key in configs:
                text, source = configs[key], ConfigSource.DYNAMIC_TOPIC
            else:
                for name, unit, layer, layer_source in (
                    (name, unit, *layer) for layer in layers for name, unit in topic_settings.SYNONYMS.get(key, ())
                ):
                    if name in layer:
                        text, source = layer[name] if unit == 1 else str(int(layer[name]) * unit), layer_source
                        break
            if text is not None:
                found.append(EffectiveConfig(key, None if row.sensitive else text, source, row.sensitive))
        return found


def _ensure_broker_name(name: str) -> None:
    if not name:
        return
    number = whole_number(name)
    if number is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Unable to parse broker name as a base 10 number.")
    if number < 0:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Invalid negative broker ID.")


def _refuse(problem: str | None) -> None:
    if problem:
        raise ApiError(ErrorCode.INVALID_CONFIG, problem)
