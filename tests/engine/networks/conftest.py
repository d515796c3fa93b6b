import pytest
from tests.engine.networks import own_network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "namespaces" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """This machine has network namespaces, veth, bridges and nftables, or the test is skipped."""
    if lacking := own_network.missing():
        pytest.skip(lacking)
