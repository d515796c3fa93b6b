import pytest
from tests.engine.runtime import bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "machine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def machine() -> None:
    """This machine runs containers, or the test is skipped."""
    if lacking := bench.missing():
        pytest.skip(lacking)
