"""Feature levels: what this code knows, what a release means, and which records a level writes (KIP-584, KIP-1022)."""

from collections.abc import Mapping
from typing import Any

METADATA_VERSION = "metadata.version"
KRAFT_VERSION = "kraft.version"
TRANSACTION_VERSION = "transaction.version"
GROUP_VERSION = "group.version"
SHARE_VERSION = "share.version"
STREAMS_VERSION = "streams.version"
ELR_VERSION = "eligible.leader.replicas.version"

RELEASES: dict[int, str] = {
    7: "3.3-IV3", 8: "3.4-IV0", 9: "3.5-IV0", 10: "3.5-IV1", 11: "3.5-IV2", 12: "3.6-IV0", 13: "3.6-IV1", 14: "3.6-IV2",
    15: "3.7-IV0", 16: "3.7-IV1", 17: "3.7-IV2", 18: "3.7-IV3", 19: "3.7-IV4", 20: "3.8-IV0", 21: "3.9-IV0",
    22: "4.0-IV0", 23: "4.0-IV1", 24: "4.0-IV2", 25: "4.0-IV3", 26: "4.1-IV0", 27: "4.1-IV1", 28: "4.2-IV0",
    29: "4.2-IV1", 30: "4.3-IV0", 31: "4.4-IV0", 32: "4.4-IV1", 33: "4.4-IV2", 34: "4.5-IV0",
}  # fmt: skip
"""Every metadata.version by its level."""

DEFAULT_RELEASE = 30
"""4.3: the newest release whose broker, tools and shell can all read what this controller writes."""
DEFAULT_UNSTABLE_RELEASE = 31
"""Where unstable levels are allowed: the newest that 4.3 knows, as its own formatter chooses then."""
NEWEST_STABLE = 33
NEWEST_KNOWN = 34

SUPPORTED: dict[str, tuple[int, int]] = {
    METADATA_VERSION: (7, NEWEST_STABLE),
    KRAFT_VERSION: (0, 1),
    TRANSACTION_VERSION: (0, 2),
    GROUP_VERSION: (0, 1),
    SHARE_VERSION: (0, 1),
    STREAMS_VERSION: (0, 1),
    ELR_VERSION: (0, 1),
}
"""The levels that this code understands, by feature."""

RECORDS_CHANGED = (7, 8, 11, 13, 14, 15, 17, 23, 30, 32, 33)
"""Levels with records or fields that the level before did not have: no way leads back below them."""

DEPENDENCIES: dict[tuple[str, int], dict[str, int]] = {(ELR_VERSION, 1): {METADATA_VERSION: 23}}
"""What other features must have reached before a feature may have a level (KIP-1022)."""

_BOOTSTRAP: dict[str, dict[int, int]] = {
    TRANSACTION_VERSION: {1: 24, 2: 24},
    GROUP_VERSION: {1: 22},
    SHARE_VERSION: {1: 28},
    STREAMS_VERSION: {1: 29},
    ELR_VERSION: {1: 26},
}
"""The lowest metadata.version that turns a level on by default."""


def level_of_release(text: str) -> int | None:
    """`4.3-IV0`, or `4.3` for the newest of a release; None for a name that is not known."""
    for level, name in RELEASES.items():
        if name == text:
            return level
    found = [level for level, name in RELEASES.items() if name.partition("-")[0] == text]
    return max(found) if found else None


def default_levels(metadata_version: int) -> dict[str, int]:
    """The finalized features of a new cluster of this release, in the order in which Apache Kafka writes them."""
    levels = {METADATA_VERSION: metadata_version}
    for name in sorted(_BOOTSTRAP):
        level = max((level for level, since in _BOOTSTRAP[name].items() if metadata_version >= since), default=0)
        if level:
            levels[name] = level
    return levels


def not_understood(levels: Mapping[str, int]) -> str | None:
    """What this code does not understand of a cluster at these levels; None where it understands everything."""
    for name, level in levels.items():
        low, high = SUPPORTED.get(name, (0, 0))
        if level and not low <= level <= high:
            has = f"levels {low} to {high}" if high else "no such feature"
            return f"{name} is at level {level}, this release has {has}"
    return None


def record_version(name: str, metadata_version: int) -> int:
    """The version in which a record is written at a metadata.version."""
    match name:
        case "RegisterBrokerRecord":
            return 4 if metadata_version >= 30 else 3 if metadata_version >= 17 else 2 if metadata_version >= 8 else 1
        case "PartitionRecord" | "PartitionChangeRecord":
            return 2 if metadata_version >= 23 else 1 if metadata_version >= 17 else 0
        case "BrokerRegistrationChangeRecord":
            return 3 if metadata_version >= 30 else 2 if metadata_version >= 17 else 1 if metadata_version >= 7 else 0
        case _:
            return 0


_FIELDS_SINCE: dict[str, dict[str, tuple[int, Any]]] = {
    "RegisterBrokerRecord": {"log_dirs": (17, ()), "cordoned_log_dirs": (30, None)},
    "BrokerRegistrationChangeRecord": {"log_dirs": (17, ()), "cordoned_log_dirs": (30, None)},
    "PartitionRecord": {"directories": (17, ()), "eligible_leader_replicas": (23, None), "last_known_elr": (23, None)},
    "PartitionChangeRecord": {
        "directories": (17, None),
        "eligible_leader_replicas": (23, None),
        "last_known_elr": (23, None),
    },
}
"""Fields by the metadata.version from which they are written, and what stands for "not there" below it."""


def fit_to_level(record: Any, metadata_version: int) -> Any:
    """The record without what the level has no room for; changes it in place.

    Brokers tell all that they have whatever the level is (KIP-858 directories, for example); a cluster that has not
    been upgraded to that yet does not keep it.
    """
    for field, (since, absent) in _FIELDS_SINCE.get(type(record).__name__, {}).items():
        if metadata_version < since:
            setattr(record, field, [] if absent == () else absent)
    return record
