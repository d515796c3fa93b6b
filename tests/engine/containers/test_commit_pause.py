"""A commit pauses its container, and a container may end at any moment of that."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from riverport.engine.containers.commit import Committer
from riverport.engine.containers.fields import CONFIG
from riverport.engine.errors import SystemFailure


class Lifecycle:
    """What `unpause` finds: a container that has ended is not paused any more."""

    def __init__(self, ends: bool) -> None:
        self._ends = ends

    async def pause(self, container: Any) -> None:
        container.state.paused = True

    async def unpause(self, container: Any) -> None:
        if self._ends:
            container.state.paused = False
        raise SystemFailure("it cannot be unpaused")


def committed(lifecycle: Lifecycle) -> Any:
    state = SimpleNamespace(dead=False, removing=False, running=True, paused=False, restarting=False)
    container: Any = SimpleNamespace(
        id="c", image_id="", command="", config=CONFIG.read({}), state=state, running_shim=lambda: None
    )
    catalogue: Any = SimpleNamespace(publish=lambda *words: None)
    made: Any = Committer(catalogue, SimpleNamespace(), lifecycle)  # type: ignore[arg-type]

    async def make(*parts: object) -> Any:
        return SimpleNamespace(id="image")

    made._make = make
    return asyncio.run(
        made.commit(container, reference=None, config=None, changes=(), comment="", author="", pause=True)
    )


def test_a_container_that_ends_while_it_is_committed_needs_no_unpausing() -> None:
    assert committed(Lifecycle(ends=True)).id == "image"


def test_a_container_that_stays_paused_is_told_of() -> None:
    with pytest.raises(SystemFailure, match="cannot be unpaused"):
        committed(Lifecycle(ends=False))
