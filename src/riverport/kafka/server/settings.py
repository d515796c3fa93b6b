"""server.properties: every key of Apache Kafka 4.3 with its type, default and rules, and what a node makes of them.

    config = load(properties.loads(text))      # raises ConfigError: which key, which value, what is allowed
    config["num.partitions"]                   # any key, typed
    config.listeners, config.log_dirs          # what follows from several keys
    for remark in remarks(config): ...         # unknown keys, keys without effect, doubtful values

The rows are in the settings_*.py modules, one per field; the rules between keys in settings_rules.py. A wrong value
stops the node. An unknown key does not, as in Kafka (plug-ins read keys of their own), but it is said with the nearest
known keys. A key may be given for one listener or a mechanism of it: listener.name.<name>.[<mechanism>.]<key>.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from riverport.base.settings import (
    CLUSTER_WIDE,
    LONG,
    LONG_MAX,
    ConfigError,
    Setting,
    Table,
    Values,
    at_least,
)
from riverport.base.settings import parse as parse_table
from riverport.kafka.admin.broker_keys import base_key, overridden
from riverport.kafka.server import (
    settings_groups,
    settings_log,
    settings_network,
    settings_node,
    settings_quorum,
    settings_quota,
    settings_remote,
    settings_replication,
    settings_security,
    settings_share,
    settings_transactions,
)
from riverport.kafka.server.endpoints import (
    NON_ROUTABLE,
    SECURITY_PROTOCOLS,
    Address,
    Endpoint,
    clash_of,
    listener_name,
    parse_address,
    parse_listeners,
    parse_map,
    parse_voters,
)
from riverport.kafka.server.settings_rules import problems_of, warnings_of

if TYPE_CHECKING:
    from riverport.kafka.admin.broker_settings import BrokerSettings

TABLE = Table(
    [
        *settings_node.ROWS,
        *settings_network.ROWS,
        *settings_log.ROWS,
        *settings_replication.ROWS,
        *settings_quorum.ROWS,
        *settings_groups.ROWS,
        *settings_share.ROWS,
        *settings_transactions.ROWS,
        *settings_security.ROWS,
        *settings_quota.ROWS,
        *settings_remote.ROWS,
    ]
)

# Keys that exist only as dynamic ones; kafka-reassign-partitions sets them while it moves data (KIP-73, KIP-113).
DYNAMIC_ONLY = (
    Setting("leader.replication.throttled.rate", LONG, LONG_MAX, at_least(0),
            "The most bytes a second that leaders send to throttled replicas.",
            update=CLUSTER_WIDE, source="KIP-73"),
    Setting("follower.replication.throttled.rate", LONG, LONG_MAX, at_least(0),
            "The most bytes a second that throttled followers fetch.",
            update=CLUSTER_WIDE, source="KIP-73"),
    Setting("replica.alter.log.dirs.io.max.bytes.per.second", LONG, LONG_MAX, at_least(0),
            "The most bytes a second that replicas moving between log directories copy.",
            update=CLUSTER_WIDE, source="KIP-113"),
)

_AUTHORIZER = Table(settings_security.AUTHORIZER_ROWS)

# Keys under these prefixes belong to plug-ins and are handed on to them.
PLUGIN_PREFIXES = ("config.providers.", "rsm.config.", "rlmm.config.")

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000


class Remark(NamedTuple):
    """Something worth saying about a key at the start of a node."""

    key: str
    text: str


class BrokerConfig:
    """The settings of one node. Immutable: a dynamic change makes a new one with `overridden`."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.node_id = values.integer("node.id")
        roles = values.items_of("process.roles")
        self.is_broker = "broker" in roles
        self.is_controller = "controller" in roles
        self.rack = values.maybe_text("broker.rack")
        self.log_dirs: tuple[str, ...] = values["log.dirs"] or values.items_of("log.dir")
        self.metadata_log_dir = values.maybe_text("metadata.log.dir") or self.log_dirs[0]
        self.unstable_api_versions = values.flag("unstable.api.versions.enable")
        self.unstable_feature_versions = values.flag("unstable.feature.versions.enable")
        self.voters: dict[int, Address] = parse_voters(values.items_of("controller.quorum.voters"))
        self.bootstrap_servers = tuple(map(parse_address, values.items_of("controller.quorum.bootstrap.servers")))
        self.listener_protocols = _listener_protocols(values)
        self.listeners = self._endpoints("listeners", distinct_ports=True)
        self._advertised = (
            self.listeners if values["advertised.listeners"] is None else self._endpoints("advertised.listeners")
        )
        self.inter_broker_listener, self.inter_broker_protocol = self._inter_broker()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def log_roll_ms(self) -> int:
        return _first(self.values, ("log.roll.ms", 1), ("log.roll.hours", _HOUR_MS))

    @property
    def log_roll_jitter_ms(self) -> int:
        return _first(self.values, ("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", _HOUR_MS))

    @property
    def log_retention_ms(self) -> int:
        """-1 for no limit."""
        return max(-1, _first(self.values, ("log.retention.ms", 1), ("log.retention.minutes", _MINUTE_MS),
                              ("log.retention.hours", _HOUR_MS)))

    @property
    def log_flush_interval_ms(self) -> int:
        return _first(self.values, ("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1))

    @cached_property
    def cordoned_log_dirs(self) -> tuple[str, ...]:
        cordoned: tuple[str, ...] = self.values["cordoned.log.dirs"] or ()
        return self.log_dirs if "*" in cordoned else cordoned

    @cached_property
    def controller_listeners(self) -> tuple[Endpoint, ...]:
        names = self.values.items_of("controller.listener.names")
        return tuple(endpoint for endpoint in self.listeners if endpoint.listener in names)

    @cached_property
    def broker_listeners(self) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in self.listeners if endpoint not in self.controller_listeners)

    @cached_property
    def advertised_listeners(self) -> tuple[Endpoint, ...]:
        """What clients and other brokers connect to; "" as host stands for this machine's name."""
        names = self.values.items_of("controller.listener.names")
        return tuple(endpoint for endpoint in self._advertised if endpoint.listener not in names)

    @cached_property
    def advertised_controller_listeners(self) -> tuple[Endpoint, ...]:
        """In the order of controller.listener.names. The first takes its address from the voters if it has none."""
        given = {endpoint.listener: endpoint for endpoint in self._advertised if self._advertised is not self.listeners}
        bound = {endpoint.listener: endpoint for endpoint in self.controller_listeners}
        found: list[Endpoint] = []
        for position, name in enumerate(self.values.items_of("controller.listener.names")):
            if name.upper() in given:
                found.append(given[name.upper()])
            elif name.upper() in bound:
                found.append(self._routable(bound[name.upper()], own_voter=position == 0))
        return tuple(found)

    def connections_limit_of(self, host: str) -> int:
        """The most connections that may come from one address."""
        return self._connection_limits.get(host, self.values.integer("max.connections.per.ip"))

    def listener_value(self, listener: str, key: str) -> Any:
        """The value of `key` for one listener: its own if it has one, else the node's."""
        own = self.values.given.get(f"listener.name.{listener.lower()}.{key}")
        return self.values[key] if own is None else TABLE[key].value_of(own)

    def overridden(self, *changes: Mapping[str, str]) -> "BrokerConfig":
        """This configuration with dynamic values on top, later ones first. Raises ConfigError.

        A changed key hides all of its synonyms: a dynamic log.retention.ms also wins over log.retention.minutes.
        """
        return load(overridden(self.values.given, *changes))

    @cached_property
    def _connection_limits(self) -> dict[str, int]:
        pairs = parse_map(self.values.text("max.connections.per.ip.overrides"))
        return {host: int(count) for host, count in pairs.items()}

    def _endpoints(self, key: str, *, distinct_ports: bool = False) -> tuple[Endpoint, ...]:
        try:
            endpoints = parse_listeners(self.values.items_of(key), self.listener_protocols)
        except ValueError as wrong:
            raise ConfigError(f"{key}: {wrong}") from wrong
        clash = clash_of(endpoints, distinct_ports=distinct_ports)
        if clash:
            raise ConfigError(f"{key} = {','.join(self.values.items_of(key))}: {clash}")
        return endpoints

    def _inter_broker(self) -> tuple[str, str]:
        """Name and security protocol of the listener that brokers use among themselves."""
        name = self.values.maybe_text("inter.broker.listener.name")
        if name is None:
            protocol = self.values.text("security.inter.broker.protocol")
            return protocol, protocol
        if "security.inter.broker.protocol" in self.values.given:
            raise ConfigError("inter.broker.listener.name and security.inter.broker.protocol must not both be set")
        if name.upper() not in self.listener_protocols:
            raise ConfigError(f"listener.security.protocol.map must map {name}, which inter.broker.listener.name names")
        return name.upper(), self.listener_protocols[name.upper()]

    def _routable(self, endpoint: Endpoint, *, own_voter: bool) -> Endpoint:
        if endpoint.host in ("", NON_ROUTABLE):
            if own_voter and self.node_id in self.voters:
                return endpoint._replace(host=self.voters[self.node_id].host, port=self.voters[self.node_id].port)
            return endpoint._replace(host="")
        return endpoint


def load(given: Mapping[str, str]) -> BrokerConfig:
    """The configuration that these texts describe. Raises ConfigError with everything that is wrong."""
    given = dict(given)
    if "broker.id" in given:
        given.setdefault("node.id", given["broker.id"])
    values = parse_table(TABLE, given)
    if "broker.id" not in given:
        values = Values({**values, "broker.id": values["node.id"]}, {**given, "broker.id": given["node.id"]})
    problems = _listener_problems(given)
    if problems:
        raise ConfigError(problems)
    config = BrokerConfig(values)
    problems = problems_of(config)
    if problems:
        raise ConfigError(problems)
    return config


def by_source(config: BrokerConfig) -> "BrokerSettings":
    """The settings by where they come from, to describe and to change them; no dynamic values yet."""
    from riverport.kafka.admin.broker_settings import BrokerSettings  # knows logs, which `format` has no use for

    return BrokerSettings(TABLE, Table(DYNAMIC_ONLY), config.values.given, load)


def remarks(config: BrokerConfig) -> list[Remark]:
    """What to say at the start: unknown keys with the nearest known ones, keys without effect, doubtful values."""
    found: list[Remark] = []
    for key in config.values.given:
        row = setting_of(key)
        if row is not None:
            if not row.effect:
                found.append(Remark(key, "this setting has no effect in Riverport yet"))
        elif not key.startswith(PLUGIN_PREFIXES):
            nearest = TABLE.nearest(base_key(key))
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            found.append(Remark(key, f"this setting is unknown and ignored{hint}"))
    return found + [Remark("", warning) for warning in warnings_of(config)]


def setting_of(key: str) -> Setting | None:
    """The row of a key, also of one that is given for a listener, and of one that the authorizer reads."""
    return TABLE.get(key) or TABLE.get(base_key(key)) or _AUTHORIZER.get(key)


def _first(values: Values, *keys: tuple[str, int]) -> int:
    """The first of the keys that has a value, times its unit."""
    for key, unit in keys:
        value = values.maybe_integer(key)
        if value is not None:
            return value * unit
    raise AssertionError(keys)


def _listener_problems(given: Mapping[str, str]) -> list[str]:
    """Wrong values of keys that are given for one listener."""
    problems: list[str] = []
    for key, text in given.items():
        if key.startswith("listener.name.") and (row := setting_of(key)) is not None:
            try:
                row.value_of(text)
            except ConfigError as wrong:
                problems += [problem.replace(row.key, key, 1) for problem in wrong.problems]
    return problems


def _listener_protocols(values: Values) -> dict[str, str]:
    """Security protocols by upper-case listener name.

    Without a map of one's own, controller listeners are PLAINTEXT, unless a listener is named after SSL or SASL: then
    nobody should get an unprotected one by accident.
    """
    key = "listener.security.protocol.map"
    try:
        pairs = parse_map(values.text(key))
        named = [listener_name(entry) for entry in values.items_of("listeners")]
    except ValueError as wrong:
        raise ConfigError(f"{key}, listeners: {wrong}") from wrong
    protocols = {name.upper(): protocol.upper() for name, protocol in pairs.items()}
    for name, protocol in protocols.items():
        if protocol not in SECURITY_PROTOCOLS:
            raise ConfigError(f"{key}: {protocol} for {name} is not one of {', '.join(SECURITY_PROTOCOLS)}")
    controllers = values.items_of("controller.listener.names")
    if key not in values.given and not set(SECURITY_PROTOCOLS[1:]) & {*controllers, *named}:
        protocols.update(dict.fromkeys(map(str.upper, controllers), "PLAINTEXT"))
    return protocols
