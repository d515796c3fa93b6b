"""docs/durability.md names a test for each of its promises: it is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.findall(r"`((?:tests/[a-z/]+/)?test_[a-z_]+\.py)::(\w+)`", (ROOT / "docs" / "durability.md").read_text())


def test_every_promise_has_its_test() -> None:
    assert len(NAMED) > 25
    for path, name in NAMED:
        file = ROOT / path if "/" in path else Path(__file__).parent / path
        assert re.search(rf"^(?:def|class) {name}\(", file.read_text(), re.MULTILINE), f"{path}::{name}"
