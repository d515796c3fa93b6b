"""AlterConfigs and IncrementalAlterConfigs: from a request to the keys that change (KIP-226, KIP-339).

A broker looks first (`check_on_broker`): log levels end with it, changes of its own settings must be ones it can make
while it runs. What is left goes to the controller, which works out the new values and judges them (`plan`). One
resource changes as a whole or not at all; several resources of a request are independent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from riverport.base.kinds import Kind
from riverport.base.settings import ConfigError
from riverport.kafka.admin import loggers
from riverport.kafka.admin.broker_settings import BrokerSettings
from riverport.kafka.admin.resources import Operation, Resource, ResourceType, whole_number
from riverport.kafka.admin.rules import ConfigRules
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

VALUE_MAX: Final = 32_767
"""Characters of one value: a ConfigRecord cannot hold more."""


class Change(NamedTuple):
    key: str
    operation: int
    value: str | None


class Altered(NamedTuple):
    """One resource of a request. `whole` replaces everything it has (AlterConfigs), else single keys change."""

    number: int  # the resource type as sent, known or not
    name: str
    changes: tuple[Change, ...]
    whole: bool

    @property
    def resource(self) -> Resource:
        return Resource(ResourceType.of(self.number), self.name)


class Features(NamedTuple):
    """What of the cluster's finalized features matters for configurations."""

    elr: bool = True  # eligible.leader.replicas.version >= 1
    cordoned_log_dirs: bool = True  # metadata.version >= 4.3-IV0


class BrokerSide(Protocol):
    """What a broker knows when it checks a request."""

    @property
    def node_id(self) -> int: ...

    @property
    def settings(self) -> BrokerSettings: ...

    def configs(self, resource: Resource) -> Mapping[str, str]:
        """The dynamic configurations of a resource, as the metadata holds them."""

    def loggers(self) -> Mapping[str, str]:
        """Log levels by logger; the root logger is "root"."""


class Verdict(NamedTuple):
    """What a broker says about one resource: an error, log levels to set (it is done then), or neither: ask on."""

    error: ApiError | None = None
    levels: Mapping[str, str | None] | None = None

    @property
    def is_open(self) -> bool:
        return self.error is None and self.levels is None


def incremental(request: m.IncrementalAlterConfigsRequest) -> list[Altered]:
    return [
        Altered(
            resource.resource_type,
            resource.resource_name,
            tuple(Change(entry.name, entry.config_operation, entry.value) for entry in resource.configs),
            False,
        )
        for resource in request.resources
    ]


def legacy(request: m.AlterConfigsRequest) -> list[Altered]:
    return [
        Altered(
            resource.resource_type,
            resource.resource_name,
            tuple(Change(entry.name, Operation.SET, entry.value) for entry in resource.configs),
            True,
        )
        for resource in request.resources
    ]


def check_on_broker(broker: BrokerSide, altered: Sequence[Altered]) -> list[Verdict]:
    """A broker's verdict on each resource of a request, in order."""
    several = _repeated(altered)
    verdicts = []
    for one in altered:
        try:
            if (one.number, one.name) in several:
                raise ApiError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            verdicts.append(Verdict(levels=_check_one(broker, one)))
        except ApiError as refused:
            verdicts.append(Verdict(error=refused))
    return verdicts


def _check_one(broker: BrokerSide, one: Altered) -> Mapping[str, str | None] | None:
    """Log levels to set, or None. Raises ApiError."""
    _ensure_plain(one)
    kind = one.resource.kind
    if kind is ResourceType.BROKER_LOGGER and not one.whole:
        _ensure_this_node(broker.node_id, one.name, "node id. Expected {}, but received {}")
        return loggers.changes_of(one.changes, broker.loggers())
    if kind is ResourceType.BROKER:
        if one.name:
            _ensure_this_node(broker.node_id, one.name, "broker id, expected {}, but received {}")
        _ensure_changeable(broker, one)
    elif kind not in (ResourceType.TOPIC, ResourceType.CLIENT_METRICS, ResourceType.GROUP):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {one.number}")
    return None


def _ensure_plain(one: Altered) -> None:
    """No key twice, a value wherever one is needed, and only operations that exist."""
    keys = [change.key for change in one.changes]
    if len(set(keys)) != len(keys):
        raise ApiError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    empty = [change.key for change in one.changes if change.value is None and change.operation != Operation.DELETE]
    if empty:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(empty)}")
    if one.resource.kind is not ResourceType.BROKER_LOGGER:
        for change in one.changes:
            if change.operation not in _OPERATIONS:
                raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown operations type {change.operation}")


_OPERATIONS = frozenset(operation.value for operation in Operation)


def _ensure_this_node(node_id: int, name: str, words: str) -> None:
    number = whole_number(name)
    if number is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {name}")
    if number != node_id:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unexpected {words.format(node_id, name)}")


def _ensure_changeable(broker: BrokerSide, one: Altered) -> None:
    """Raises ApiError if this broker could not run with the change."""
    settings, per_broker = broker.settings, bool(one.name)
    if one.whole:
        after = {change.key: change.value for change in one.changes if change.value is not None}
    else:
        after = settings.usable(broker.configs(one.resource), per_broker=per_broker)
        for change in one.changes:
            _apply_on_broker(settings, after, change)
    try:
        settings.ensure_changeable(after, per_broker=per_broker)
    except ConfigError as wrong:
        raise ApiError(ErrorCode.INVALID_REQUEST, wrong.problems[0]) from wrong


def _apply_on_broker(settings: BrokerSettings, after: dict[str, str], change: Change) -> None:
    if change.operation == Operation.DELETE:
        after.pop(change.key, None)
        return
    assert change.value is not None, change
    if change.operation == Operation.SET:
        after[change.key] = change.value
        return
    row = settings.table.get(change.key)
    if row is None:
        raise ApiError(ErrorCode.INVALID_CONFIG, f"Unknown config name: {change.key}")
    if row.kind is not Kind.LIST:
        name = Operation(change.operation).name.lower()
        words = f"Config value {name} is not allowed for config key: {change.key}"
        raise ApiError(ErrorCode.INVALID_CONFIG, words)
    after[change.key] = _edited(after.get(change.key, row.default_text()), change)


def plan_all(
    rules: ConfigRules,
    altered: Sequence[Altered],
    configs: Callable[[Resource], Mapping[str, str]],
    ensure_exists: Callable[[Resource], None],
    features: Features,
) -> list[ApiError | dict[str, str | None]]:
    """The controller's part of a request: for each resource what to write, as `plan`, or why not."""
    several = _repeated(altered)
    planned: list[ApiError | dict[str, str | None]] = []
    for one in altered:
        try:
            if one.resource.kind is ResourceType.UNKNOWN:
                raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"Unknown resource type {one.number}.")
            if (one.number, one.name) in several:
                raise ApiError(ErrorCode.INVALID_REQUEST, "Duplicate resource.")
            planned.append(plan(rules, one, configs(one.resource), ensure_exists, features))
        except ApiError as refused:
            planned.append(refused)
    return planned


def plan(
    rules: ConfigRules,
    one: Altered,
    current: Mapping[str, str],
    ensure_exists: Callable[[Resource], None] | None,
    features: Features,
) -> dict[str, str | None]:
    """The keys to write for one resource, None where a key is to be removed. Raises ApiError.

    `ensure_exists` raises ApiError for a resource that is not there; None if it is just being made. A broker's keys are
    written even if nothing changes: that makes brokers read their files again (key stores).
    """
    resource = one.resource
    _ensure_plain(one)
    after: dict[str, str | None] = {change.key: _after(rules, resource, current, change) for change in one.changes}
    if resource.kind is not ResourceType.BROKER:
        after = {key: value for key, value in after.items() if value != current.get(key)}
    if one.whole:
        kept = {change.key for change in one.changes}
        after |= dict.fromkeys(key for key in current if key not in kept)
    for key, value in after.items():
        _ensure_writable(resource, key, value, features)
    whole = {key: value for key, value in ({**current, **after}).items() if value is not None}
    rules.ensure_allowed(resource, whole, current)
    if ensure_exists is not None:
        ensure_exists(resource)
    return after


def _after(rules: ConfigRules, resource: Resource, current: Mapping[str, str], change: Change) -> str | None:
    if change.operation == Operation.SET:
        return change.value
    if change.operation == Operation.DELETE:
        return None
    if not rules.is_list(resource.kind, change.key):
        words = f"Can't {Operation(change.operation).name} to key {change.key} because its type is not LIST."
        raise ApiError(ErrorCode.INVALID_CONFIG, words)
    old = current.get(change.key)
    return _edited(rules.default_text(resource.kind, change.key) if old is None else old, change)


def _edited(old: str | None, change: Change) -> str:
    """A list after entries were appended to it or subtracted from it; its old value or default comes first."""
    assert change.value is not None, change
    entries = [entry for entry in (old or "").split(",") if entry]
    for entry in change.value.split(","):
        if change.operation == Operation.APPEND:
            if entry not in entries:
                entries.append(entry)
        elif entry in entries:
            entries.remove(entry)
    return ",".join(entries)


def _ensure_writable(resource: Resource, key: str, value: str | None, features: Features) -> None:
    if value is not None and len(value) > VALUE_MAX:
        words = f"it exceeds the maximum value size of {VALUE_MAX} bytes."
        raise ApiError(ErrorCode.INVALID_CONFIG, f"The configuration value cannot be added because {words}")
    if resource.kind is not ResourceType.BROKER:
        return
    if key == "min.insync.replicas" and features.elr:
        # ELR counts on one value for the whole cluster (KIP-966).
        if resource.name:
            words = "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
            raise ApiError(ErrorCode.INVALID_CONFIG, words)
        if value is None:
            words = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
            raise ApiError(ErrorCode.INVALID_CONFIG, words)
    if key == "cordoned.log.dirs" and not features.cordoned_log_dirs:
        words = "value cannot be set because it requires metadata.version >= 4.3-IV0"
        raise ApiError(ErrorCode.INVALID_CONFIG, f"The cordoned.log.dirs configuration {words}")


def creation_configs(entries: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """The configurations of a CreateTopics entry; the last of several equal keys counts. Raises ApiError."""
    found: dict[str, str | None] = dict(entries)
    empty = [key for key, value in found.items() if value is None]
    if empty:
        raise ApiError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {','.join(empty)}")
    return {key: value for key, value in found.items() if value is not None}


def incremental_response(
    altered: Sequence[Altered], errors: Sequence[ApiError | None]
) -> m.IncrementalAlterConfigsResponse:
    response = m.IncrementalAlterConfigsResponse
    return response(responses=[response.AlterConfigsResourceResponse(*line) for line in _lines(altered, errors)])


def legacy_response(altered: Sequence[Altered], errors: Sequence[ApiError | None]) -> m.AlterConfigsResponse:
    response = m.AlterConfigsResponse
    return response(responses=[response.AlterConfigsResourceResponse(*line) for line in _lines(altered, errors)])


def _lines(altered: Sequence[Altered], errors: Sequence[ApiError | None]) -> Iterable[tuple[int, str | None, int, str]]:
    for one, error in zip(altered, errors, strict=True):
        code, message = (ErrorCode.NONE, None) if error is None else (error.code, error.message)
        yield code, message, one.number, one.name


def _repeated(altered: Sequence[Altered]) -> set[tuple[int, str]]:
    seen: set[tuple[int, str]] = set()
    again: set[tuple[int, str]] = set()
    for one in altered:
        (again if (one.number, one.name) in seen else seen).add((one.number, one.name))
    return again
