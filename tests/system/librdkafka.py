"""`producer` and `consumer` on librdkafka, with the options and the speech of Kafka's verifiable clients."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

stopping = False


def say(name: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"timestamp": int(time.time() * 1000), "name": name, **fields}) + "\n")
    sys.stdout.flush()


def stop(*_: object) -> None:
    global stopping
    stopping = True


def properties(file: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in Path(file).read_text().splitlines() if line)
    return {key: value for key, _, value in pairs}


def produce(options: argparse.Namespace) -> None:
    config = {"bootstrap.servers": options.bootstrap_server, "acks": options.acks, "linger.ms": 5}
    # What the Java client has no limit for: how often and how long a message is tried.
    config |= properties(options.command_config) | {"message.timeout.ms": 120_000}
    producer = Producer(config)

    def delivered(error: KafkaError | None, message: Message) -> None:
        value = (message.value() or b"").decode()
        if error is None:
            say("producer_send_success", value=value, topic=message.topic(), partition=message.partition(),
                offset=message.offset())  # fmt: skip
        else:
            say("producer_send_error", value=value, topic=options.topic, exception=error.name(), message=error.str())

    say("startup_complete")
    began, number = time.monotonic(), 0
    while not stopping and number != options.max_messages:
        if options.throughput > 0 and number > (time.monotonic() - began) * options.throughput:
            producer.poll(0.001)
            continue
        key = str(number % options.repeating_keys) if options.repeating_keys else None
        try:
            producer.produce(options.topic, str(number), key, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    say("shutdown_complete")


def consume(options: argparse.Namespace) -> None:
    config = {
        "bootstrap.servers": options.bootstrap_server,
        "group.id": options.group_id,
        "session.timeout.ms": options.session_timeout,
        "auto.offset.reset": options.reset_policy,
        "enable.auto.commit": options.enable_autocommit,
        **({"group.instance.id": options.group_instance_id} if options.group_instance_id else {}),
        **properties(options.command_config),
    }
    consumer = Consumer(config)

    def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
        say("partitions_assigned", partitions=[{"topic": p.topic, "partition": p.partition} for p in partitions])

    def revoked(_: Consumer, partitions: list[TopicPartition]) -> None:
        say("partitions_revoked", partitions=[{"topic": p.topic, "partition": p.partition} for p in partitions])

    consumer.subscribe([options.topic], on_assign=assigned, on_revoke=revoked)
    say("startup_complete")
    while not stopping:
        by_partition: dict[int, list[Message]] = {}
        for message in consumer.consume(500, 0.1):
            if message.error() is None:
                by_partition.setdefault(message.partition(), []).append(message)
        if by_partition:
            _tell(options, by_partition)
            if not options.enable_autocommit:
                _commit(consumer, options.topic, by_partition)
    consumer.close()
    say("shutdown_complete")


def _tell(options: argparse.Namespace, by_partition: dict[int, list[Message]]) -> None:
    summaries = []
    for partition, messages in by_partition.items():
        for message in messages:
            say("record_data", topic=options.topic, partition=partition, offset=message.offset(),
                value=(message.value() or b"").decode())  # fmt: skip
        summaries.append({"topic": options.topic, "partition": partition, "count": len(messages),
                          "minOffset": messages[0].offset(), "maxOffset": messages[-1].offset()})  # fmt: skip
    say("records_consumed", count=sum(s["count"] for s in summaries), partitions=summaries)


def _commit(consumer: Consumer, topic: str, by_partition: dict[int, list[Message]]) -> None:
    offsets = [TopicPartition(topic, p, (messages[-1].offset() or 0) + 1) for p, messages in by_partition.items()]
    told = [{"topic": topic, "partition": o.partition, "offset": o.offset} for o in offsets]
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
        say("offsets_committed", success=True, offsets=told)
    except KafkaException as error:
        say("offsets_committed", success=False, offsets=told, error=str(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["producer", "consumer"])
    for name in ("bootstrap-server", "topic", "command-config", "group-id", "group-instance-id", "reset-policy"):
        parser.add_argument(f"--{name}")
    for name in ("throughput", "max-messages", "acks", "repeating-keys", "session-timeout"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("verbose", "enable-autocommit"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    (produce if options.role == "producer" else consume)(options)


if __name__ == "__main__":
    main()
