"""The plugin with every client, and under pytest-xdist."""

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else this machine has must not matter, and takes its time to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "riverport.testing.plugin,xdist.plugin")


CONFLUENT = """
    from confluent_kafka import Consumer, Producer

    def test_confluent_kafka(riverport_broker):
        producer = Producer({"bootstrap.servers": riverport_broker.bootstrap, "enable.idempotence": True})
        producer.produce("of-one", b"v", b"k")
        assert producer.flush(20) == 0
        consumer = Consumer(
            {"bootstrap.servers": riverport_broker.bootstrap, "group.id": "g-one", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["of-one"])
        (message,) = consumer.consume(1, 20)
        assert (message.key(), message.value()) == (b"k", b"v")
        consumer.commit(message, asynchronous=False)
        consumer.close()
"""

KAFKA_PYTHON = """
    from kafka import KafkaConsumer, KafkaProducer

    def test_kafka_python(riverport_broker):
        producer = KafkaProducer(bootstrap_servers=riverport_broker.bootstrap)
        producer.send("of-two", b"v", key=b"k").get(20)
        producer.close()
        consumer = KafkaConsumer(
            "of-two", bootstrap_servers=riverport_broker.bootstrap, group_id="g-two", auto_offset_reset="earliest",
            consumer_timeout_ms=20_000,
        )
        message = next(consumer)
        assert (message.key, message.value) == (b"k", b"v")
        consumer.commit()
        consumer.close()
"""

AIOKAFKA = """
    import asyncio
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    def test_aiokafka(riverport_broker):
        async def use():
            async with AIOKafkaProducer(bootstrap_servers=riverport_broker.bootstrap) as producer:
                await producer.send_and_wait("of-aio", b"v", key=b"k")
            async with AIOKafkaConsumer(
                "of-aio", bootstrap_servers=riverport_broker.bootstrap, group_id="g-aio", auto_offset_reset="earliest"
            ) as consumer:
                message = await consumer.getone()
                await consumer.commit()
                return message.key, message.value

        assert asyncio.run(use()) == (b"k", b"v")
"""

BROKERS = """
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_bootstrap(riverport_broker, number, record_property):
        riverport_broker.create_topic(f"t{number}")
        record_property("bootstrap", riverport_broker.bootstrap)
"""


def test_every_client_and_one_broker_of_a_session_in_each_worker_of_xdist(pytester: pytest.Pytester) -> None:
    """Confluent, kafka-python, aiokafka: produce, consume in a group, commit."""
    pytester.makeini("[pytest]\nriverport_scope = session\n")
    pytester.makepyfile(test_confluent=CONFLUENT, test_kafka=KAFKA_PYTHON, test_aio=AIOKAFKA, test_brokers=BROKERS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", "--junitxml=found.xml")
    result.assert_outcomes(passed=9)
    found = (pytester.path / "found.xml").read_text()
    assert len({part.split('"')[0] for part in found.split('name="bootstrap" value="')[1:]}) == 2
