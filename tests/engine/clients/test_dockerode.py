"""dockerode, the client of programs in JavaScript. node/scenarios.js runs once; each of its scenarios is a test."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.engine import harness
from tests.engine.clients import scenarios

pytestmark = pytest.mark.node

NODE = scenarios.HERE / "node"
SCRIPT = NODE / "scenarios.js"


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder with what the scenarios need, made once per lock file."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm on PATH: scripts/setup-debian installs them")
    cache = Path(os.environ.get("RIVERPORT_CACHE", Path.home() / ".cache" / "riverport"))
    lock = (NODE / "package-lock.json").read_bytes()
    folder = cache / "node" / f"dockerode-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE / name, work)
            install = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(install, cwd=work, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm could not get dockerode: {done.stderr.strip()[-300:]}")
            os.rename(Path(work, "node_modules"), Path(work, "made"))
            shutil.copytree(Path(work, "made"), folder)
    return folder


@pytest.fixture(scope="module")
def results(modules: Path, shared_engine: harness.Engine) -> dict[str, dict[str, Any]]:
    found = scenarios.run(shared_engine, ["node", str(SCRIPT)], {"NODE_PATH": str(modules)})
    shared_engine.sweep()
    return found


@pytest.mark.parametrize("scenario", scenarios.names(SCRIPT, r"^  async (\w+)\(\) \{"))
def test_with_dockerode(results: dict[str, dict[str, Any]], scenario: str) -> None:
    scenarios.check(results, scenario)
