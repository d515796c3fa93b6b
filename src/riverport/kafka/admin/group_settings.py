"""Group keys: what they may be, the broker settings that stand in for them, and the broker's limits on them.

One set of keys serves consumer, share and streams groups; each kind reads its own. A group's value is its own if it has
one, else that of the broker setting `group.<key>`, else the default (KIP-848, KIP-932, KIP-1071).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from riverport.base.settings import BOOLEAN, INT, STRING, Check, ConfigError, Setting, Table, at_least, in_

_DURATION = re.compile(
    r"([-+]?)P(?:([-+]?[0-9]+)D)?(?:T(?=.)(?:([-+]?[0-9]+)H)?(?:([-+]?[0-9]+)M)?(?:([-+]?[0-9]+)(?:[.,][0-9]{0,9})?S)?)?",
    re.IGNORECASE,
)


def _reset_problem(value: Any) -> str | None:
    if value in ("earliest", "latest"):
        return None
    kind, colon, duration = (value or "").partition(":")
    if kind == "by_duration" and colon and _is_duration(duration):
        return None
    return "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."


def _is_duration(text: str) -> bool:
    """Whether this is an ISO 8601 duration of days to seconds that is not negative, as Java reads it."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()[1:]):
        return False
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return total <= 0 if found[1] == "-" else total >= 0


OFFSET_RESET = Check(_reset_problem, "[latest, earliest, by_duration:PnDTnHnMn.nS]")

ROWS = (
    Setting("consumer.session.timeout.ms", INT, 45_000, at_least(1),
            "A member without a heartbeat for this long is removed.", effect=False, source="KIP-848"),
    Setting("consumer.heartbeat.interval.ms", INT, 5000, at_least(1),
            "How often members send heartbeats.", effect=False, source="KIP-848"),
    Setting("consumer.assignment.interval.ms", INT, 1000, at_least(0),
            "The shortest time between two assignments.", effect=False, source="KIP-848"),
    Setting("share.session.timeout.ms", INT, 45_000, at_least(1),
            "A member without a heartbeat for this long is removed.", effect=False, source="KIP-932"),
    Setting("share.heartbeat.interval.ms", INT, 5000, at_least(1),
            "How often members send heartbeats.", effect=False, source="KIP-932"),
    Setting("share.record.lock.duration.ms", INT, 30_000, at_least(1000),
            "How long a consumer may keep a record before others may get it.", effect=False, source="KIP-932"),
    Setting("share.delivery.count.limit", INT, 5, at_least(2),
            "How often a record is delivered before it is given up.", effect=False, source="KIP-932"),
    Setting("share.partition.max.record.locks", INT, 2000, at_least(100),
            "The most records in flight per partition.", effect=False, source="KIP-932"),
    Setting("share.auto.offset.reset", STRING, "latest", OFFSET_RESET,
            "Where a new share group begins: earliest, latest, or a duration back.", effect=False, source="KIP-932"),
    Setting("share.isolation.level", STRING, "read_uncommitted", in_("read_committed", "read_uncommitted"),
            "Whether records of open and aborted transactions are delivered.", effect=False, source="KIP-932"),
    Setting("share.renew.acknowledge.enable", BOOLEAN, True, None,
            "Whether a consumer may prolong its lock on a record.", effect=False, source="KIP-1222"),
    Setting("share.assignment.interval.ms", INT, 1000, at_least(0),
            "The shortest time between two assignments.", effect=False, source="KIP-932"),
    Setting("streams.session.timeout.ms", INT, 45_000, at_least(1),
            "A member without a heartbeat for this long is removed.", effect=False, source="KIP-1071"),
    Setting("streams.heartbeat.interval.ms", INT, 5000, at_least(1),
            "How often members send heartbeats.", effect=False, source="KIP-1071"),
    Setting("streams.num.standby.replicas", INT, 0, at_least(0),
            "Standby copies of each task's state.", effect=False, source="KIP-1071"),
    Setting("streams.initial.rebalance.delay.ms", INT, 3000, at_least(0),
            "How long the first rebalance of an empty group waits for more members.", effect=False, source="KIP-1071"),
    Setting("streams.assignment.interval.ms", INT, 1000, at_least(0),
            "The shortest time between two assignments.", effect=False, source="KIP-1071"),
)

TABLE: Final = Table(ROWS)

# These exist for groups alone.
_OWN = ("share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable")

SYNONYMS: Final = {row.key: f"group.{row.key}" for row in ROWS if row.key not in _OWN}
"""The broker setting that stands in for a group key."""

# Group key, and the broker settings between which its value must lie. In the order in which Kafka checks them.
LIMITS: Final = (
    ("consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms",
     "group.consumer.max.heartbeat.interval.ms"),
    ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms",
     "group.consumer.max.assignment.interval.ms"),
    ("share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms",
     "group.share.max.record.lock.duration.ms"),
    ("share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit"),
    ("share.partition.max.record.locks", "group.share.min.partition.max.record.locks",
     "group.share.max.partition.max.record.locks"),
    ("share.assignment.interval.ms", "group.share.min.assignment.interval.ms",
     "group.share.max.assignment.interval.ms"),
    ("streams.heartbeat.interval.ms", "group.streams.min.heartbeat.interval.ms",
     "group.streams.max.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
    ("streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms",
     "group.streams.max.assignment.interval.ms"),
)


def broker_defaults(broker: Mapping[str, Any]) -> dict[str, Any]:
    """What a group without a value of its own takes from the broker's typed settings."""
    return {key: broker[name] for key, name in SYNONYMS.items()}


def values_of(defaults: Mapping[str, Any], configs: Mapping[str, str]) -> dict[str, Any]:
    """Typed values of all keys: `configs` first, then `defaults`; unknown keys are skipped. Raises ConfigError."""
    values = TABLE.defaults | dict(defaults)
    for key, text in configs.items():
        if key in TABLE:
            values[key] = TABLE[key].value_of(text)
    return values


def within_limits(values: Mapping[str, Any], broker: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are in effect: limits may have been narrowed after a value was set."""
    capped = dict(values)
    for key, least, most in LIMITS:
        capped[key] = min(broker[most], capped[key])
        if least is not None:
            capped[key] = max(broker[least], capped[key])
    return capped


def problem_of(configs: Mapping[str, str], broker: Mapping[str, Any]) -> str | None:
    """Why a group may not have these configurations, None if it may; `broker` are the broker's typed settings."""
    for key in configs:
        if key not in TABLE:
            return f"Unknown group config name: {key}"
    try:
        values = values_of(broker_defaults(broker), configs)
    except ConfigError as wrong:
        return wrong.problems[0]
    for key, least, most in LIMITS:
        if least is not None and values[key] < broker[least]:
            return f"{key} must be greater than or equal to {least}"
        if values[key] > broker[most]:
            return f"{key} must be less than or equal to {most}"
    for kind in ("consumer", "share", "streams"):
        session, heartbeat = f"{kind}.session.timeout.ms", f"{kind}.heartbeat.interval.ms"
        if values[session] <= values[heartbeat]:
            return f"{session} must be greater than {heartbeat}"
    return None
