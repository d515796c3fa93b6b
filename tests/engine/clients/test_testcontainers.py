"""testcontainers-python: throw-away containers for tests. Its scenarios run once, in one process; each is a test."""

import sys
from typing import Any

import pytest
from tests.engine import harness
from tests.engine.clients import scenarios

SCRIPT = scenarios.HERE / "testcontainers_scenarios.py"


@pytest.fixture(scope="module")
def results(shared_engine: harness.Engine) -> dict[str, dict[str, Any]]:
    pytest.importorskip("testcontainers", reason="needs testcontainers: pip install testcontainers")
    # Its reaper is an image of its own, which there is nowhere to pull from.
    found = scenarios.run(shared_engine, [sys.executable, str(SCRIPT)], {"TESTCONTAINERS_RYUK_DISABLED": "true"})
    shared_engine.sweep()
    return found


@pytest.mark.parametrize("scenario", scenarios.names(SCRIPT, r"^def scenario_(\w+)"))
def test_with_testcontainers(results: dict[str, dict[str, Any]], scenario: str) -> None:
    scenarios.check(results, scenario)
