"""The docker command against the engine, as recorded from dockerd: see `transcript.py`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine import harness
from tests.engine.cli.transcript import SCRIPTS, masked, parse, run


@pytest.fixture(scope="module")
def fresh_engine(able: None) -> Iterator[harness.Engine]:
    """As when the scripts were recorded: with no images and no build cache of other tests."""
    engine = harness.Engine()
    yield engine
    engine.close()


@pytest.mark.containers
@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_the_docker_command_prints_what_it_prints_with_dockerd(
    fresh_engine: harness.Engine, script: Path, tmp_path: Path
) -> None:
    wanted, _ = parse(script.read_text())
    found = run(wanted, fresh_engine.environment, tmp_path)
    fresh_engine.sweep()
    assert [step.text() for step in found] == [step.text() for step in wanted]


def test_scripts_are_read_and_written_alike() -> None:
    for path in SCRIPTS.glob("*.txt"):
        steps, rest = parse(path.read_text())
        assert "".join(step.text() for step in steps) + "".join(line + "\n" for line in rest) == path.read_text()


def test_masks_hide_what_differs_and_nothing_else() -> None:
    line = f"{'ab' * 32}   0123456789ab  2 minutes ago  Up About a minute   2024-01-02T03:04:05.6Z  exit 12"
    assert masked(line.encode()) == ["<id>  <id>  <ago>  Up <ago>  <time>  exit 12"]
    assert not re.search("mask", masked(b"0123456789a 12:34 x")[0])
