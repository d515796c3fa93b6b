"""One cluster for the whole run, judged by the real clients.

RIVERPORT_TEST_BOOTSTRAP names a running cluster (and RIVERPORT_TEST_DATA its data directory, if this machine has it);
otherwise Riverport is started as a process of its own, as anyone would start it.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.jars import jars as kafka_jars

START_SECONDS = 30
STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Cluster:
    bootstrap: str
    data: Path | None  # where the broker keeps its files, where this machine has them


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if given := os.environ.get("RIVERPORT_TEST_BOOTSTRAP"):
        data = os.environ.get("RIVERPORT_TEST_DATA")
        yield Cluster(given, Path(data) if data else None)
        return
    root = tmp_path_factory.mktemp("cluster")
    up = [sys.executable, "-m", "riverport", "up", "--json", "--dir", str(root / "data"), "--port", str(free_port())]
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the broker did not start: {(root / 'log').read_text()[-2000:]}"
        yield Cluster(json.loads(line)["bootstrap"], root / "data")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="session")
def bootstrap(cluster: Cluster) -> str:
    return cluster.bootstrap


@pytest.fixture(scope="session")
def unique() -> Callable[[str], str]:
    """Names that no other test and no other run uses."""
    run, numbers = uuid.uuid4().hex[:8], itertools.count(1)
    return lambda kind: f"{kind}-{run}-{next(numbers)}"


@pytest.fixture(scope="session")
def make_topic(bootstrap: str, unique: Callable[[str], str]) -> Callable[..., str]:
    """Makes a topic and names it: `make_topic(3, **{"retention.ms": "1000"})`."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(partitions: int = 1, **config: str) -> str:
        name = unique("topic")
        for future in admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values():
            future.result(START_SECONDS)
        return name

    return make


@pytest.fixture(scope="session")
def jars() -> Callable[[str], str]:
    """The class path of a set of Apache Kafka's jars: `jars("broker")`."""
    return kafka_jars


@pytest.fixture(scope="session")
def compiled(jars: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], list[str]]:
    """Compiles one of tests/java's classes against a set of jars: the words that run it."""

    def build(source: str, name: str) -> list[str]:
        java = Path(__file__).parents[1] / "java"
        classes, path = tmp_path_factory.mktemp("classes"), jars(name)
        subprocess.run(
            ["javac", "-nowarn", "-Xlint:none", "-cp", path, "-d", str(classes), str(java / f"{source}.java")],
            check=True,
            capture_output=True,
        )
        flags = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        logging = f"-Dlog4j2.configurationFile={java / 'log4j2.xml'}"
        return ["java", *flags, logging, "-cp", f"{classes}:{path}", source]

    return build
