"""docs/guides/cli.md: its examples run as they stand there, in order, and print what stands below them."""

import re
from pathlib import Path

import pytest
from tests.cli.guide import GUIDE, examples, printed

from riverport.testing import Broker


def shape(lines: list[str]) -> list[str]:
    """Without what differs from run to run: ids, times, sizes, ports, paths, and the width of columns."""
    found = []
    for line in lines:
        line = re.sub(r"(?<![\w-])[\w-]{22}(?![\w-])", "ID", line)
        line = re.sub(r"/\S*/data\b", "data", line)
        line = re.sub(r"\d+(\.\d+)?( ([KMGT]i)?B\b)?", "#", line)
        found.append(re.sub(r"\s+", " ", line).strip())
    return found


@pytest.mark.slow
def test_the_examples_print_what_the_guide_says(tmp_path: Path) -> None:
    told = list(examples(GUIDE.read_text(encoding="utf-8")))
    assert len(told) > 20
    with Broker(dir=str(tmp_path / "data")) as broker:
        for command, lines in told:
            assert (command, shape(printed(command, tmp_path, broker.bootstrap))) == (command, shape(lines))
