"""Producers of every codec in one topic (after kafkatest's compression_test)."""

from collections.abc import Callable

import pytest
from tests.system.cluster import Cluster
from tests.system.workload import Clients

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "compressed"
CODECS = ["snappy", "gzip", "lz4", "zstd", "none"]
RECORDS = 500


def test_producers_of_every_codec_share_a_topic(
    make_cluster: Callable[..., Cluster], make_clients: Callable[..., Clients]
) -> None:
    cluster = make_cluster(brokers=3, controllers=1).start()
    cluster.create_topic(TOPIC, partitions=10, replication_factor=2)
    clients = make_clients(cluster)
    consumer = clients.consumer(TOPIC)
    producers = [
        clients.producer(TOPIC, prefix=i, max_messages=RECORDS, properties={"compression.type": codec})
        for i, codec in enumerate(CODECS)
    ]
    for i, producer in enumerate(producers):
        producer.wait_until(lambda producer=producer: len(producer.acked) == RECORDS, f"every record of {CODECS[i]}")
    consumer.wait_until(lambda: len(consumer.read) >= RECORDS * len(CODECS), "every record to be read")
    consumer.stop()
    read = dict(consumer.read)
    assert len(read) == RECORDS * len(CODECS)
    for producer in producers:
        assert all(read[place] == value for value, place in producer.acked.items())
