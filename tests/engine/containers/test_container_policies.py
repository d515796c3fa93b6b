"""Restart policies and health checks: decisions only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.containers.health import (
    HEALTHY,
    LOG_LENGTH,
    STARTING,
    UNHEALTHY,
    Health,
    Probe,
    Result,
    timeout_text,
)
from riverport.engine.containers.restart import Backoff, RestartPolicy, after_exit, at_daemon_start
from riverport.engine.containers.times import SECOND_NS


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "expected"),
    [
        ("no", 1, 0, False),
        ("always", 0, 99, True),
        ("unless-stopped", 0, 0, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 99, True),
        ("on-failure:3", 1, 2, True),
        ("on-failure:3", 1, 3, False),
    ],
)
def test_policies_after_an_exit(policy: str, code: int, restarts: int, expected: bool) -> None:
    name, _, limit = policy.partition(":")
    assert after_exit(RestartPolicy(name, int(limit or 0)), code, restarts, False) is expected
    assert after_exit(RestartPolicy(name, int(limit or 0)), code, restarts, True) is False


@pytest.mark.parametrize(
    ("policy", "ran", "by_hand", "expected"),
    [
        ("no", True, False, False),
        ("always", False, True, True),
        ("unless-stopped", False, False, True),
        ("unless-stopped", False, True, False),
        ("on-failure", True, False, True),
        ("on-failure", False, False, False),
    ],
)
def test_policies_when_the_daemon_starts(policy: str, ran: bool, by_hand: bool, expected: bool) -> None:
    assert at_daemon_start(RestartPolicy(policy), ran, 255, by_hand) is expected


def test_delays_double_to_a_minute_and_begin_anew_after_a_long_run() -> None:
    backoff = Backoff()
    delays = [backoff.next(0.5) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60
    assert backoff.next(10) == 0.1


def probe(**health: object) -> Probe:
    made = Probe.of({"Healthcheck": {"Test": ["CMD", "true"], **health}})
    assert made is not None
    return made


def result(code: int, start_s: float = 100.0) -> Result:
    start_ns = int(start_s * SECOND_NS)
    return Result(start_ns, start_ns + 1, code, "out")


def test_the_first_success_makes_healthy() -> None:
    health = Health()
    assert health.take(probe(), result(0), 0) is True
    assert health.take(probe(), result(0), 0) is False
    assert health.document()["Status"] == HEALTHY


def test_failures_in_a_row_make_unhealthy_and_a_success_heals() -> None:
    health = Health()
    assert [health.take(probe(Retries=2), result(code), 0) for code in (1, 0, 1, 1, 0)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert health.failing_streak == 0


def test_failures_in_the_start_period_do_not_count() -> None:
    health, slow = Health(), probe(StartPeriod=30 * SECOND_NS, Retries=1)
    health.take(slow, result(1, 10), 0)
    assert (health.status, health.failing_streak) == (STARTING, 0)
    health.take(slow, result(1, 31), 0)
    assert health.status == UNHEALTHY


def test_a_success_ends_the_start_period() -> None:
    health, slow = Health(), probe(StartPeriod=30 * SECOND_NS, Retries=1)
    health.take(slow, result(0, 5), 0)
    assert health.take(slow, result(1, 10), 0) is True


def test_the_interval_is_shorter_in_the_start_period() -> None:
    slow = probe(StartPeriod=30 * SECOND_NS, Interval=7 * SECOND_NS, StartInterval=SECOND_NS)
    assert Health().pause_ns(slow, 10 * SECOND_NS, 0) == SECOND_NS
    assert Health().pause_ns(slow, 30 * SECOND_NS, 0) == 7 * SECOND_NS
    assert Health(HEALTHY).pause_ns(slow, 10 * SECOND_NS, 0) == 7 * SECOND_NS


@given(st.lists(st.integers(0, 2)), st.integers(1, 5))
def test_the_streak_is_the_number_of_failures_at_the_end(codes: list[int], retries: int) -> None:
    health = Health()
    for code in codes:
        health.take(probe(Retries=retries), result(code), 0)
    streak = next((place for place, code in enumerate(reversed(codes)) if code == 0), len(codes))
    assert health.failing_streak == streak
    assert len(health.log) == min(len(codes), LOG_LENGTH)
    assert (health.status == UNHEALTHY) == (streak >= retries)


@pytest.mark.parametrize("test", [[], ["NONE"], ["CMD"], ["FOO", "x"]])
def test_no_check(test: list[str]) -> None:
    assert Probe.of({"Healthcheck": {"Test": test}}) is None
    assert Probe.of({}) is None


def test_shell_checks_use_the_images_shell() -> None:
    made = Probe.of({"Healthcheck": {"Test": ["CMD-SHELL", "exit 1"]}})
    assert made is not None
    assert made.command(None) == ["/bin/sh", "-c", "exit 1"]
    assert made.command(["/bin/bash", "-c"]) == ["/bin/bash", "-c", "exit 1"]


def test_a_timeout_is_told_as_docker_tells_it() -> None:
    assert timeout_text(1_500_000_000, "") == "Health check exceeded timeout (1.5s)"
    assert timeout_text(90 * SECOND_NS, "x") == "Health check exceeded timeout (1m30s): x"
