"""What is written down when a container ends, and when."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.engine.daemon.full_database import FullDatabase

from riverport.engine.containers.catalogue import KIND, Catalogue
from riverport.engine.containers.container import Container, ContainerState, WaitCondition
from riverport.engine.containers.lifecycle import Lifecycle, Tasks
from riverport.engine.errors import SystemFailure
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


def a_container(*, auto_remove: bool = False) -> Container:
    host_config = {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": auto_remove}
    config = {"Image": "x", "Labels": {}}
    return Container(
        "a" * 64, "one", NOW, "sh", [], "", config, host_config, {}, [], state=ContainerState(running=True)
    )


def test_an_exit_code_is_written_down_before_the_shim_that_knows_it_goes(tmp_path: Path) -> None:
    state = State(tmp_path / "engine.db")
    catalogue, container = Catalogue(state, Events(), lambda: NOW), a_container()
    catalogue.add(container)
    launcher = Launcher(state)
    life = Lifecycle(catalogue, launcher, Anybody(), _never, Tasks())  # type: ignore[arg-type]
    asyncio.run(life.ended(container, None, ExitStatus(7, False, NOW / 10**9)))
    assert launcher.seen[0]["running"]
    assert launcher.seen[0]["ending"] == {"code": 7, "oom_killed": False, "finished_at": NOW / 10**9}
    ended = state.load(KIND)[container.id]["state"]
    assert (ended["running"], ended["exit_code"], ended["ending"]) == (False, 7, None)
    state.close()


def test_a_container_that_has_filled_the_disk_ends_all_the_same(tmp_path: Path) -> None:
    """`docker run --rm` waited for ever: its end could not be written, and so nobody was told of it."""
    state = State(tmp_path / "engine.db")
    catalogue, container = Catalogue(state, Events(), lambda: NOW), a_container(auto_remove=True)
    catalogue.add(container)
    disk, removed = FullDatabase(state), []

    async def remove(ended: Container) -> None:
        removed.append(ended)
        disk.is_full = False
        catalogue.forget(ended)

    async def end() -> int:
        tasks = Tasks()
        life = Lifecycle(catalogue, Launcher(state), Anybody(), remove, tasks)  # type: ignore[arg-type]
        waiting = container.wait(WaitCondition.NOT_RUNNING)
        await life.ended(container, None, ExitStatus(7, False, NOW / 10**9))
        await asyncio.sleep(0)
        return int((await waiting).exit_code)

    assert asyncio.run(end()) == 7
    assert (removed, state.load(KIND)) == ([container], {})
    state.close()


def test_a_name_that_cannot_be_written_is_not_taken(tmp_path: Path) -> None:
    state = State(tmp_path / "engine.db")
    catalogue, container = Catalogue(state, Events(), lambda: NOW), a_container()
    catalogue.names.reserve("one", container.id)
    catalogue.add(container)
    disk = FullDatabase(state)
    with pytest.raises(SystemFailure):
        catalogue.rename(container, catalogue.names.reserve("two", container.id))
    disk.is_full = False
    assert catalogue.get("one").name == "one"
    assert catalogue.names.reserve("two", "b" * 64) == "two"
    state.close()
