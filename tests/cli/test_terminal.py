"""Tables, bars and what a terminal would obey."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from riverport.cli import terminal
from riverport.cli.terminal import (
    Figure,
    Progress,
    Verbatim,
    display_width,
    print_table,
    printable,
    shortened,
    size_text,
)

Capture = pytest.CaptureFixture[str]


class Screen(io.StringIO):
    """A terminal, or a file that is none."""

    def __init__(self, is_terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._encoding = encoding

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def test_numbers_stand_right_and_words_left(capsys: Capture) -> None:
    rows = [("a", 1, None, True, Figure("1.0 KiB")), ("long name", 100, 7, False, Figure("9 B"))]
    print_table(["NAME", "N", "M", "SET", "SIZE"], rows)
    assert capsys.readouterr().out == (
        "NAME         N  M  SET     SIZE\na            1  -  yes  1.0 KiB\nlong name  100  7  no       9 B\n"
    )


def test_wide_and_combining_characters_keep_the_columns(capsys: Capture) -> None:
    print_table(["NAME", "N"], [("語語", 1), ("e\u0301", 2), ("abcd", 3)])
    lines = capsys.readouterr().out.splitlines()
    assert {display_width(line) for line in lines} == {7}


def test_a_table_without_rows_has_its_heads(capsys: Capture) -> None:
    print_table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


def test_nothing_is_a_dash_but_an_empty_value_is_empty(capsys: Capture) -> None:
    print_table(["NONE", "B", "C"], [(None, "", Verbatim(""))])
    assert capsys.readouterr().out == "NONE  B  C\n-     -\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b]0;title\x07", "\\x1b]0;title\\x07"), ("a\nb\tc", "a\\nb\\tc"), ("\u202e", "\\u202e"), ("語 é", "語 é")],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("語語語", 5, "語語…"),
        ("語語", 4, "語語"),
        ("語語語", 4, "語…"),
        ("", 1, ""),
    ],
)
def test_text_is_cut_by_cells(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected
    assert display_width(expected) <= width


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (2**40, "1.0 TiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "REDRAW_S", 0)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("at_once")
def test_a_bar_is_drawn_over_itself_and_goes() -> None:
    screen = Screen()
    with Progress("reading", 4, stream=screen) as progress:
        progress.add(1)
        progress.add(3)
    first, second, last = screen.getvalue().split("\r")[1:]
    assert first == "reading  " + "█" * 6 + "·" * 18 + "  25%  1 of 4\x1b[K"
    assert second.startswith("reading  " + "█" * 24 + " 100%  4 of 4")
    assert last == "\x1b[K"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("columns", [20, 80])
def test_a_bar_never_wraps(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen(encoding="ascii")
    with Progress("a label of some length", 3, size_text, screen) as progress:
        progress.add(3)
    drawn = screen.getvalue().split("\r")[1].removesuffix("\x1b[K")
    assert len(drawn) < columns
    assert "#" in drawn or columns == 20


@pytest.mark.usefixtures("at_once")
def test_no_bar_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = [Screen(is_terminal=False), Screen(), Screen()]
    for screen, term, hidden in zip(screens, ("xterm", "dumb", "xterm"), (False, False, True)):
        monkeypatch.setenv("TERM", term)
        with Progress("reading", 4, stream=screen, hidden=hidden) as progress:
            progress.add(1)
    assert [screen.getvalue() for screen in screens] == ["", "", ""]


def test_what_is_done_at_once_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "REDRAW_S", 3600)
    screen = Screen()
    with Progress("reading", 4, stream=screen) as progress:
        progress.add(4)
    assert screen.getvalue() == "\r\x1b[K"


@pytest.mark.parametrize("columns", [60, 120])
def test_the_demo_fits_the_terminal(columns: int, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("語" * 300 + "\n" + "x" * 500 + "\n\n", encoding="utf-8")
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = [sys.executable, "-m", "riverport", "demo", str(tmp_path / "text")]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    running = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, env={**environment, "TERM": "xterm"})
    os.close(its)
    seen = b""
    try:
        while chunk := os.read(mine, 65536):
            seen += chunk
    except OSError:
        pass  # the other side is closed
    finally:
        os.close(mine)
        assert running.wait(30) == 0
    lines = [line.rpartition("\x1b[K")[2].rstrip("\r") for line in seen.decode().split("\n")]
    table = [line for line in lines if "…" in line]
    assert len(table) == 2
    assert all(columns - 1 <= display_width(line) <= columns for line in table)
    assert "\x1b[3" not in seen.decode()  # no colours


def test_a_live_screen_rewrites_its_lines_in_place() -> None:
    stream = Screen()
    screen = terminal.Screen(stream)
    screen.draw(["one", "two"])
    screen.draw(["three"])
    assert stream.getvalue() == "one\x1b[K\ntwo\x1b[K\n\x1b[J" + "\x1b[2F" + "three\x1b[K\n\x1b[J"


def test_a_live_screen_shows_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "8")
    monkeypatch.setenv("LINES", "3")
    stream = Screen()
    terminal.Screen(stream).draw(["a line that is long", "second", "third", "fourth"])
    assert stream.getvalue() == "a line …\x1b[K\nsecond\x1b[K\n\x1b[J"


def test_elsewhere_each_drawing_is_a_paragraph() -> None:
    stream = Screen(is_terminal=False)
    screen = terminal.Screen(stream)
    screen.draw(["one"])
    screen.draw(["two"])
    assert stream.getvalue() == "one\n\ntwo\n"
