"""Apache Kafka's jars, from where `scripts/fetch-kafka` keeps them; it gets them the first time."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FETCH = Path(__file__).parents[1] / "scripts" / "fetch-kafka"


def jars(name: str) -> str:
    """The class path of a set of jars, `jars("broker")`; skips the test where they or Java cannot be had."""
    if not shutil.which("java") or not shutil.which("javac"):
        pytest.skip("needs java and javac (17) on PATH: scripts/setup-debian")
    path, problem = _fetch(name)
    if problem:
        pytest.skip(problem)
    return path


@functools.cache
def _fetch(name: str) -> tuple[str, str]:
    run = subprocess.run([sys.executable, str(FETCH), name], capture_output=True, text=True)
    if run.returncode:
        return "", f"scripts/fetch-kafka {name}: {run.stderr.strip()[-500:]}"
    return run.stdout.strip(), ""
