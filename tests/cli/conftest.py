"""One broker for each module, and the command that finds it."""

from collections.abc import Iterator

import pytest
from tests.cli.kit import Cli

from riverport.testing import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def cli(broker: Broker) -> Cli:
    return Cli(broker.bootstrap)


@pytest.fixture(scope="module")
def lonely_cli() -> Cli:
    """Without a broker."""
    return Cli()
