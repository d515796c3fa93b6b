"""docs/guides/testing.md does what it says: its blocks are files, and its tests pass."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing.md"
SCRIPT = GUIDE.parents[2] / "scripts" / "time-in-process"
BLOCK = re.compile(r"^```(\w+)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else this machine has must not matter, and takes its time to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "riverport.testing.plugin")


def blocks() -> dict[str, str]:
    """Each block of the guide by the file name in its first line."""
    return {name: text for _, name, text in BLOCK.findall(GUIDE.read_text())}


def test_every_block_is_a_file() -> None:
    assert GUIDE.read_text().count("```") == 2 * len(blocks())


@pytest.mark.slow
def test_python_of_the_guide_passes(pytester: pytest.Pytester) -> None:
    files = {name: text for name, text in blocks().items() if name.endswith(".py")}
    for name, text in files.items():
        Path(pytester.path, name).write_text(text)
    count = sum(len(re.findall(r"^def test_", text, re.MULTILINE)) for text in files.values())
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=count)
    assert count >= 8


def test_settings_of_the_guide_are_taken(pytester: pytest.Pytester) -> None:
    Path(pytester.path, "pytest.ini").write_text(blocks()["pytest.ini"])
    pytester.makepyfile(
        """
        seen = []

        def test_one(riverport_broker):
            riverport_broker.create_topic("orders", partitions=-1)
            assert riverport_broker.records("orders", 2) == []
            seen.append(riverport_broker)

        def test_other(riverport_broker):
            assert seen == [riverport_broker]
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_script_of_the_guide_measures_what_the_guide_shows() -> None:
    run = subprocess.run([sys.executable, SCRIPT, "2"], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["rounds"] == 2
    assert 0 < found["ready_s"]["min"] <= found["ready_s"]["median"] <= found["ready_s"]["max"]
    assert {"import_s", "first_ready_s", "stop_s"} <= set(found)


def test_every_word_of_a_rule_is_explained() -> None:
    import inspect

    from riverport.testing import Faults

    words = set(inspect.signature(Faults.add).parameters) - {"self"}
    explained = set(re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE))
    assert words <= explained
