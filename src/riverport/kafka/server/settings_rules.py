"""What must hold between settings: Kafka's rules for whole configurations, as data where they are comparisons.

`problems_of` finds what stops a node from starting, `warnings_of` what it says and goes on. Both read a parsed
`BrokerConfig` and raise nothing.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from riverport.kafka.replica.selector import SELECTORS
from riverport.kafka.server.endpoints import NON_ROUTABLE, is_host, parse_map

if TYPE_CHECKING:
    from riverport.kafka.server.settings import BrokerConfig

# Each line ascends: no key may be greater than the next.
ASCENDING = (
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms",
     "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms",
     "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.assignment.interval.ms", "group.consumer.assignment.interval.ms",
     "group.consumer.max.assignment.interval.ms"),
    ("group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms",
     "group.share.max.heartbeat.interval.ms"),
    ("group.share.min.session.timeout.ms", "group.share.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("group.share.min.assignment.interval.ms", "group.share.assignment.interval.ms",
     "group.share.max.assignment.interval.ms"),
    ("group.share.min.delivery.count.limit", "group.share.delivery.count.limit",
     "group.share.max.delivery.count.limit"),
    ("group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms",
     "group.share.max.record.lock.duration.ms"),
    ("group.share.min.partition.max.record.locks", "group.share.partition.max.record.locks",
     "group.share.max.partition.max.record.locks"),
    ("group.share.max.size", "group.share.max.share.sessions"),
    ("group.streams.min.heartbeat.interval.ms", "group.streams.heartbeat.interval.ms",
     "group.streams.max.heartbeat.interval.ms"),
    ("group.streams.min.session.timeout.ms", "group.streams.session.timeout.ms",
     "group.streams.max.session.timeout.ms"),
    ("group.streams.min.assignment.interval.ms", "group.streams.assignment.interval.ms",
     "group.streams.max.assignment.interval.ms"),
    ("group.streams.num.standby.replicas", "group.streams.max.standby.replicas"),
    # A fetch that waits longer than a socket lives, or than a follower may lag, only makes noise.
    ("replica.fetch.wait.max.ms", "replica.socket.timeout.ms"),
    ("replica.fetch.wait.max.ms", "replica.lag.time.max.ms"),
)
# The first must be smaller than the second.
SMALLER = (
    ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
    ("group.share.heartbeat.interval.ms", "group.share.session.timeout.ms"),
    ("group.streams.heartbeat.interval.ms", "group.streams.session.timeout.ms"),
)
SERVED_PROTOCOLS = ("PLAINTEXT",)
_COMPRESSION_CODECS = range(5)
_DEDUPE_BYTES_PER_THREAD = 1 << 20


def unserved(config: "BrokerConfig") -> list[str]:
    """What is right for Apache Kafka and cannot be had here; a node that was told so does not start."""
    found = [
        f"listeners: {endpoint.listener} has the security protocol {endpoint.protocol}, by its name or by "
        f"listener.security.protocol.map; allowed here: {', '.join(SERVED_PROTOCOLS)}"
        for endpoint in config.listeners
        if endpoint.protocol not in SERVED_PROTOCOLS
    ]
    if authorizer := config.values.text("authorizer.class.name"):
        # Whoever asks for one must not find the doors open.
        found.append(f"authorizer.class.name: there is no {authorizer} here, everybody may do everything; allowed: "
                     "the empty text")
    selector = config.values["replica.selector.class"]
    if selector is not None and selector not in SELECTORS:
        found.append(f"replica.selector.class: there is no {selector} here; allowed: {', '.join(SELECTORS)}")
    return found


def problems_of(config: "BrokerConfig") -> list[str]:
    """Everything that keeps a node with this configuration from starting; the keys are named."""
    found: list[str] = []
    for rule in (_ids, _logs, _comparisons, _groups, _quorum, _listeners, _connections):
        found += rule(config)
    return found


def warnings_of(config: "BrokerConfig") -> list[str]:
    """What is worth a word although the node starts."""
    values, found = config.values, []
    if values.integer("broker.heartbeat.interval.ms") * 2 > values.integer("broker.session.timeout.ms"):
        found.append("broker.heartbeat.interval.ms should be at most half of broker.session.timeout.ms, else a broker "
                     "may be fenced although it lives")
    if config.is_broker and not config.is_controller:
        if len(values.items_of("controller.listener.names")) > 1:
            found.append("controller.listener.names has several entries; a broker uses the first only")
        for key in ("create.topic.policy.class.name", "alter.config.policy.class.name", "num.partitions",
                    "default.replication.factor"):
            if key in values.given:
                found.append(f"{key} is a setting of controllers; it should be set there")
    return found


def _ids(config: "BrokerConfig") -> Iterator[str]:
    if config.values["node.id"] != config.values["broker.id"]:
        yield f"node.id ({config.values['node.id']}) and broker.id ({config.values['broker.id']}) must be equal"


def _logs(config: "BrokerConfig") -> Iterator[str]:
    values = config.values
    if config.log_roll_ms < 1:
        yield "log.roll.ms must be at least 1"
    if config.log_roll_jitter_ms < 0:
        yield "log.roll.jitter.ms must be at least 0"
    if config.log_retention_ms != -1 and config.log_retention_ms < 1:
        yield "log.retention.ms must be at least 1, or -1 for no limit"
    if values.integer("log.cleaner.dedupe.buffer.size") <= _DEDUPE_BYTES_PER_THREAD * max(
        1, values.integer("log.cleaner.threads")
    ):
        yield "log.cleaner.dedupe.buffer.size must be more than 1 MiB for each of log.cleaner.threads"
    for key in ("offsets.topic.compression.codec", "share.coordinator.state.topic.compression.codec"):
        if values.integer(key) not in _COMPRESSION_CODECS:
            yield f"{key} must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd), not {values[key]}"
    cordoned = values["cordoned.log.dirs"] or ()
    if "*" in cordoned and len(cordoned) > 1:
        yield "cordoned.log.dirs must hold nothing else beside *"
    elif config.is_broker and "*" not in cordoned and (unknown := [d for d in cordoned if d not in config.log_dirs]):
        yield f"cordoned.log.dirs names {', '.join(unknown)}, which log.dirs does not"


def _comparisons(config: "BrokerConfig") -> Iterator[str]:
    values = config.values
    for keys in ASCENDING:
        for lower, upper in pairwise(keys):
            if values.integer(lower) > values.integer(upper):
                yield f"{lower} ({values[lower]}) must not be greater than {upper} ({values[upper]})"
    for smaller, greater in SMALLER:
        if values.integer(smaller) >= values.integer(greater):
            yield f"{smaller} ({values[smaller]}) must be less than {greater} ({values[greater]})"


def _groups(config: "BrokerConfig") -> Iterator[str]:
    if "classic" not in config.values.items_of("group.coordinator.rebalance.protocols"):
        yield "group.coordinator.rebalance.protocols must contain classic"
    if len(config.values.items_of("group.share.assignors")) != 1:
        yield "group.share.assignors must hold exactly one assignor"


def _quorum(config: "BrokerConfig") -> Iterator[str]:
    names = config.values.items_of("controller.listener.names")
    voters = config.voters
    if not voters and not config.bootstrap_servers:
        yield "controller.quorum.bootstrap.servers or controller.quorum.voters must say where the controllers are"
    if config.is_controller:
        if voters and config.node_id not in voters:
            yield f"node.id {config.node_id} has the controller role, so controller.quorum.voters must hold it"
        absent = [name for name in names if name not in {endpoint.listener for endpoint in config.listeners}]
        if absent:
            yield f"controller.listener.names holds {', '.join(absent)}, which listeners does not"
    else:
        if config.node_id in voters:
            yield f"node.id {config.node_id} lacks the controller role, so controller.quorum.voters must not hold it"
        if config.controller_listeners:
            yield "controller.listener.names must not name a listener of a node without the controller role"
        for name in names:
            if name.upper() not in config.listener_protocols:
                yield f"listener.security.protocol.map must map {name}, which controller.listener.names holds"
        if config.values.flag("controller.quorum.auto.join.enable"):
            yield "controller.quorum.auto.join.enable is for nodes with the controller role"


def _listeners(config: "BrokerConfig") -> Iterator[str]:
    names = {endpoint.listener for endpoint in config.listeners}
    advertised = {endpoint.listener for endpoint in config.advertised_listeners}
    if not config.is_broker:
        if len(config.advertised_controller_listeners) != len(config.listeners):
            yield "listeners of a node without the broker role may only hold those of controller.listener.names"
    elif not advertised:
        yield "a broker needs a listener that controller.listener.names does not hold"
    else:
        if config.inter_broker_listener not in advertised:
            yield (f"inter.broker.listener.name {config.inter_broker_listener} must be one of advertised.listeners: "
                   f"{', '.join(sorted(advertised))}")
        if not advertised <= names:
            yield (f"advertised.listeners holds {', '.join(sorted(advertised - names))}; it may only hold listeners: "
                   f"{', '.join(sorted(names))}")
    if NON_ROUTABLE in {e.host for e in (*config.advertised_listeners, *config.advertised_controller_listeners)}:
        yield f"advertised.listeners cannot be {NON_ROUTABLE}, which nobody can connect to; give a host name or address"
    mechanism = config.values.maybe_text("sasl.mechanism.inter.broker.protocol")
    enabled = config.listener_value(config.inter_broker_listener, "sasl.enabled.mechanisms") or ()
    if config.inter_broker_protocol.startswith("SASL_") and mechanism not in enabled:
        yield f"sasl.mechanism.inter.broker.protocol {mechanism} must be one of sasl.enabled.mechanisms"


def _connections(config: "BrokerConfig") -> Iterator[str]:
    values = config.values
    if 0 < values.integer("queued.max.request.bytes") < values.integer("socket.request.max.bytes"):
        yield "queued.max.request.bytes must not be less than socket.request.max.bytes"
    try:
        overrides = parse_map(values.text("max.connections.per.ip.overrides"))
    except ValueError as wrong:
        yield f"max.connections.per.ip.overrides: {wrong}"
        return
    if values.integer("max.connections.per.ip") == 0 and not overrides:
        yield "max.connections.per.ip may only be 0 if max.connections.per.ip.overrides is set"
    for host, count in overrides.items():
        if not is_host(host) or not count.isdecimal():
            yield f"max.connections.per.ip.overrides: {host}:{count} is not of the form host:count"
    idle_ms, delay = values.integer("connections.max.idle.ms"), "connection.failed.authentication.delay.ms"
    if 0 <= idle_ms <= values.integer(delay):
        yield f"{delay} ({values[delay]}) must be less than connections.max.idle.ms ({idle_ms})"
