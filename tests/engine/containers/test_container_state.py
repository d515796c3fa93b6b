"""States and the texts of `ps`, times, waiting, detach keys."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.containers.container import Container, ContainerState, Outcome, WaitCondition
from riverport.engine.containers.detach_keys import DEFAULT, DetachFilter, parse_keys
from riverport.engine.containers.signals import parse_signal
from riverport.engine.containers.times import (
    SECOND_NS,
    ZERO,
    duration_text,
    human_duration,
    parse_time,
    rfc3339,
    rfc3339_fixed,
)
from riverport.engine.errors import InvalidParameter

NOW = 1_700_000_000 * SECOND_NS


def container(**state: object) -> Container:
    return Container("a" * 64, "one", NOW, "sh", [], "", {}, {}, {}, [], state=ContainerState(**state))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        ({}, "created", "Created"),
        ({"running": True, "started_at_ns": NOW - 2 * SECOND_NS}, "running", "Up 2 seconds"),
        ({"running": True, "started_at_ns": NOW, "health": {"Status": "healthy"}}, "running",
         "Up Less than a second (healthy)"),
        ({"running": True, "started_at_ns": NOW, "health": {"Status": "starting"}}, "running",
         "Up Less than a second (health: starting)"),
        ({"running": True, "paused": True, "started_at_ns": NOW - 180 * SECOND_NS}, "paused", "Up 3 minutes (Paused)"),
        ({"running": True, "restarting": True, "started_at_ns": 1, "exit_code": 1, "finished_at_ns": NOW - SECOND_NS},
         "restarting", "Restarting (1) 1 second ago"),
        ({"started_at_ns": 1, "exit_code": 137, "finished_at_ns": NOW - 300 * SECOND_NS}, "exited",
         "Exited (137) 5 minutes ago"),
        ({"removing": True}, "removing", "Removal In Progress"),
        ({"dead": True}, "dead", "Dead"),
    ],
)  # fmt: skip
def test_status_and_its_text(state: dict[str, object], status: str, text: str) -> None:
    made = ContainerState(**state)  # type: ignore[arg-type]
    assert (made.status, made.text(NOW)) == (status, text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (3599, "59 minutes"),
     (3600, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"), (72 * 3600, "3 days"),
     (21 * 86400, "3 weeks"), (90 * 86400, "3 months"), (3 * 365 * 86400, "3 years")],
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert human_duration(int(seconds * SECOND_NS)) == text


@pytest.mark.parametrize(("nanoseconds", "text"), [(0, "0s"), (1500, "1.5µs"), (10**8, "100ms"), (90 * 10**9, "1m30s"),
                                                   (3661 * 10**9, "1h1m1s")])  # fmt: skip
def test_durations_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert duration_text(nanoseconds) == text


def test_times_are_written_with_as_many_digits_as_they_need() -> None:
    assert rfc3339(NOW) == "2023-11-14T22:13:20Z"
    assert rfc3339(NOW + 120_000_000) == "2023-11-14T22:13:20.12Z"
    assert rfc3339_fixed(NOW + 120_000_000) == "2023-11-14T22:13:20.120000000Z"
    assert rfc3339(0) == ZERO


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("1700000000", NOW), ("1700000000.5", NOW + 500_000_000), ("2023-11-14T22:13:20Z", NOW),
     ("2023-11-14T23:13:20.5+01:00", NOW + 500_000_000), ("2023-11-14T22:13", NOW - 20 * SECOND_NS),
     ("2023-11-14", NOW - (22 * 3600 + 13 * 60 + 20) * SECOND_NS), ("1m30s", 10 * NOW - 90 * SECOND_NS)],
)  # fmt: skip
def test_times_are_read_in_every_form(text: str, time_ns: int) -> None:
    assert parse_time(text, 10 * NOW) == time_ns


@pytest.mark.parametrize("text", ["yesterday", "2023-99-01", "5 m"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_time(text, NOW)


@given(st.integers(1, 4 * 10**18))
def test_times_come_back_as_they_were_written(time_ns: int) -> None:
    assert parse_time(rfc3339(time_ns), 0) == time_ns


@pytest.mark.parametrize(
    ("text", "number"), [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX", 64)]
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["FOO", "0", "65", "-1", ""])
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_signal(text)
    assert str(refused.value) == f"invalid signal: {text}"


async def _waits() -> None:
    one = container()
    assert one.wait(WaitCondition.NOT_RUNNING).result() == Outcome(0)
    one.state.set_running(7, NOW)
    stop, following, removal = (one.wait(condition) for condition in WaitCondition)
    one.state.set_stopped(3, NOW)
    one.waiters.exited(one.outcome())
    assert stop.result() == following.result() == Outcome(3)
    later = one.wait(WaitCondition.NEXT_EXIT)
    assert not later.done()
    assert not removal.done()
    one.waiters.removed(one.outcome())
    assert removal.result() == later.result() == Outcome(3)


def test_each_condition_is_answered_at_its_moment() -> None:
    asyncio.run(_waits())


async def _abandoned() -> None:
    one = container(running=True)
    waiting = one.wait(WaitCondition.NOT_RUNNING)
    waiting.cancel()
    await asyncio.sleep(0)
    one.waiters.exited(Outcome(0))
    assert waiting.cancelled()
    assert not one.waiters._exit


def test_a_waiter_that_goes_away_is_forgotten() -> None:
    asyncio.run(_abandoned())


def test_a_document_comes_back_as_it_was() -> None:
    one = container(running=True, health={"Status": "healthy"})
    again = Container.of(one.document())
    assert again.document() == one.document()


@pytest.mark.parametrize(("text", "keys"), [("", DEFAULT), ("ctrl-a", b"\x01"), ("a,ctrl-[", b"a\x1b"),
                                            ("ctrl-p,ctrl-q", DEFAULT)])  # fmt: skip
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


def test_detach_keys_that_are_none() -> None:
    with pytest.raises(InvalidParameter, match=r"Invalid detach keys \(ctrl-pp\) provided"):
        parse_keys("ctrl-pp")


def test_the_keys_detach_in_however_many_pieces_they_come() -> None:
    keys = DetachFilter(DEFAULT)
    assert keys.feed(b"ab\x10") == b"ab"
    assert keys.feed(b"\x11cd") == b""
    assert keys.detached


def test_half_a_sequence_goes_on_once_it_comes_to_nothing() -> None:
    keys = DetachFilter(DEFAULT)
    assert keys.feed(b"\x10") == b""
    assert keys.feed(b"\x10x") == b"\x10\x10x"
    assert keys.feed(b"\x10") == b""
    assert keys.rest() == b"\x10"


@given(st.lists(st.binary(max_size=6)).filter(lambda pieces: DEFAULT not in b"".join(pieces)))
def test_without_the_sequence_everything_goes_on(pieces: list[bytes]) -> None:
    keys = DetachFilter(DEFAULT)
    assert b"".join([keys.feed(piece) for piece in pieces] + [keys.rest()]) == b"".join(pieces)
