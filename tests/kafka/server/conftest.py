"""The server under test: one in this process, or the cluster that RIVERPORT_TEST_BOOTSTRAP names.

The latter is how the tests of this folder are judged themselves: what they expect is what Apache Kafka 4.3.1 does, of
one node with the id 1, and everything else as it comes.
"""

import os
from collections.abc import Iterator

import pytest
from tests.kafka.server.wire import Wire

from riverport.testing import Broker


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Of a server that the tests of a module share."""
    given = os.environ.get("RIVERPORT_TEST_BOOTSTRAP")
    if given:
        host, port = given.split(":")
        yield host, int(port)
        return
    with Broker() as broker:
        yield address_of(broker)


@pytest.fixture
def wire(address: tuple[str, int]) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


@pytest.fixture
def own_only(address: tuple[str, int]) -> None:
    """For tests of what only ours does, or of what they have to look into."""
    if "RIVERPORT_TEST_BOOTSTRAP" in os.environ:
        pytest.skip("not for another cluster")


def address_of(broker: Broker) -> tuple[str, int]:
    host, port = broker.bootstrap.split(":")
    return host, int(port)
