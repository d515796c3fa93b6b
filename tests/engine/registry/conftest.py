"""Registries for tests: one that a module shares, and one of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engine.registry.served import ServedRegistry

from riverport.engine.registry.settings import Settings
from riverport.testing.loop_thread import LoopThread


@pytest.fixture(scope="session")
def registry_thread() -> Iterator[LoopThread]:
    thread = LoopThread("registries")
    yield thread
    failures = thread.take_failures()
    thread.stop()
    assert not failures


@pytest.fixture(scope="module")
def registry(registry_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedRegistry]:
    served = ServedRegistry.serve(registry_thread, Settings(tmp_path_factory.mktemp("registry"), metrics=True))
    yield served
    served.stop()


@pytest.fixture
def serve(registry_thread: LoopThread, tmp_path: Path) -> Iterator[Callable[..., ServedRegistry]]:
    """Start a registry below the test's directory: `serve(delete=False)`, `serve(access=..., name="second")`."""
    started: list[ServedRegistry] = []

    def start(
        *, name: str = "registry", access: object = None, upstream: object = None, **settings: object
    ) -> ServedRegistry:
        made = Settings(tmp_path / name, **settings)  # type: ignore[arg-type]
        served = ServedRegistry.serve(registry_thread, made, access, upstream)  # type: ignore[arg-type]
        started.append(served)
        return served

    yield start
    for served in started:
        served.stop()
