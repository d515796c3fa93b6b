"""The pytest plugin of Riverport. It imports nothing of the broker: a run without our fixtures pays nothing.

    riverport_broker          a broker of the test's own
    make_riverport_broker     makes further ones, with settings of their own
    riverport_cluster         three brokers that are one cluster
    make_riverport_cluster    makes clusters of other shapes

`--riverport-bootstrap HOST:PORT` runs the tests of `riverport_broker` against another cluster, see `remote.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Union

import pytest

if TYPE_CHECKING:
    from riverport.testing.broker import Broker
    from riverport.testing.cluster import Cluster
    from riverport.testing.remote import RemoteCluster

SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("riverport", "Kafka brokers for tests")
    group.addoption(
        "--riverport-bootstrap",
        metavar="HOST:PORT",
        help="let riverport_broker stand for this running Kafka cluster; tests that need more of it are skipped",
    )
    parser.addini("riverport_config", "settings of riverport_broker, one key=value a line", type="linelist")
    parser.addini(
        "riverport_scope", "how long one riverport_broker lives: function, class, module, session", default="function"
    )


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.getini("riverport_scope")
    if scope not in SCOPES:
        raise pytest.UsageError(f"riverport_scope = {scope}: it is one of {', '.join(SCOPES)}")
    return scope


@pytest.fixture(scope=_scope)
def riverport_broker(request: pytest.FixtureRequest) -> Iterator[Union["Broker", "RemoteCluster"]]:
    """A Kafka broker: `.bootstrap`, `.create_topic(name)`, `.records(topic)`, `.faults.add(...)`, `.restart()`."""
    given = request.config.getoption("riverport_bootstrap")
    if given:
        from riverport.testing.remote import RemoteCluster

        with RemoteCluster(given) as cluster:
            yield cluster
        return
    from riverport.testing.broker import Broker

    with Broker(_settings(request.config)) as broker:
        yield broker


@pytest.fixture
def make_riverport_broker(request: pytest.FixtureRequest) -> Iterator[Callable[..., "Broker"]]:
    """`make_riverport_broker(config={...})` starts one more broker; all of them are stopped when the test ends."""
    from riverport.testing.broker import Broker

    with ExitStack() as running:

        def make(config: Mapping[str, object] | None = None) -> Broker:
            if request.config.getoption("riverport_bootstrap"):
                pytest.skip("makes brokers of its own, which --riverport-bootstrap does not")
            return running.enter_context(Broker(config))

        yield make


@pytest.fixture
def make_riverport_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., "Cluster"]]:
    """`make_riverport_cluster(brokers=2, config={...})` starts a cluster, as `riverport.testing.Cluster` takes them."""
    if request.config.getoption("riverport_bootstrap"):
        pytest.skip("makes a cluster of its own, which --riverport-bootstrap does not")
    from riverport.testing.cluster import Cluster

    with ExitStack() as running:

        def make(brokers: int = 3, **options: Any) -> Cluster:
            return running.enter_context(Cluster(brokers, **options))

        yield make


@pytest.fixture
def riverport_cluster(make_riverport_cluster: Callable[..., "Cluster"]) -> "Cluster":
    """Three brokers that are one cluster: `.bootstrap`, `.create_topic(name, replication_factor=3)`, `.kill(1)`."""
    return make_riverport_cluster()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A broker that is shared by tests carries no fault of one into the next, nor a failure unnoticed."""
    broker = getattr(item, "funcargs", {}).get("riverport_broker")
    try:
        yield
    finally:
        if broker is not None:
            broker.faults.clear()
    if broker is not None:
        broker.check()


def _settings(config: pytest.Config) -> dict[str, str]:
    found = {}
    for line in config.getini("riverport_config"):
        key, equals, value = line.partition("=")
        if not equals:
            raise pytest.UsageError(f"riverport_config: {line!r} is no key=value")
        found[key.strip()] = value.strip()
    return found
