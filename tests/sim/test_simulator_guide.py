"""docs/guides/simulator.md: its example runs, and its tables are complete."""

import re
from pathlib import Path
from typing import Any

from riverport.cli.simulate import BUGS
from riverport.sim.plants import PLANTS

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "simulator.md").read_text(encoding="utf-8")


def test_the_example_is_a_test_that_passes() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "simulator.md", "exec"), names)
    names["test_orders_are_placed_though_a_broker_dies"]()


def test_every_bug_that_can_be_planted_is_told() -> None:
    assert list(PLANTS) == list(BUGS) == re.findall(r"^\| `([a-z-]+)` \| ", GUIDE, re.MULTILINE)
