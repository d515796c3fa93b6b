"""What the engine's state does when there is no room: what is new is refused, what has happened is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.daemon.full_database import FullDatabase

from riverport.base import reserve
from riverport.engine.errors import SystemFailure
from riverport.engine.state import ROOM_BYTES, State

ONE, OTHER = {"is": "one"}, {"is": "other"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "engine.db")
    yield opened
    opened.close()


def test_what_is_new_is_refused(state: State) -> None:
    FullDatabase(state)
    with pytest.raises(SystemFailure, match="database or disk is full"):
        state.save("things", "a", ONE)
    assert state.load("things") == {}


def test_what_has_happened_is_written_with_the_next_write(state: State) -> None:
    state.save("things", "gone", ONE)
    disk = FullDatabase(state)
    state.note("things", "a", ONE)
    state.note("things", "a", OTHER)
    state.delete("things", ["gone"])
    assert state.load("things") == {"gone": ONE}

    disk.is_full = False
    state.save("things", "b", ONE)
    assert state.load("things") == {"a": OTHER, "b": ONE}


def test_what_is_saved_later_is_not_undone_by_what_was_noted_before(state: State) -> None:
    disk = FullDatabase(state)
    state.note("things", "a", ONE)
    state.delete("things", ["b"])
    disk.is_full = False
    state.save("things", "b", OTHER)
    state.save("things", "a", OTHER)
    assert state.load("things") == {"a": OTHER, "b": OTHER}


def test_what_is_behind_is_written_at_the_end(tmp_path: Path) -> None:
    state = State(tmp_path / "engine.db")
    disk = FullDatabase(state)
    state.note("things", "a", ONE)
    disk.is_full = False
    state.close()
    assert State(tmp_path / "engine.db").load("things") == {"a": ONE}


def test_what_belongs_together_is_refused_as_a_whole(state: State) -> None:
    state.save("things", "a", ONE)
    disk = FullDatabase(state)
    for break_off in (lambda: state.save("things", "b", ONE), lambda: state.delete("things", ["a"])):
        with pytest.raises(SystemFailure), state.together():
            break_off()
    disk.is_full = False
    assert state.load("things") == {"a": ONE}
    with state.together():
        state.save("things", "b", OTHER)
        state.delete("things", ["a"])
    assert state.load("things") == {"b": OTHER}


def test_a_commit_that_fails_leaves_nothing_of_it(state: State) -> None:
    disk = FullDatabase(state)
    disk.is_full = False

    def fill_while_writing() -> None:
        with state.together():
            state.save("things", "a", ONE)
            disk.is_full = True

    with pytest.raises(SystemFailure):
        fill_while_writing()
    disk.is_full = False
    assert state.load("things") == {}
    state.save("things", "b", ONE)
    assert state.load("things") == {"b": ONE}


def test_nothing_is_begun_that_could_overtake_what_is_behind(state: State) -> None:
    FullDatabase(state)
    state.note("things", "a", ONE)
    with pytest.raises(SystemFailure), state.together():
        raise AssertionError("it must not begin")


def test_room_is_taken_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "_SHARE_OF_FREE", 1)
    state = State(tmp_path / "engine.db")
    taken = [(tmp_path / name).stat() for name in ("engine.db", "engine.db-wal")]
    if not all(status.st_blocks * 512 > status.st_size for status in taken):
        pytest.skip("this file system reserves nothing")
    assert all(status.st_blocks * 512 >= ROOM_BYTES > status.st_size for status in taken)
    state.save("things", "a", ONE)
    state.close()
    assert State(tmp_path / "engine.db").load("things") == {"a": ONE}
