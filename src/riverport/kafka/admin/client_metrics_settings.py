"""Keys of a client metrics subscription: which metrics clients push, how often, and which clients (KIP-714)."""

import re
from collections.abc import Mapping
from typing import Any, Final

from riverport.base.settings import INT, LIST, ConfigError, Setting, Table, items
from riverport.kafka.wire.errors import ApiError, ErrorCode

TABLE: Final = Table(
    [
        Setting("metrics", LIST, (), items(), "Prefixes of the names of the metrics to push; * means all of them.",
                effect=False, source="KIP-714"),
        Setting("interval.ms", INT, 300_000, None, "How often clients push their metrics.",
                effect=False, source="KIP-714"),
        Setting("match", LIST, (), items(), "Which clients push: name=pattern, ...",
                effect=False, source="KIP-714"),
    ]
)

INTERVAL_MIN_MS = 100
INTERVAL_MAX_MS = 3_600_000
MATCH_NAMES: Final = (
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
)


def values_of(configs: Mapping[str, str]) -> dict[str, Any]:
    """Typed values of all keys. Raises ConfigError."""
    return TABLE.defaults | {key: TABLE[key].value_of(text) for key, text in configs.items() if key in TABLE}


def ensure_valid(name: str, configs: Mapping[str, str]) -> None:
    """Raises ApiError if the subscription `name` may not have these configurations."""
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Subscription name can't be empty")
    for key in configs:
        if key not in TABLE:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown client metrics configuration: {key}")
    try:
        values = values_of(configs)
    except ConfigError as wrong:
        raise ApiError(ErrorCode.INVALID_CONFIG, wrong.problems[0]) from wrong
    interval = values["interval.ms"]
    if not INTERVAL_MIN_MS <= interval <= INTERVAL_MAX_MS:
        allowed = f"interval must be between {INTERVAL_MIN_MS} and {INTERVAL_MAX_MS} (1 hour)"
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Invalid value {interval} for interval.ms, {allowed}")
    matchers(values["match"])


def matchers(entries: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
    """The patterns of `match` by name. Raises ApiError."""
    found: dict[str, re.Pattern[str]] = {}
    for entry in entries:
        parts = entry.split("=")
        if len(parts) != 2 or not parts[1] or parts[0].strip() not in MATCH_NAMES:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Illegal client matching pattern: {entry}")
        try:
            found[parts[0].strip()] = re.compile(parts[1].strip())
        except re.error as wrong:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Illegal client matching pattern: {entry}") from wrong
    return found
