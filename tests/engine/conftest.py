"""Fixtures of tests that run containers. A test that asks for one of them is marked `containers` by itself.

`engine` is a daemon that all tests of the session share, swept after each of them. `make_engine` makes daemons of a
test's own: to kill, to start with options.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.engine import harness

FIXTURES = {"engine", "make_engine", "shared_engine"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def able() -> None:
    lacking = harness.missing()
    if lacking:
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def shared_engine(able: None) -> Iterator[harness.Engine]:
    engine = harness.Engine()
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: harness.Engine) -> Iterator[harness.Engine]:
    """A daemon with a busybox image; what the test makes is removed after it."""
    if not shared_engine.is_running:
        shared_engine.start()  # one test that breaks the daemon is one failure
    yield shared_engine
    shared_engine.sweep()


@pytest.fixture
def make_engine(able: None) -> Iterator[Callable[..., harness.Engine]]:
    with ExitStack() as stack:

        def make(*options: str, **settings: object) -> harness.Engine:
            engine = harness.Engine(options, **settings)
            stack.callback(engine.close)
            return engine

        yield make
