"""Clients that have to run where published ports are: scripts beside a daemon, one JSON line per scenario."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.engine.harness import Engine

SECONDS = 90
HERE = Path(__file__).parent


def names(script: Path, pattern: str) -> list[str]:
    """The scenarios of a script, in its order."""
    import re

    return re.findall(pattern, script.read_text(), re.M)


def run(engine: Engine, words: Sequence[str], more: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Run a script in the daemon's network; what each scenario came to, by its name."""
    environment = {**engine.environment, "PYTHONPATH": os.pathsep.join(sys.path), **(more or {})}
    process = subprocess.Popen(
        engine.isolation.command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    found = {line["scenario"]: line for line in map(json.loads, out.splitlines())}
    # Of what never reported, the last words on standard error say why.
    return {**found, "": {"problem": err[-2000:]}}


def check(results: Mapping[str, Mapping[str, Any]], scenario: str) -> None:
    result = results.get(scenario, {"problem": "did not report: " + results[""]["problem"]})
    assert not result.get("problem"), result["problem"]
