"""`scripts/crash-test`, for a moment: a broker is killed while it works, stops and recovers, and real clients go on."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "crash-test"


@pytest.mark.slow
def test_killed_brokers_lose_no_acknowledged_record() -> None:
    words = ["--rounds", "4", "--verify-every", "2", "--rate", "300", "--seed", "3"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 rounds" in done.stdout
    assert "0 problems" in done.stdout
