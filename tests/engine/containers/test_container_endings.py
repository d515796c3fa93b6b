"""What is written down when a container ends, and when."""

import asyncio
from pathlib import Path
from typing import Any

from riverport.engine.containers.catalogue import KIND, Catalogue
from riverport.engine.containers.container import Container, ContainerState
from riverport.engine.containers.lifecycle import Lifecycle, Tasks
from riverport.engine.events import Events
from riverport.engine.runtime.model import ExitStatus
from riverport.engine.state import State

NOW = 1_700_000_000 * 10**9


class Anybody:
    """Health checks, and everything else that ends with a container."""

    def end(self, container: Container) -> None:
        pass


class Launcher:
    """Notes what a daemon would find that is killed while the shim is being let go."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.seen: list[dict[str, Any]] = []

    async def give_back(self, container: Container, shim: object) -> None:
        self.seen.append(self._state.load(KIND)[container.id]["state"])


async def _never(container: Container) -> None:
    raise AssertionError("it does not remove itself")


def test_an_exit_code_is_written_down_before_the_shim_that_knows_it_goes(tmp_path: Path) -> None:
    state = State(tmp_path / "engine.db")
    catalogue = Catalogue(state, Events(), lambda: NOW)
    host_config = {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False}
    config = {"Image": "x", "Labels": {}}
    container = Container(
        "a" * 64, "one", NOW, "sh", [], "", config, host_config, {}, [], state=ContainerState(running=True)
    )
    catalogue.add(container)
    launcher = Launcher(state)
    life = Lifecycle(catalogue, launcher, Anybody(), _never, Tasks())  # type: ignore[arg-type]
    asyncio.run(life.ended(container, None, ExitStatus(7, False, NOW / 10**9)))
    assert launcher.seen[0]["running"]
    assert launcher.seen[0]["ending"] == {"code": 7, "oom_killed": False, "finished_at": NOW / 10**9}
    ended = state.load(KIND)[container.id]["state"]
    assert (ended["running"], ended["exit_code"], ended["ending"]) == (False, 7, None)
    state.close()
