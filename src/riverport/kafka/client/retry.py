"""Which errors pass by themselves, and how long to wait before the next attempt (KIP-580)."""

import asyncio
import random

from riverport.kafka.wire.errors import ErrorCode

_E = ErrorCode
RETRIABLE = frozenset(
    (
        _E.CORRUPT_MESSAGE,
        _E.UNKNOWN_TOPIC_OR_PARTITION,
        _E.LEADER_NOT_AVAILABLE,
        _E.NOT_LEADER_OR_FOLLOWER,
        _E.REQUEST_TIMED_OUT,
        _E.REPLICA_NOT_AVAILABLE,
        _E.NETWORK_EXCEPTION,
        _E.COORDINATOR_LOAD_IN_PROGRESS,
        _E.COORDINATOR_NOT_AVAILABLE,
        _E.NOT_COORDINATOR,
        _E.NOT_ENOUGH_REPLICAS,
        _E.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        _E.NOT_CONTROLLER,
        _E.CONCURRENT_TRANSACTIONS,
        _E.KAFKA_STORAGE_ERROR,
        _E.FETCH_SESSION_ID_NOT_FOUND,
        _E.INVALID_FETCH_SESSION_EPOCH,
        _E.LISTENER_NOT_FOUND,
        _E.FENCED_LEADER_EPOCH,
        _E.UNKNOWN_LEADER_EPOCH,
        _E.OFFSET_NOT_AVAILABLE,
        _E.PREFERRED_LEADER_NOT_AVAILABLE,
        _E.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        _E.UNSTABLE_OFFSET_COMMIT,
        _E.THROTTLING_QUOTA_EXCEEDED,
        _E.UNKNOWN_TOPIC_ID,
        _E.INCONSISTENT_TOPIC_ID,
        _E.FETCH_SESSION_TOPIC_ID_ERROR,
    )
)
"""Codes after which the same request may succeed, mostly once the metadata is read again."""

COORDINATOR_MOVED = frozenset((_E.NOT_COORDINATOR, _E.COORDINATOR_NOT_AVAILABLE))
"""Codes after which the coordinator must be looked up again."""


def is_retriable(code: int) -> bool:
    return code in RETRIABLE


def now_s() -> float:
    """Seconds on the running loop's clock, which never steps: the one that `asyncio.timeout` goes by."""
    return asyncio.get_running_loop().time()


class Backoff:
    """Waits that double from `first_ms` to `most_ms`, each up to a fifth longer or shorter than that."""

    def __init__(self, first_ms: int = 50, most_ms: int = 1000, rng: random.Random | None = None) -> None:
        self._first_ms = first_ms
        self._most_ms = most_ms
        self._rng = rng or random.Random()
        self._attempts = 0

    def next_ms(self) -> float:
        base: int = min(self._first_ms * 2**self._attempts, self._most_ms)
        if base < self._most_ms:
            self._attempts += 1
        return float(base) * self._rng.uniform(0.8, 1.2)

    def reset(self) -> None:
        self._attempts = 0
