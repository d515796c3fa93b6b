"""One broker for each module; faults of one test are gone before the next."""

from collections.abc import Iterator

import pytest

from riverport.testing import Broker


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with Broker() as started:
        yield started


@pytest.fixture
def broker(running: Broker) -> Iterator[Broker]:
    yield running
    running.faults.clear()
