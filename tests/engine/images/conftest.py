"""One faulty registry and one empty image store for each test that asks for a `world`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.images.world import World, made_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with made_world(tmp_path, monkeypatch) as made:
        yield made
