"""kcat, the command-line client on librdkafka."""

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not on PATH: scripts/setup-debian installs it"),
]

MakeTopic = Callable[..., str]


@pytest.fixture
def kcat(bootstrap: str) -> Callable[..., str]:
    def run(*arguments: str, text: str | None = None) -> str:
        command = ["kcat", "-b", bootstrap, *arguments]
        done = subprocess.run(command, input=text or "", capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_lists_the_cluster(kcat: Callable[..., str], make_topic: MakeTopic, bootstrap: str) -> None:
    topic = make_topic(3)
    described = json.loads(kcat("-L", "-J", "-t", topic))
    assert [broker["name"] for broker in described["brokers"]] == [bootstrap]
    (found,) = described["topics"]
    assert found["topic"] == topic
    assert [p["partition"] for p in found["partitions"]] == [0, 1, 2]
    assert all(p["leader"] == described["brokers"][0]["id"] for p in found["partitions"])


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_produces_and_consumes(kcat: Callable[..., str], make_topic: MakeTopic, codec: str) -> None:
    topic = make_topic()
    lines = "".join(f"key-{i}:value-{i}\n" for i in range(100))
    kcat("-P", "-t", topic, "-K", ":", "-z", codec, "-H", "a=1", text=lines)
    assert kcat("-C", "-t", topic, "-e", "-q", "-K", ":") == lines
    first = kcat("-C", "-t", topic, "-c", "1", "-q", "-f", "%p %o %k %s %h\n")
    assert first == "0 0 key-0 value-0 a=1\n"


def test_consumes_from_an_offset_and_the_tail(kcat: Callable[..., str], make_topic: MakeTopic) -> None:
    topic = make_topic()
    kcat("-P", "-t", topic, text="".join(f"{i}\n" for i in range(20)))
    assert kcat("-C", "-t", topic, "-o", "15", "-e", "-q").split() == ["15", "16", "17", "18", "19"]
    assert kcat("-C", "-t", topic, "-o", "-2", "-e", "-q").split() == ["18", "19"]


def test_asks_for_an_offset_by_time(kcat: Callable[..., str], make_topic: MakeTopic) -> None:
    topic = make_topic()
    kcat("-P", "-t", topic, text="a\nb\n")
    assert kcat("-Q", "-t", f"{topic}:0:1000").split() == [topic, "[0]", "offset", "0"]


def test_consumes_as_a_group(kcat: Callable[..., str], make_topic: MakeTopic) -> None:
    topic = make_topic(2)
    kcat("-P", "-t", topic, text="".join(f"{i}\n" for i in range(20)))
    earliest = ("-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=300")
    first = kcat("-G", f"group-{topic}", *earliest, "-e", "-q", topic).split()
    assert sorted(map(int, first)) == list(range(20))
    kcat("-P", "-t", topic, text="20\n")
    assert kcat("-G", f"group-{topic}", *earliest, "-e", "-q", topic).split() == ["20"]


def test_produces_idempotently(kcat: Callable[..., str], make_topic: MakeTopic) -> None:
    topic = make_topic()
    lines = "".join(f"{i}\n" for i in range(500))
    kcat("-P", "-t", topic, "-X", "enable.idempotence=true", "-X", "batch.num.messages=10", text=lines)
    assert kcat("-C", "-t", topic, "-e", "-q") == lines
