"""`scripts/cluster-chaos`, for a moment: nodes die, stop, stand still, are cut off; every record is accounted for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.network import available

SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster-chaos"

pytestmark = pytest.mark.slow


def chaos(*options: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(SCRIPT), "--rate", "200", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=400)


def test_nothing_is_lost_on_one_machine(tmp_path: Path) -> None:
    done = chaos("--faults", "8", "--seed", "3", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["faults"] >= 8
    assert figures["acknowledged"] > 100
    assert (figures["lost"], figures["doubled"], figures["other_problems"]) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["leader cut off", "controller killed"])
def test_nothing_is_lost_on_hosts_that_are_cut_off(kind: str) -> None:
    if reason := available():
        pytest.skip(reason)
    done = chaos("--namespaces", "--faults", "2", "--kind", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, other problems 0" in done.stdout


def test_an_unknown_kind_names_those_that_there_are() -> None:
    done = chaos("--kind", "earthquake")
    assert done.returncode == 2
    assert "leader killed, controller killed" in done.stderr
