"""Brokers in the test process: their life, their data, and what they say when something is wrong."""

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from riverport.testing import Broker, BrokerError, ConfigError


def produce(bootstrap: str, topic: str, values: list[bytes], **config: object) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, **config})
    failures: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(20) == 0
    assert not failures


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        found = consumer.consume(count, 20)
    finally:
        consumer.close()
    assert all(message.error() is None for message in found)
    return [message.value() for message in found]


def test_real_client_produces_and_consumes() -> None:
    with Broker() as broker:
        broker.create_topic("orders")
        produce(broker.bootstrap, "orders", [b"a", b"b"])
        assert consume(broker.bootstrap, "orders", 2) == [b"a", b"b"]


def test_records_are_those_of_the_logs_by_partition() -> None:
    with Broker() as broker:
        broker.create_topic("orders", partitions=2)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        producer.produce("orders", b"v", b"k", partition=1, timestamp=1_600_000_000_123, headers=[("h", b"x")])
        producer.produce("orders", None, None, partition=0)
        assert producer.flush(20) == 0
        first, second = broker.records("orders")
        assert (first.partition, first.offset, first.key, first.value) == (0, 0, None, None)
        assert (second.partition, second.key, second.value, second.headers) == (1, b"k", b"v", (("h", b"x"),))
        assert (second.timestamp, second.producer_id, second.is_control) == (1_600_000_000_123, -1, False)
        assert broker.records("orders", 0) == [first]
        with pytest.raises(BrokerError, match="nowhere"):
            broker.records("nowhere")
        with pytest.raises(BrokerError, match="orders-7"):
            broker.records("orders", 7)


def test_refused_topic_says_why() -> None:
    with Broker() as broker:
        broker.create_topic("orders", config={"retention.ms": 1000})
        with pytest.raises(BrokerError, match="TOPIC_ALREADY_EXISTS"):
            broker.create_topic("orders")
        with pytest.raises(BrokerError, match="INVALID_CONFIG"):
            broker.create_topic("others", config={"retention.ms": "soon"})


def test_brokers_know_nothing_of_each_other() -> None:
    with Broker() as one, Broker() as other:
        assert one.bootstrap != other.bootstrap
        one.create_topic("orders")
        other.create_topic("orders")
        produce(one.bootstrap, "orders", [b"1"])
        assert [record.value for record in one.records("orders")] == [b"1"]
        assert other.records("orders") == []


def test_settings_are_those_of_kafka() -> None:
    with Broker({"num.partitions": 7, "auto.create.topics.enable": False, "broker.rack": "r1"}) as broker:
        broker.create_topic("orders", partitions=-1)

        async def partitions(node: object) -> int:
            return len([key for key in node.partitions if key[0] == "orders"])  # type: ignore[attr-defined]

        assert broker.run(partitions) == 7


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num.partitions": "many"}, "num.partitions"),
        ({"num.partition": 3}, "num.partition; did you mean num.partitions"),
        ({"replica.lag.time.max.ms": 1, "num.partitions": 0}, "num.partitions"),
    ],
)
def test_wrong_setting_is_a_config_error(config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Broker(config)


def test_clean_restart_keeps_port_data_and_faults() -> None:
    with Broker() as broker:
        broker.create_topic("orders")
        before = broker.bootstrap
        produce(before, "orders", [b"a"])
        broker.restart()
        assert broker.bootstrap == before
        produce(before, "orders", [b"b"])
        assert [record.value for record in broker.records("orders")] == [b"a", b"b"]


def test_killed_broker_leaves_no_clean_shutdown_and_recovers() -> None:
    with Broker() as broker:
        broker.create_topic("orders")
        produce(broker.bootstrap, "orders", [b"a", b"b"])
        broker.kill()
        assert not os.path.exists(f"{broker.dir}/.kafka_cleanshutdown")
        with pytest.raises(BrokerError, match="not running"):
            broker.records("orders")
        broker.start()
        assert consume(broker.bootstrap, "orders", 2) == [b"a", b"b"]
        broker.restart(clean=False)
        assert len(broker.records("orders")) == 2


def test_kill_breaks_the_connections() -> None:
    with Broker() as broker:
        host, port = broker.bootstrap.split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"\0\0\0\x0c\0\x12\0\0\0\0\0\x01\xff\xff")
            broker.kill()
            client.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(4096):
                    pass


def test_data_goes_with_the_broker_unless_it_has_a_directory(tmp_path: Path) -> None:
    with Broker() as broker:
        directory = broker.dir
        assert os.path.isdir(directory)
    assert not os.path.exists(directory)
    with Broker(dir=tmp_path / "kept") as broker:
        broker.create_topic("orders")
        produce(broker.bootstrap, "orders", [b"a"])
    with Broker(dir=tmp_path / "kept") as broker:
        assert [record.value for record in broker.records("orders")] == [b"a"]


def test_start_that_fails_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    import threading

    before = threading.active_count()
    with Broker(dir=tmp_path / "data") as broker:
        port = int(broker.bootstrap.split(":")[1])
        taken = Broker({"listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:0"})
        with pytest.raises(OSError, match=str(port)):
            taken.start()
        twice = Broker(dir=tmp_path / "data")
        with pytest.raises(Exception, match="another process is using this directory"):
            twice.start()
    assert threading.active_count() == before


def test_failure_in_the_brokers_thread_reaches_the_test() -> None:
    broker = Broker().start()

    async def fail(node: object) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    broker.run(fail)
    with pytest.raises(BrokerError, match="ZeroDivisionError"):
        broker.stop()


def test_error_that_the_broker_logs_reaches_the_test_that_did_not_fail_itself() -> None:
    async def log_error(node: object) -> None:
        logging.getLogger("riverport.kafka.server.somewhere").error("a request failed")

    with pytest.raises(BrokerError, match="a request failed"), Broker() as broker:
        broker.run(log_error)
    own = KeyError("the test's own")

    def fail() -> None:
        with Broker() as broker:
            broker.run(log_error)
            raise own

    with pytest.raises(KeyError):
        fail()
    assert "a request failed" in str(own.__notes__)


def test_errors_of_other_threads_are_not_the_brokers() -> None:
    with Broker():
        logging.getLogger("riverport.kafka.client").error("somebody else's")


def test_broker_in_an_asyncio_test() -> None:
    async def use() -> None:
        async with Broker() as broker:
            _, writer = await asyncio.open_connection(*broker.bootstrap.split(":"))
            writer.close()
            await writer.wait_closed()

    asyncio.run(use())


def test_stopped_broker_starts_again_on_its_port() -> None:
    broker = Broker()
    with pytest.raises(BrokerError, match="not been started"):
        _ = broker.bootstrap
    with broker:
        first = broker.bootstrap
    broker.stop()
    with broker:
        assert broker.bootstrap == first
        broker.create_topic("orders")
