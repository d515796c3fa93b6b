"""The Java clients, of this generation and of the older one: tests/java/ClientScenarios.java, one JVM for each."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.java

SOURCE = Path(__file__).parents[1] / "java" / "ClientScenarios.java"
SCENARIOS = [
    line.split('"')[1] for line in SOURCE.read_text().splitlines() if line.strip().startswith('scenarios.put("')
]
SECONDS = 110


@pytest.fixture(scope="module", params=["clients", "older-clients"])
def results(
    request: pytest.FixtureRequest, compiled: Callable[[str, str], list[str]], bootstrap: str
) -> dict[str, dict[str, Any]]:
    """What each scenario came to, by its name."""
    command = [*compiled("ClientScenarios", request.param), bootstrap]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    return {r["scenario"]: r for r in map(json.loads, out.splitlines())}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_java_client(results: dict[str, dict[str, Any]], scenario: str) -> None:
    assert scenario in results, f"no result within {SECONDS} s"
    assert results[scenario]["ok"], results[scenario]["error"]
