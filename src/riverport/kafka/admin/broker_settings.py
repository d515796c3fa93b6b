"""The settings of one broker by source, and what may change while it runs (KIP-226).

    this broker, dynamic  >  cluster, dynamic  >  server.properties  >  default

`BrokerSettings` is immutable; new dynamic values make a new one with `with_dynamic`. Dynamic values that the metadata
holds but that cannot be used (written by another release, or around the checks) are left out, each by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from riverport.base.kinds import Kind
from riverport.base.settings import PER_BROKER, READ_ONLY, ConfigError, Setting, Table, Values
from riverport.kafka.admin import topic_settings
from riverport.kafka.admin.broker_keys import base_key, listener_part, overridden, synonyms_and_base
from riverport.kafka.admin.resources import ConfigSource

# Per broker they could be meant for one listener only, so they must be given for one.
LISTENER_ONLY: Final = frozenset(
    (
        "ssl.key.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.keystore.type",
        "ssl.truststore.certificates",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.truststore.type",
    )
)
# Keys that may be set for a listener in the whole cluster.
CLUSTER_LISTENER: Final = ("max.connections", "max.connection.creation.rate", "num.network.threads")

# Sizes of thread pools may at most double or halve in one change.
POOLS: Final = (
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    "log.cleaner.threads",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
)

# Assignment intervals outside of the broker's limits count as the nearest limit.
CAPPED: Final = tuple(
    (f"group.{kind}.assignment.interval.ms", f"group.{kind}.min.assignment.interval.ms",
     f"group.{kind}.max.assignment.interval.ms")
    for kind in ("consumer", "share", "streams")
)  # fmt: skip


class Loaded(Protocol):
    """A whole configuration that was checked."""

    @property
    def values(self) -> Values: ...


class Synonym:
    """One place where a value could come from: what it is there."""

    __slots__ = ("key", "source", "text")

    def __init__(self, key: str, text: str | None, source: ConfigSource) -> None:
        self.key = key
        self.text = text
        self.source = source

    def __repr__(self) -> str:
        return f"Synonym({self.key!r}, {self.text!r}, {self.source.name})"


class BrokerSettings:
    """One broker's settings. `load` checks a whole configuration given as texts and raises ConfigError."""

    def __init__(
        self,
        table: Table,
        dynamic_only: Table,
        given: Mapping[str, str],
        load: Callable[[Mapping[str, str]], Loaded],
        cluster: Mapping[str, str] | None = None,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self.table = table
        self.given = given  # server.properties
        self._dynamic_only = dynamic_only
        self._load = load
        self.cluster = self.usable(cluster or {}, per_broker=False)
        self.own = self.usable(own or {}, per_broker=True)
        self.loaded = load(self._capped(overridden(given, self.cluster, self.own)))
        self.values = self.loaded.values

    def with_dynamic(self, cluster: Mapping[str, str], own: Mapping[str, str]) -> "BrokerSettings":
        """These settings with other dynamic values. Raises ConfigError if the whole cannot stand."""
        return BrokerSettings(self.table, self._dynamic_only, self.given, self._load, cluster, own)

    def has_dynamic(self, cluster: Mapping[str, str], own: Mapping[str, str]) -> bool:
        """Whether these dynamic values are those that it has: nothing would come of loading all again."""
        return self.cluster == self.usable(cluster, per_broker=False) and self.own == self.usable(own, per_broker=True)

    def row(self, key: str) -> Setting | None:
        """The row of a key, of a key for one listener, or of one that is dynamic only."""
        return self.table.get(key) or self._dynamic_only.get(key) or self.table.get(base_key(key))

    def kind(self, key: str) -> Kind | None:
        row = self.row(key)
        return row.kind if row else None

    def is_sensitive(self, key: str) -> bool:
        """Whether the value must not be shown; what is unknown may be a secret of a plug-in."""
        row = self.row(key)
        return row is None or row.sensitive

    def is_dynamic(self, key: str) -> bool:
        row = self.table.get(key)
        return key in self._dynamic_only if row is None else row.update is not READ_ONLY

    def sources(self, key: str) -> list[Synonym]:
        """Every place that has a value for `key` or a synonym, the one that counts first.

        Only from `key` itself on: a listener's override says nothing about the key it overrides.
        """
        names = synonyms_and_base(key)
        found = [
            Synonym(name, layer[name], source)
            for layer, source in (
                (self.own, ConfigSource.DYNAMIC_BROKER),
                (self.cluster, ConfigSource.DYNAMIC_DEFAULT_BROKER),
                (self.given, ConfigSource.STATIC_BROKER),
            )
            for name in names
            if name in layer
        ]
        for name in names:
            text = self._default_text(name)
            if text is not None:
                found.append(Synonym(name, text, ConfigSource.DEFAULT))
        first = next((i for i, synonym in enumerate(found) if synonym.key == key), len(found))
        return found[first:]

    def _default_text(self, key: str) -> str | None:
        row = self.table.get(key)
        return row.default_text() if row else None

    def usable(self, configs: Mapping[str, str], *, per_broker: bool) -> dict[str, str]:
        """The dynamic values that can be obeyed."""
        return {key: value for key, value in configs.items() if not self._problem(key, value, per_broker)}

    def _problem(self, key: str, value: str, per_broker: bool) -> bool:
        if self._is_fixed(key) or key in LISTENER_ONLY or (not per_broker and self._is_per_broker(key)):
            return True
        try:
            self._check_type(key, value)
        except ConfigError:
            return True
        return False

    def _is_fixed(self, key: str) -> bool:
        row = self.table.get(key)
        return row is not None and row.update is READ_ONLY

    def _is_per_broker(self, key: str) -> bool:
        row = self.table.get(key)
        if row is not None:
            return row.update is PER_BROKER
        part = listener_part(key)
        return part is not None and part not in CLUSTER_LISTENER

    def _check_type(self, key: str, value: str) -> None:
        part = listener_part(key)
        row = self.table.get(part or key) or self._dynamic_only.get(part or key)
        if row is not None and row.update is not READ_ONLY:
            row.value_of(value)

    def ensure_changeable(self, configs: Mapping[str, str], *, per_broker: bool) -> None:
        """Raises ConfigError if these cannot become the dynamic values of this broker, or of the cluster."""
        self._refuse([key for key in configs if self._is_fixed(key)], "Cannot update these configs dynamically")
        self._refuse(
            [key for key in configs if key in LISTENER_ONLY],
            "These security configs can be dynamically updated only per-listener using the listener prefix",
        )
        for key, value in configs.items():
            self._check_type(key, value)
        if per_broker:
            after = self._load(overridden(self.given, self.cluster, configs)).values
        else:
            self._refuse(
                [key for key in configs if self._is_per_broker(key)],
                "Cannot update these configs at default cluster level, broker id must be specified",
            )
            after = self._load(overridden(self.given, configs, self.own)).values
        self._ensure_step(after)

    def _refuse(self, keys: list[str], words: str) -> None:
        if keys:
            raise ConfigError(f"{words}: [{', '.join(sorted(keys))}]")

    def _ensure_step(self, after: Values) -> None:
        """What a running broker cannot do although it could start so."""
        for key in POOLS:
            now, then = self.values.integer(key), after.integer(key)
            if then == now:
                continue
            words = f"Dynamic thread count update validation failed for {key}={then}, value should "
            if then < max(1, now // 2):
                raise ConfigError(f"{words}be at least half the current value {now}")
            if then > now * 2:
                raise ConfigError(f"{words}not be greater than double the current value {now}")
        retention_ms = topic_settings.broker_defaults(after)["retention.ms"]
        _ensure_local("log.local.retention.ms", after, "log.retention.ms", retention_ms)
        _ensure_local("log.local.retention.bytes", after, "log.retention.bytes", after["log.retention.bytes"])

    def _capped(self, given: dict[str, str]) -> dict[str, str]:
        for key, *limits in CAPPED:
            if key in given:
                least, most = (
                    self.table[limit].value_of(given[limit]) if limit in given else self.table[limit].default
                    for limit in limits
                )
                given[key] = str(max(least, min(most, self.table[key].value_of(given[key]))))
        return given


def _ensure_local(local: str, values: Mapping[str, Any], whole: str, most: int) -> None:
    """What stays on local disk is no more than what is kept at all; -2 means the same, -1 no limit."""
    value = values[local]
    if most == -1 or value == -2:
        return
    if value == -1:
        raise ConfigError(f"Invalid value -1 for configuration {local}: Value must not be -1 as {whole} is {most}.")
    if value > most:
        words = f"Value must not be more than {whole} property value: {most}"
        raise ConfigError(f"Invalid value {value} for configuration {local}: {words}")
