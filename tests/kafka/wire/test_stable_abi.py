"""The compiled twins are one file for CPython 3.11 and all later ones, whichever of them it was compiled with."""

import re
from pathlib import Path

import pytest

import riverport

SOURCES = sorted(Path(riverport.__file__).parent.rglob("*.c"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_format_has_a_length(source: Path) -> None:
    """Python 3.13 compiles `s#` and `y#` to a call that 3.11 and 3.12 answer with a SystemError."""
    calls = re.findall(r"(?:BuildValue|Parse\w*)\(([^;]*);", source.read_text())
    assert not [call for call in calls if re.search(r'"[^"]*#', call)]


def test_the_sources_are_looked_at() -> None:
    assert {path.name for path in SOURCES} == {"_produce_frame.c", "_walk.c"}
