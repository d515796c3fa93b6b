"""kafkajs: an old client that speaks the oldest versions. tests/node/scenarios.js runs once; a scenario is a test."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.node

NODE = Path(__file__).parents[1] / "node"
SCENARIOS = re.findall(r"^  async (\w+)\(\) {$", (NODE / "scenarios.js").read_text(), re.M)
SECONDS = 100


@pytest.fixture(scope="module")
def installed() -> Path:
    """A folder with the scenarios and what they need, made once per lock file."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm on PATH: scripts/setup-debian installs them")
    cache = Path(os.environ.get("RIVERPORT_CACHE", Path.home() / ".cache" / "riverport"))
    folder = cache / "node" / "kafkajs-2.2.4"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE / name, work)
            install = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(install, cwd=work, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm could not get kafkajs: {done.stderr.strip()[-300:]}")
            shutil.copytree(Path(work, "node_modules"), folder / "node_modules")
    return folder


@pytest.fixture(scope="module")
def results(installed: Path, bootstrap: str) -> dict[str, dict[str, Any]]:
    """What each scenario came to, by its name."""
    env = {**os.environ, "NODE_PATH": str(installed / "node_modules"), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
    process = subprocess.Popen(
        ["node", str(NODE / "scenarios.js"), bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    return {r["scenario"]: r for r in map(json.loads, out.splitlines())}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kafkajs(results: dict[str, dict[str, Any]], scenario: str) -> None:
    assert scenario in results, f"no result within {SECONDS} s"
    assert results[scenario]["ok"], results[scenario]["error"]
