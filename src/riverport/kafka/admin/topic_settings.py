"""Topic keys: what they may be, the broker settings that stand in for them, and the LogConfig they make.

A topic's value is its own if it has one, else that of the broker setting of the same meaning (`SYNONYMS`), else the
default. Rows are in the order of their names; all keys of Apache Kafka 4.3 are here, internal ones too.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from riverport.base.settings import (
    BOOLEAN,
    DOUBLE,
    INT,
    LIST,
    LONG,
    LONG_MAX,
    STRING,
    Check,
    ConfigError,
    Setting,
    Table,
    at_least,
    between,
    between_or,
    in_,
    invalid,
    items,
)
from riverport.kafka.log.config import LogConfig

_REPLICA = re.compile(r"([0-9]+:[0-9]+)?")


def _throttled_problem(value: Any) -> str | None:
    if not value or value[0] == "*" or all(_REPLICA.fullmatch(entry) for entry in value):
        return None
    return (
        "must be the literal '*' or a list of replicas in the following format: "
        "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
    )


THROTTLED_REPLICAS = Check(_throttled_problem, "[partitionId]:[brokerId],[partitionId]:[brokerId],...")

ROWS = (
    Setting("cleanup.policy", LIST, ("delete",), items("compact", "delete"),
            "What happens to old segments: delete, compact, both, or nothing (an empty list).", source="KIP-71"),
    Setting("compression.type", STRING, "producer", in_("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
            "How batches are compressed on disk; producer keeps what the producer chose."),
    Setting("compression.gzip.level", INT, -1, between_or(1, 9, -1),
            "The gzip level used when compression.type is gzip.", source="KIP-390"),
    Setting("compression.lz4.level", INT, 9, between(1, 17),
            "The LZ4 level used when compression.type is lz4.", source="KIP-390"),
    Setting("compression.zstd.level", INT, 3, between(-131_072, 22),
            "The Zstandard level used when compression.type is zstd.", source="KIP-390"),
    Setting("delete.retention.ms", LONG, 86_400_000, at_least(0),
            "How long a tombstone stays for readers that started at the beginning."),
    Setting("file.delete.delay.ms", LONG, 60_000, at_least(0),
            "How long a deleted file stays on disk before it is removed."),
    Setting("flush.messages", LONG, LONG_MAX, at_least(1), "Flush the log to disk after this many records."),
    Setting("flush.ms", LONG, LONG_MAX, at_least(0), "Flush the log to disk after this long."),
    Setting("follower.replication.throttled.replicas", LIST, (), THROTTLED_REPLICAS,
            "Replicas whose fetching is throttled: partition:broker, ... or *.", effect=False, source="KIP-73"),
    Setting("index.interval.bytes", INT, 4096, at_least(0), "How many bytes of records lie between two index entries."),
    Setting("leader.replication.throttled.replicas", LIST, (), THROTTLED_REPLICAS,
            "Replicas whose sending is throttled: partition:broker, ... or *.", source="KIP-73"),
    Setting("local.retention.bytes", LONG, -2, at_least(-2),
            "How many bytes of a partition stay on local disk; -2 means as many as retention.bytes.",
            effect=False, source="KIP-405"),
    Setting("local.retention.ms", LONG, -2, at_least(-2),
            "How long segments stay on local disk; -2 means as long as retention.ms.", effect=False, source="KIP-405"),
    Setting("max.compaction.lag.ms", LONG, LONG_MAX, at_least(1),
            "A record older than this makes its log eligible for compaction.", source="KIP-354"),
    Setting("max.message.bytes", INT, 1_048_588, at_least(0),
            "The largest batch of records accepted, after compression."),
    Setting("message.timestamp.after.max.ms", LONG, 3_600_000, at_least(0),
            "A record's timestamp may lie this far after the broker's clock.", source="KIP-937"),
    Setting("message.timestamp.before.max.ms", LONG, LONG_MAX, at_least(0),
            "A record's timestamp may lie this far before the broker's clock.", source="KIP-937"),
    Setting("message.timestamp.type", STRING, "CreateTime", in_("CreateTime", "LogAppendTime"),
            "Whether a record keeps the producer's timestamp (CreateTime) or gets the time of appending.",
            source="KIP-32"),
    Setting("min.cleanable.dirty.ratio", DOUBLE, 0.5, between(0, 1),
            "A log is cleaned once this share of it is dirty."),
    Setting("min.compaction.lag.ms", LONG, 0, at_least(0),
            "A record younger than this is not compacted.", source="KIP-58"),
    Setting("min.insync.replicas", INT, 1, at_least(1),
            "The replicas that must be in sync for a write with acks=all to succeed."),
    Setting("preallocate", BOOLEAN, False, None, "Reserve the whole segment on disk when it is created."),
    Setting("remote.log.copy.disable", BOOLEAN, False, None,
            "Copy nothing more to remote storage.", effect=False, source="KIP-950"),
    Setting("remote.log.delete.on.disable", BOOLEAN, False, None,
            "Delete what is in remote storage when it is switched off.", effect=False, source="KIP-950"),
    Setting("remote.storage.enable", BOOLEAN, False, None,
            "Keep old segments in remote storage.", effect=False, source="KIP-405"),
    Setting("retention.bytes", LONG, -1, None,
            "The oldest segments of a partition are deleted while it is larger than this; -1 means no limit."),
    Setting("retention.ms", LONG, 604_800_000, at_least(-1),
            "Segments whose newest record is older than this are deleted; -1 means no limit."),
    Setting("segment.bytes", INT, 1_073_741_824, at_least(1_048_576),
            "A segment is rolled before it grows beyond this."),
    Setting("segment.index.bytes", INT, 10_485_760, at_least(4),
            "The size of an offset index; a full one rolls the segment."),
    Setting("segment.jitter.ms", LONG, 0, at_least(0),
            "The most that is taken off segment.ms at random, so that not all segments roll at once."),
    Setting("segment.ms", LONG, 604_800_000, at_least(1), "A segment is rolled once its first record is this old."),
    Setting("unclean.leader.election.enable", BOOLEAN, False, None,
            "Let a replica that is not in sync become leader when no other is left, losing records.", effect=False),
    Setting("internal.segment.bytes", INT, None, None,
            "A test's segment size, below what segment.bytes allows.", internal=True),
)

TABLE: Final = Table(ROWS)

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000

# The broker settings that stand in for a topic key, in the order in which they count, each with its unit.
SYNONYMS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "cleanup.policy": (("log.cleanup.policy", 1),),
    "compression.gzip.level": (("compression.gzip.level", 1),),
    "compression.lz4.level": (("compression.lz4.level", 1),),
    "compression.type": (("compression.type", 1),),
    "compression.zstd.level": (("compression.zstd.level", 1),),
    "delete.retention.ms": (("log.cleaner.delete.retention.ms", 1),),
    "file.delete.delay.ms": (("log.segment.delete.delay.ms", 1),),
    "flush.messages": (("log.flush.interval.messages", 1),),
    "flush.ms": (("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)),
    "index.interval.bytes": (("log.index.interval.bytes", 1),),
    "local.retention.bytes": (("log.local.retention.bytes", 1),),
    "local.retention.ms": (("log.local.retention.ms", 1),),
    "max.compaction.lag.ms": (("log.cleaner.max.compaction.lag.ms", 1),),
    "max.message.bytes": (("message.max.bytes", 1),),
    "message.timestamp.after.max.ms": (("log.message.timestamp.after.max.ms", 1),),
    "message.timestamp.before.max.ms": (("log.message.timestamp.before.max.ms", 1),),
    "message.timestamp.type": (("log.message.timestamp.type", 1),),
    "min.cleanable.dirty.ratio": (("log.cleaner.min.cleanable.ratio", 1),),
    "min.compaction.lag.ms": (("log.cleaner.min.compaction.lag.ms", 1),),
    "min.insync.replicas": (("min.insync.replicas", 1),),
    "preallocate": (("log.preallocate", 1),),
    "retention.bytes": (("log.retention.bytes", 1),),
    "retention.ms": (
        ("log.retention.ms", 1),
        ("log.retention.minutes", _MINUTE_MS),
        ("log.retention.hours", _HOUR_MS),
    ),
    "segment.bytes": (("log.segment.bytes", 1),),
    "segment.index.bytes": (("log.index.size.max.bytes", 1),),
    "segment.jitter.ms": (("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", _HOUR_MS)),
    "segment.ms": (("log.roll.ms", 1), ("log.roll.hours", _HOUR_MS)),
    "unclean.leader.election.enable": (("unclean.leader.election.enable", 1),),
}

_LOCAL_AS_RETENTION = -2


def broker_defaults(broker: Mapping[str, Any]) -> dict[str, Any]:
    """What a topic without a value of its own takes from the broker's typed settings."""
    found: dict[str, Any] = {}
    for key, names in SYNONYMS.items():
        for name, unit in names:
            value = broker[name]
            if value is not None:
                found[key] = value if unit == 1 else value * unit
                break
    found["retention.ms"] = max(-1, found["retention.ms"])
    return found


def values_of(defaults: Mapping[str, Any], configs: Mapping[str, str]) -> dict[str, Any]:
    """Typed values of all keys: `configs` first, then `defaults`; unknown keys are skipped. Raises ConfigError."""
    values = TABLE.defaults | dict(defaults)
    for key, text in configs.items():
        if key in TABLE:
            values[key] = TABLE[key].value_of(text)
    return values


def log_config(values: Mapping[str, Any]) -> LogConfig:
    """What these typed topic values mean for a log."""
    policy: tuple[str, ...] = values["cleanup.policy"]
    made: dict[str, Any] = {key: values[name] for key, name in _LOG_FIELDS.items()}
    if values["internal.segment.bytes"] is not None:
        made["segment_bytes"] = values["internal.segment.bytes"]
    return LogConfig(**made, delete="delete" in policy, compact="compact" in policy)


_LOG_FIELDS = {
    field.name: field.name.replace("_", ".") for field in fields(LogConfig) if field.name not in ("delete", "compact")
}


def problem_of(
    configs: Mapping[str, str], existing: Mapping[str, str], defaults: Mapping[str, Any], *, remote_storage: bool
) -> str | None:
    """Why a topic may not have these configurations, None if it may.

    `existing` are those it has now, `defaults` those it takes from the broker; `remote_storage` says whether the
    cluster has any (remote.log.storage.system.enable).
    """
    for key in configs:
        if key not in TABLE:
            return f"Unknown topic config name: {key}"
    try:
        values = values_of(defaults, configs)
    except ConfigError as wrong:
        return wrong.problems[0]
    least, most = values["min.compaction.lag.ms"], values["max.compaction.lag.ms"]
    if least > most:
        return f"conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
    if values["remote.storage.enable"]:
        return _remote_problem(values, remote_storage)
    if existing.get("remote.storage.enable", "").lower() == "true" and not values["remote.log.delete.on.disable"]:
        return (
            "Remote storage cannot be switched off while it holds data: set remote.log.copy.disable=true to keep the "
            "data, or remote.log.delete.on.disable=true to delete it."
        )
    return None


def _remote_problem(values: Mapping[str, Any], remote_storage: bool) -> str | None:
    """The rules of a topic with remote.storage.enable=true (KIP-405, KIP-950)."""
    if not remote_storage:
        return (
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
    if values["cleanup.policy"] not in ((), ("delete",)):
        return "Remote log storage only supports topics with cleanup.policy=delete or an empty cleanup.policy."
    for whole, local in (("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")):
        all_of_it, here = values[whole], values[local]
        if all_of_it == -1 or here == _LOCAL_AS_RETENTION:
            continue
        if here == -1:
            return invalid(local, here, f"Value must not be -1 as {whole} value is set as {all_of_it}.")
        if here > all_of_it:
            return invalid(local, here, f"Value must not be more than {whole} property value: {all_of_it}")
    if values["remote.log.copy.disable"]:
        for whole, local in (("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")):
            if values[local] not in (_LOCAL_AS_RETENTION, values[whole]):
                return f"With remote.log.copy.disable=true, {local} must be equal to {whole}: nothing more is copied."
    return None
