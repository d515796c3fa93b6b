"""Shall a container that has ended be started again, and how long after?

The delay doubles from 100 ms to a minute and begins anew after a run of ten seconds (Docker's documentation, "Start
containers automatically"; constants as measured on the original).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
STABLE_RUN_S = 10.0


@dataclass(slots=True)
class RestartPolicy:
    name: str = "no"
    maximum_retry_count: int = 0

    @classmethod
    def of(cls, host_config: Mapping[str, Any]) -> "RestartPolicy":
        policy = host_config["RestartPolicy"]
        return cls(policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0)


@dataclass(slots=True)
class Backoff:
    """How long the next delay is; 0 before the first."""

    delay_s: float = 0.0

    def next(self, ran_s: float) -> float:
        if ran_s >= STABLE_RUN_S:
            self.delay_s = 0.0
        self.delay_s = min(self.delay_s * 2, LONGEST_DELAY_S) if self.delay_s else FIRST_DELAY_S
        return self.delay_s


def after_exit(policy: RestartPolicy, exit_code: int, restarts: int, stopped_by_hand: bool) -> bool:
    """Whether a container that has just ended is started again. A stop by hand ends every policy's work."""
    if stopped_by_hand:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            limit = policy.maximum_retry_count
            return exit_code != 0 and (limit == 0 or restarts < limit)
        case _:
            return False


def at_daemon_start(policy: RestartPolicy, was_running: bool, exit_code: int, stopped_by_hand: bool) -> bool:
    """Whether a container that does not run is started when the daemon comes up.

    `was_running`: its document says that it ran, but nobody has seen its end (the machine went down).
    """
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stopped_by_hand
        case "on-failure":
            return was_running and exit_code != 0
        case _:
            return False
