"""The pytest plugin, as the tests of somebody else's program see it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from riverport.testing import Broker

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

PRODUCE = """
    from confluent_kafka import Producer

    def produce(bootstrap, topic, value):
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        producer.produce(topic, value)
        assert producer.flush(20) == 0
"""


@pytest.fixture(autouse=True)
def only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else this machine has must not matter, and takes its time to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "riverport.testing.plugin")


@pytest.fixture
def running() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def run(pytester: pytest.Pytester, *options: str, **outcomes: int) -> pytest.RunResult:
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(**outcomes)
    return result


def test_plugin_is_loaded_by_itself_and_imports_nothing_of_the_broker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.delenv("PYTEST_PLUGINS")
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_imported():
            loaded = [name for name in sys.modules if name.startswith("riverport")]
            assert sorted(loaded) == ["riverport", "riverport.testing", "riverport.testing.plugin"]
        """
    )
    run(pytester, "-p", "no:xdist", "-p", "no:timeout", passed=1)


def test_importing_riverport_testing_imports_nothing_of_the_broker() -> None:
    seen = "import sys, riverport.testing; print([m for m in sys.modules if 'kafka' in m or m == 'asyncio'])"
    assert subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True).stdout == "[]\n"


def test_each_test_has_a_broker_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        PRODUCE
        + """
    def test_one(riverport_broker):
        riverport_broker.create_topic("orders")
        produce(riverport_broker.bootstrap, "orders", b"1")
        assert [record.value for record in riverport_broker.records("orders")] == [b"1"]

    def test_other(riverport_broker):
        riverport_broker.create_topic("orders")
        assert riverport_broker.records("orders") == []
"""
    )
    run(pytester, passed=2)


def test_broker_is_stopped_and_its_data_removed_after_a_failing_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, socket

        seen = []

        def test_fails(riverport_broker):
            host, port = riverport_broker.bootstrap.split(":")
            seen.append((riverport_broker.dir, int(port)))
            raise KeyError("as it happens")

        def test_nothing_is_left():
            ((directory, port),) = seen
            assert not os.path.exists(directory)
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        """
    )
    run(pytester, passed=1, failed=1)


def test_shared_broker_keeps_topics_and_forgets_faults(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nriverport_scope = session\nriverport_config =\n    num.partitions = 3\n")
    pytester.makepyfile(
        PRODUCE
        + """
    from riverport.testing import disconnect, error

    def test_one(riverport_broker):
        riverport_broker.create_topic("orders", partitions=-1)
        riverport_broker.faults.add(api="Produce", action=error("MESSAGE_TOO_LARGE"))

    def test_other(riverport_broker):
        produce(riverport_broker.bootstrap, "orders", b"2")
        assert [record.value for record in riverport_broker.records("orders")] == [b"2"]
        assert riverport_broker.records("orders", 2) is not None
"""
    )
    run(pytester, passed=2)


def test_failure_inside_a_shared_broker_fails_the_test_that_caused_it(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nriverport_scope = module\n")
    pytester.makepyfile(
        """
        import asyncio

        async def fail_later(node):
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        def test_one(riverport_broker):
            riverport_broker.run(fail_later)

        def test_other(riverport_broker):
            riverport_broker.create_topic("orders")
        """
    )
    result = run(pytester, passed=1, failed=1)
    result.stdout.fnmatch_lines(["*BrokerError: in the broker's thread: *ZeroDivisionError*"])


def test_factory_makes_brokers_with_settings_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from riverport.testing import ConfigError

        def test_two(make_riverport_broker, riverport_broker):
            strict = make_riverport_broker({"auto.create.topics.enable": False})
            other = make_riverport_broker()
            assert len({broker.bootstrap for broker in (strict, other, riverport_broker)}) == 3
            with pytest.raises(ConfigError, match="did you mean auto.create.topics.enable"):
                make_riverport_broker(config={"auto.create.topic.enable": False})
        """
    )
    run(pytester, passed=1)


@pytest.mark.parametrize(
    ("ini", "said"),
    [
        ("riverport_scope = test", "riverport_scope = test: it is one of function"),
        ("riverport_config = num.partitions", "'num.partitions' is no key=value"),
    ],
)
def test_wrong_option_is_a_usage_error(pytester: pytest.Pytester, ini: str, said: str) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile("def test_it(riverport_broker): pass")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret != 0
    assert said in result.stdout.str() + result.stderr.str()


def test_same_tests_run_against_another_cluster(pytester: pytest.Pytester, running: Broker) -> None:
    pytester.makepyfile(
        PRODUCE
        + """
    from riverport.testing import disconnect

    def test_one(riverport_broker):
        riverport_broker.create_topic("orders", config={"retention.ms": 60_000})
        produce(riverport_broker.bootstrap, "orders", b"1")

    def test_same_name_again(riverport_broker):
        riverport_broker.create_topic("orders")

    def test_faults(riverport_broker):
        riverport_broker.faults.add(api="Produce", action=disconnect())

    def test_logs(riverport_broker):
        riverport_broker.records("orders")

    def test_own_brokers(make_riverport_broker):
        make_riverport_broker()
"""
    )
    result = run(pytester, f"--riverport-bootstrap={running.bootstrap}", "-rs", passed=2, skipped=3)
    result.stdout.fnmatch_lines_random(
        [
            "*faults are for a broker in this process, not for --riverport-bootstrap*",
            "*riverport_broker.records is for a broker in this process*",
        ]
    )

    async def topics(node: object) -> list[str]:
        return list(node.metadata.image.topics)  # type: ignore[attr-defined]

    assert running.run(topics) == []


def test_refusal_of_another_cluster_is_the_tests_failure(pytester: pytest.Pytester, running: Broker) -> None:
    pytester.makepyfile(
        """
        def test_it(riverport_broker):
            riverport_broker.create_topic("no such/name")
        """
    )
    result = run(pytester, f"--riverport-bootstrap={running.bootstrap}", failed=1)
    result.stdout.fnmatch_lines(["*BrokerError: *INVALID_TOPIC_EXCEPTION*"])


def test_clusters_are_fixtures_and_are_stopped_when_the_test_ends(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        seen = []

        def test_default(riverport_cluster):
            riverport_cluster.create_topic("orders", replication_factor=3)
            assert riverport_cluster.running == (1, 2, 3)
            seen.append(riverport_cluster.dir)

        def test_others(make_riverport_cluster):
            first = make_riverport_cluster(1)
            second = make_riverport_cluster(brokers=2, config={"num.partitions": 2})
            assert (first.running, second.running) == ((1,), (1, 2))
            assert not os.path.exists(seen[0])
        """
    )
    run(pytester, passed=2)


def test_clusters_are_not_made_beside_a_cluster_that_runs_elsewhere(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(riverport_cluster): pass")
    run(pytester, "--riverport-bootstrap", "127.0.0.1:1", skipped=1)
