"""DescribeConfigs v1-4: every configuration of a resource, where its value comes from and where else it has one.

Secrets are shown by name only, and so is whatever no table knows: it may be the secret of a plug-in (KIP-226). Broker
settings are answered by the broker that is asked about; which one that is, is the client's business.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from riverport.base.kinds import Kind, text_of
from riverport.base.settings import ConfigError, Setting, Table
from riverport.kafka.admin import client_metrics_settings, group_settings, topic_settings
from riverport.kafka.admin.broker_settings import BrokerSettings, Synonym
from riverport.kafka.admin.resources import ConfigSource, Resource, ResourceType, topic_name_problem, whole_number
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

_Request = m.DescribeConfigsRequest
_Result = m.DescribeConfigsResponse.DescribeConfigsResult
_Entry = m.DescribeConfigsResponse.DescribeConfigsResourceResult
_Synonym = m.DescribeConfigsResponse.DescribeConfigsSynonym

_UNKNOWN_KIND = 0


class ConfigView(Protocol):
    """What DescribeConfigs looks at: one broker's settings, and the metadata's dynamic configurations."""

    @property
    def node_id(self) -> int: ...

    @property
    def settings(self) -> BrokerSettings: ...

    def has_topic(self, name: str) -> bool: ...

    def configs(self, resource: Resource) -> Mapping[str, str]:
        """The dynamic configurations of a resource, as the metadata holds them."""

    def loggers(self) -> Mapping[str, str]:
        """Log levels by logger; the root logger is "root"."""


def describe(view: ConfigView, request: m.DescribeConfigsRequest) -> m.DescribeConfigsResponse:
    strange = next((r for r in request.resources if ResourceType.of(r.resource_type) is ResourceType.UNKNOWN), None)
    if strange is not None:
        # One resource that cannot be meant spoils the request: Kafka cannot even ask whether it is authorized.
        words = f"Unexpected resource type {strange.resource_type} for resource {strange.resource_name}"
        refused = ApiError(ErrorCode.INVALID_REQUEST, words)
        return m.DescribeConfigsResponse(results=[_refusal(resource, refused) for resource in request.resources])
    return m.DescribeConfigsResponse(results=[_describe_one(view, resource, request) for resource in request.resources])


def _describe_one(view: ConfigView, resource: _Request.DescribeConfigsResource, request: _Request) -> _Result:
    name, kind = resource.resource_name, ResourceType.of(resource.resource_type)
    writer = _Writer(resource.configuration_keys, request.include_synonyms, request.include_documentation)
    try:
        match kind:
            case ResourceType.TOPIC:
                _topic(view, name, writer)
            case ResourceType.BROKER:
                _broker(view, name, writer)
            case ResourceType.BROKER_LOGGER:
                _loggers(view, name, writer)
            case ResourceType.CLIENT_METRICS:
                _client_metrics(view, name, writer)
            case _:
                _group(view, name, writer)
    except ApiError as refused:
        return _refusal(resource, refused)
    except ConfigError as wrong:
        # Only what was written around the checks: say so for this resource and go on with the others.
        return _refusal(resource, ApiError(ErrorCode.INVALID_CONFIG, wrong.problems[0]))
    return _Result(resource_type=resource.resource_type, resource_name=name, configs=writer.entries)


def _refusal(resource: _Request.DescribeConfigsResource, refused: ApiError) -> _Result:
    return _Result(refused.code, refused.message or "", resource.resource_type, resource.resource_name)


class _Writer:
    """Collects the entries of one resource that were asked for."""

    def __init__(self, keys: list[str] | None, synonyms: bool, documentation: bool) -> None:
        self.entries: list[_Entry] = []
        self._keys = frozenset(keys) if keys else None
        self._synonyms = synonyms
        self._documentation = documentation

    def wants(self, key: str) -> bool:
        return self._keys is None or key in self._keys

    def add(
        self,
        key: str,
        text: str | None,
        row: Setting | None,
        sources: Sequence[Synonym],
        *,
        read_only: bool = False,
        sensitive: bool | None = None,
        documented: bool = True,
    ) -> None:
        """The first of `sources` is where the value comes from; without any it is the default."""
        hidden = (row is None or row.kind is Kind.PASSWORD) if sensitive is None else sensitive
        shown = sources if self._synonyms else ()
        self.entries.append(
            _Entry(
                name=key,
                value=None if hidden else text,
                read_only=read_only,
                config_source=sources[0].source if sources else ConfigSource.DEFAULT,
                is_sensitive=hidden,
                synonyms=[_Synonym(s.key, None if hidden else s.text, s.source) for s in shown],
                config_type=row.kind.value if row else _UNKNOWN_KIND,
                # As Kafka, nothing for keys of one listener and for those that are dynamic only.
                documentation=row.doc if self._documentation and documented and row else None,
            )
        )


def _topic(view: ConfigView, name: str, writer: _Writer) -> None:
    wrong_name = topic_name_problem(name)
    if wrong_name:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, wrong_name)
    if not view.has_topic(name):
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    settings, own = view.settings, view.configs(Resource(ResourceType.TOPIC, name))
    values = topic_settings.values_of(topic_settings.broker_defaults(settings.values), own)
    for key in _keys(topic_settings.TABLE, own):
        if writer.wants(key):
            row = topic_settings.TABLE.get(key)
            text = text_of(values[key]) if row else own[key]
            names = topic_settings.SYNONYMS.get(key, ())
            inherited = settings.sources(names[0][0]) if names else []
            mine = [Synonym(key, text, ConfigSource.DYNAMIC_TOPIC)] if key in own else []
            writer.add(key, text, row, mine + inherited)


def _group(view: ConfigView, name: str, writer: _Writer) -> None:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
    settings, own = view.settings, view.configs(Resource(ResourceType.GROUP, name))
    values = group_settings.values_of(group_settings.broker_defaults(settings.values), own)
    for key in _keys(group_settings.TABLE, own):
        if writer.wants(key):
            row = group_settings.TABLE.get(key)
            text = text_of(values[key]) if row else own[key]
            if key in group_settings.SYNONYMS:
                inherited = settings.sources(group_settings.SYNONYMS[key])
            else:
                inherited = [Synonym(key, row.default_text(), ConfigSource.DEFAULT)] if row else []
            mine = [Synonym(key, text, ConfigSource.GROUP)] if key in own else []
            writer.add(key, text, row, mine + inherited)


def _client_metrics(view: ConfigView, name: str, writer: _Writer) -> None:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Client metrics subscription name must not be empty")
    own = view.configs(Resource(ResourceType.CLIENT_METRICS, name))
    values = client_metrics_settings.values_of(own)
    for key, row in client_metrics_settings.TABLE.items():
        if writer.wants(key):
            text = text_of(values[key])
            writer.add(key, text, row, [Synonym(key, text, ConfigSource.CLIENT_METRICS)] if key in own else [])


def _broker(view: ConfigView, name: str, writer: _Writer) -> None:
    settings = view.settings
    if not name:
        for key, text in settings.cluster.items():
            if writer.wants(key):
                cluster = [s for s in settings.sources(key) if s.source is ConfigSource.DYNAMIC_DEFAULT_BROKER]
                _add_broker(settings, key, text, cluster, writer)
        return
    _ensure_this_broker(view.node_id, name, "expected {} or empty string, but received {}")
    for key in _keys(settings.table, settings.values.given):
        if writer.wants(key):
            value = text_of(settings.values[key]) if key in settings.table else settings.values.given[key]
            _add_broker(settings, key, value, settings.sources(key), writer)


def _add_broker(settings: BrokerSettings, key: str, text: str | None, sources: list[Synonym], writer: _Writer) -> None:
    row, known = settings.row(key), key in settings.table
    writer.add(key, text, row, sources, read_only=not settings.is_dynamic(key), documented=known)


def _loggers(view: ConfigView, name: str, writer: _Writer) -> None:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
    _ensure_this_broker(view.node_id, name, "expected {} but received {}")
    for logger, level in sorted(view.loggers().items()):
        if writer.wants(logger):
            source = [Synonym(logger, level, ConfigSource.DYNAMIC_BROKER_LOGGER)]
            writer.add(logger, level, None, source, sensitive=False)
            writer.entries[-1].synonyms = []


def _ensure_this_broker(node_id: int, name: str, words: str) -> None:
    number = whole_number(name)
    if number is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}")
    if number != node_id:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unexpected broker id, {words.format(node_id, name)}")


def _keys(table: Table, given: Mapping[str, Any]) -> list[str]:
    """The keys to show: all of the table but internal ones, and whatever else was given."""
    return [key for key, row in table.items() if not row.internal or key in given] + [
        key for key in given if key not in table
    ]
