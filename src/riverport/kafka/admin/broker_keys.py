"""Names of broker settings: several names of one setting, and keys that are given for one listener.

listener.name.<name>.<key> overrides a key for one listener, listener.name.<name>.<mechanism>.<key> for one SASL
mechanism of it (KIP-85, KIP-103).
"""

import re
from collections.abc import Mapping
from typing import Final

# A key under listener.name.<name>. may carry a mechanism in front of these.
MECHANISM_KEYS: Final = (
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
)

_LISTENER_KEY = re.compile(r"listener\.name\.[^.]*\.(.*)")

_ROLL = ("log.roll.ms", "log.roll.hours")
_ROLL_JITTER = ("log.roll.jitter.ms", "log.roll.jitter.hours")
_RETENTION = ("log.retention.ms", "log.retention.minutes", "log.retention.hours")
_SYNONYMS: dict[str, tuple[str, ...]] = {
    **{key: keys for keys in (_ROLL, _ROLL_JITTER, _RETENTION) for key in keys},
    # Only one way: the scheduler's interval is a setting of its own, too.
    "log.flush.interval.ms": ("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
}


def synonyms(key: str) -> tuple[str, ...]:
    """All names of the setting that `key` is, in the order in which they count."""
    return _SYNONYMS.get(key, (key,))


def synonyms_and_base(key: str) -> tuple[str, ...]:
    """As `synonyms`; a key of one listener is followed by the key it overrides."""
    found = listener_part(key)
    if found is None:
        return synonyms(key)
    return key, next((known for known in MECHANISM_KEYS if found.endswith(known)), found)


def listener_part(key: str) -> str | None:
    """What follows listener.name.<name>. in a key, None if it has no such prefix."""
    if not key.startswith("listener.name."):
        return None
    found = _LISTENER_KEY.fullmatch(key)
    return found[1] if found else None


def base_key(key: str) -> str:
    """The key without listener.name.<name>. and without a mechanism."""
    return synonyms_and_base(key)[-1] if key.startswith("listener.name.") else key


def overridden(given: Mapping[str, str], *changes: Mapping[str, str]) -> dict[str, str]:
    """`given` with changes on top, later ones first. A changed key hides all of its synonyms below."""
    merged = dict(given)
    for change in changes:
        for key, value in change.items():
            for name in synonyms(key):
                merged.pop(name, None)
            merged[key] = value
    return merged
