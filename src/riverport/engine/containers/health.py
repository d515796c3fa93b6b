"""What the result of a health probe means (pure), and when the next one is due.

Docker's reference, "HEALTHCHECK": the first success makes a container healthy at once; failures count only after the
start period, and `Retries` of them in a row make it unhealthy. Durations in a configuration are nanoseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from riverport.engine.containers.times import SECOND_NS, duration_text, rfc3339

INTERVAL_NS = 30 * SECOND_NS
TIMEOUT_NS = 30 * SECOND_NS
START_INTERVAL_NS = 5 * SECOND_NS
RETRIES = 3
LOG_LENGTH = 5
OUTPUT_BYTES = 4096
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


@dataclass(slots=True, frozen=True)
class Probe:
    """A container's health check with its defaults filled in; `test` is the command."""

    test: tuple[str, ...]
    shell: bool
    interval_ns: int
    timeout_ns: int
    start_period_ns: int
    start_interval_ns: int
    retries: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Probe | None":
        """None where a configuration asks for no check (`NONE`, or no test)."""
        health = config.get("Healthcheck") or {}
        test = health.get("Test") or []
        if len(test) < 2 or test[0] not in ("CMD", "CMD-SHELL"):
            return None
        return cls(
            tuple(test[1:]),
            test[0] == "CMD-SHELL",
            health.get("Interval") or INTERVAL_NS,
            health.get("Timeout") or TIMEOUT_NS,
            health.get("StartPeriod") or 0,
            health.get("StartInterval") or START_INTERVAL_NS,
            health.get("Retries") or RETRIES,
        )

    def command(self, shell: list[str] | None) -> list[str]:
        return [*(shell or ["/bin/sh", "-c"]), *self.test] if self.shell else list(self.test)


@dataclass(slots=True, frozen=True)
class Result:
    start_ns: int
    end_ns: int
    exit_code: int
    output: str

    def document(self) -> dict[str, Any]:
        return {"Start": rfc3339(self.start_ns), "End": rfc3339(self.end_ns), "ExitCode": self.exit_code,
                "Output": self.output}  # fmt: skip


@dataclass(slots=True)
class Health:
    status: str = STARTING
    failing_streak: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def take(self, probe: Probe, result: Result, started_at_ns: int) -> bool:
        """Count a result in; True if the status has changed."""
        before = self.status
        self.log = [*self.log, result.document()][-LOG_LENGTH:]
        if result.exit_code == 0:
            self.status, self.failing_streak = HEALTHY, 0
        elif self.status != STARTING or result.start_ns - started_at_ns >= probe.start_period_ns:
            self.failing_streak += 1
            if self.failing_streak >= probe.retries:
                self.status = UNHEALTHY
        return self.status != before

    def pause_ns(self, probe: Probe, now_ns: int, started_at_ns: int) -> int:
        """How long until the next probe."""
        in_start_period = now_ns - started_at_ns < probe.start_period_ns
        return probe.start_interval_ns if in_start_period and self.status == STARTING else probe.interval_ns

    def document(self) -> dict[str, Any]:
        return {"Status": self.status, "FailingStreak": self.failing_streak, "Log": self.log}


def timeout_text(timeout_ns: int, output: str) -> str:
    text = f"Health check exceeded timeout ({duration_text(timeout_ns)})"
    return f"{text}: {output}" if output else text
