"""librdkafka's producers and consumers, which go on through everything that happens to the cluster."""

import contextlib
import random
import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from cluster_chaos.ledger import Ledger

TOPIC = "chaos"
GROUP = "chaos"
DELIVERY_TIMEOUT_MS = 300_000
TICK_S = 0.01


class Writer:
    """An idempotent producer with acks=all that numbers its records per partition."""

    def __init__(self, name: str, bootstrap: str, ledger: Ledger, rate: int, seed: int) -> None:
        self.name = name
        self._ledger = ledger
        self._per_tick = max(1, round(rate * TICK_S))
        self._rng = random.Random(f"{seed} {name}")
        self._next = [0] * ledger.partitions
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": name,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": DELIVERY_TIMEOUT_MS,
                "linger.ms": 5,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        self._going = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while self._going:
            for _ in range(self._per_tick):
                self._send(self._rng.randrange(self._ledger.partitions))
            due = max(due + TICK_S, time.monotonic() - 1)
            while (left := due - time.monotonic()) > 0:
                self._producer.poll(left)

    def _send(self, partition: int) -> None:
        number, sent = self._next[partition], time.monotonic()
        value = f"{self.name}:{number}:".ljust(self._rng.randrange(20, 300), "x")

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                self._ledger.ack(self.name, partition, number, message.offset(), sent)
            else:
                self._ledger.refuse(self.name, partition, number, error)

        with contextlib.suppress(BufferError):  # so many wait already: this number is used for the next
            self._producer.produce(TOPIC, value, partition=partition, on_delivery=delivered)
            self._next[partition] += 1

    def end(self) -> int:
        """Send what waits; how many records nobody answered for."""
        self._going = False
        self._thread.join()
        return int(self._producer.flush(DELIVERY_TIMEOUT_MS / 1000))


class Reader:
    """A member of the group that reads everything, and notes what it has seen."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self.seen = [bytearray() for _ in range(partitions)]  # a byte for each offset
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 500,
                "session.timeout.ms": 10_000,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([TOPIC])
        self._going = True
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._going:
            for message in self._consumer.consume(500, 0.2):
                if message.error() is None:
                    self._note(message.partition(), message.offset())
        with contextlib.suppress(KafkaException):
            self._consumer.close()

    def _note(self, partition: int, offset: int) -> None:
        seen = self.seen[partition]
        if len(seen) <= offset:
            seen.extend(bytes(offset + 1 - len(seen)))
        seen[offset] = 1

    def end(self) -> None:
        self._going = False
        self._thread.join()
