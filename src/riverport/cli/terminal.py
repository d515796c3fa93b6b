"""What is printed: aligned tables, JSON, and a progress bar that shows only on a terminal."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

REDRAW_S = 0.1
"""A bar is drawn this often at the most: drawing must cost nothing beside the work."""
BAR_CELLS = 24
BAR, ASCII_BAR = ("█", "·"), ("#", ".")


def print_json(document: Any) -> None:
    """One document on one line: `jq` makes it pretty, and `while read` works too."""
    print(json.dumps(document, separators=(",", ":")))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as their widest cell. Numbers stand right, `None` is a dash; nothing is cut or wrapped."""
    for line in table_lines(heads, rows):
        print(line)


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    grid = [[_cell(value) for value in row] for row in rows]
    kinds = [{is_number for _, is_number in column} for column in zip(*grid)]
    right = [True in found and False not in found for found in kinds] or [False] * len(heads)
    texts = [list(heads), *([text for text, _ in row] for row in grid)]
    widths = [max(map(display_width, column)) for column in zip(*texts)]
    lines = []
    for row in texts:
        cells = (
            " " * (width - display_width(text)) + text if is_right else text + " " * (width - display_width(text))
            for text, width, is_right in zip(row, widths, right)
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def _cell(value: Any) -> tuple[str, bool | None]:
    """The text of a cell, and whether it is a number; None for a cell that may stand among either."""
    if value is None:
        return "-", None
    if isinstance(value, bool):
        return ("yes" if value else "no"), False
    if isinstance(value, int):
        return str(value), True
    if isinstance(value, Verbatim):
        return printable(value), False
    if isinstance(value, (list, tuple)):
        return printable(",".join(map(str, value))) or "-", False
    return printable(str(value)) or "-", isinstance(value, Figure)


def printable(text: str) -> str:
    """`text` with control characters spelled out: names and values come from strangers, a terminal obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def printable_bytes(data: bytes | None) -> str:
    return "-" if data is None else printable(data.decode("utf-8", "backslashreplace"))


def display_width(text: str) -> int:
    """Cells on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` cells."""
    if len(text) <= width and display_width(text) <= width:
        return text
    kept: list[str] = []
    used = 1  # the ellipsis
    for character in text:
        used += display_width(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def terminal_width(default: int) -> int:
    """Columns of the terminal that standard output is, else `default`."""
    return shutil.get_terminal_size((default, 24)).columns if sys.stdout.isatty() else default


class Screen:
    """Draws the same lines again and again in place, on a terminal; elsewhere each time anew, with a gap between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        if not self.is_live:
            self._stream.write("\n".join(["", *lines] if self._drawn else lines) + "\n")
            self._stream.flush()
            self._drawn = 1
            return
        columns, rows = shutil.get_terminal_size()
        shown = [shortened(line, columns) for line in lines[: rows - 1]]
        # Lines are rewritten, not cleared first: a screen that is emptied and filled again flickers.
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._stream.write(up + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        self._stream.flush()
        self._drawn = len(shown)

    def keep(self) -> None:
        """What is drawn stays; the next lines come below."""
        self._drawn = 0


class Figure(str):
    """Text that stands right in its column, as numbers do."""

    __slots__ = ()


class Verbatim(str):
    """Text that is shown as it is even where it is empty: a dash would be another value."""

    __slots__ = ()


def size_text(size: int) -> Figure:
    """A number of bytes for a person: `1.2 MiB`."""
    if size < 1024:
        return Figure(f"{size} B")
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return Figure(f"{amount:.1f} {unit}")


def counted(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Progress:
    """A bar on standard error while a block runs, gone when it ends; nothing where that is no terminal.

    What takes no longer than a redraw shows no bar at all: it would only flash.

    with Progress("producing", size, size_text) as progress:
        progress.add(100)
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        shown: Any = str,
        stream: TextIO | None = None,
        *,
        hidden: bool = False,
    ) -> None:
        """`total` is what `add` sums up to, None where nobody knows; `shown` makes the text of an amount."""
        self._label = label
        self._total = total
        self._shown = shown
        self._stream = stream or sys.stderr
        self._on = self._stream.isatty() and os.environ.get("TERM") != "dumb" and not hidden
        self._full, self._empty = BAR if _has_blocks(self._stream) else ASCII_BAR
        self._done = 0
        self._next_draw = 0.0

    def __enter__(self) -> "Progress":
        self._next_draw = time.monotonic() + REDRAW_S
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def add(self, amount: int) -> None:
        self._done += amount
        if self._on and time.monotonic() >= self._next_draw:
            self._draw()

    def _draw(self) -> None:
        self._next_draw = time.monotonic() + REDRAW_S
        line = f"{self._label}  {self._shown(self._done)}"
        if self._total:
            part = min(1.0, self._done / self._total)
            filled = round(part * BAR_CELLS)
            bar = self._full * filled + self._empty * (BAR_CELLS - filled)
            line = f"{self._label}  {bar} {part:4.0%}  {self._shown(self._done)} of {self._shown(self._total)}"
        self._stream.write(f"\r{shortened(line, shutil.get_terminal_size().columns - 1)}\x1b[K")
        self._stream.flush()


def _has_blocks(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") in ("utf8", "utf16")
