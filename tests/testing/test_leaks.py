"""Brokers that are stopped leave nothing behind, however many there were and however they ended."""

import asyncio
import gc
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from riverport.testing import Broker, BrokerError, delay

pytestmark = pytest.mark.slow

ROUNDS = 15


def left() -> dict[str, set[object]]:
    """What a broker might leave: open files, threads, tasks and loops, directories."""
    gc.collect()
    files = {f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if is_open(fd)}
    loops = {id(found) for found in gc.get_objects() if isinstance(found, asyncio.AbstractEventLoop)}
    directories = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("riverport-")}
    return {
        "files": files,
        "threads": {f"{thread.name} {thread.ident}" for thread in threading.enumerate()},
        "tasks": {
            f"{found!r} {id(found)}"
            for found in gc.get_objects()
            if isinstance(found, asyncio.Task) and not found.done()
        },
        "loops": set(loops),
        "directories": directories,
    }


def is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def used_broker() -> Broker:
    """With topics, data, a client that is still there, and a request that waits."""
    broker = Broker().start()
    broker.create_topic("orders", partitions=3)
    broker.faults.add(api="Produce", nth=2, when="after", action=delay(60_000))
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    producer.produce("orders", b"a")
    assert producer.flush(20) == 0
    producer.produce("orders", b"b")
    producer.flush(0.01)
    producer.purge()
    return broker


def stopped() -> None:
    used_broker().stop()


def killed() -> None:
    broker = used_broker()
    broker.kill()
    broker.stop()


def restarted() -> None:
    broker = used_broker()
    broker.restart(clean=False)
    broker.stop()


def failed_inside() -> None:
    broker = used_broker()

    async def fail(node: object) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    broker.run(fail)
    with pytest.raises(BrokerError):
        broker.stop()


def not_started() -> None:
    with Broker() as first:
        port = first.bootstrap.split(":")[1]
        second = Broker({"listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:0"})
        with pytest.raises(OSError, match=port):
            second.start()


def never_started() -> None:
    Broker()


@pytest.fixture(autouse=True)
def own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on this machine may run brokers, too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def assert_nothing_new(before: dict[str, set[object]]) -> None:
    """Nothing that stays: a client of a broker that is gone has a socket now and then until it is gone itself."""
    deadline = time.monotonic() + 10
    while True:
        after = left()
        new = {kind: after[kind] - before[kind] for kind in after}
        if not any(new.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert new == {kind: set() for kind in new}


def test_running_broker_would_be_seen() -> None:
    before = left()
    with Broker():
        after = left()
        assert all(after[kind] - before[kind] for kind in after)


@pytest.mark.parametrize("end", [stopped, killed, restarted, failed_inside, not_started, never_started])
def test_broker_leaves_nothing_behind(end: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    # A logged failure holds on to where it happened, and pytest to what was logged.
    caplog.set_level(logging.CRITICAL, "asyncio")
    end()  # what is imported and made once stays
    before = left()
    for _ in range(3):
        end()
    assert_nothing_new(before)


def test_many_brokers_at_once_leave_nothing_behind() -> None:
    before = left()
    brokers = [Broker().start() for _ in range(ROUNDS)]
    assert len({broker.bootstrap for broker in brokers}) == ROUNDS
    for broker in brokers:
        broker.stop()
    assert_nothing_new(before)
