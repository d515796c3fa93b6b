"""`scripts/engine-kill`, for a moment: the daemon dies under load, and every promise is kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "engine-kill"


@pytest.mark.slow
@pytest.mark.containers
def test_a_daemon_that_is_killed_keeps_its_promises(able: None, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "11", "--most", "1", "--json", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert len(found["starts"]) == 3
    assert found["done"].keys() >= {"runner", "passer", "puller", "keeper"}
