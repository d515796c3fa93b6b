"""An asyncio client of Kafka on our own wire package: what our tools, tests and other products use to talk to brokers.

    connection.py   one socket: pipelined requests, answers by correlation id, versions negotiated (KIP-511)
    client.py       a cluster: bootstrap, metadata, connections by node, leaders and coordinators found, retries
    cluster.py      what the last Metadata answer said: nodes, topics, partitions
    retry.py        which errors pass, and how long to wait before the next attempt
    producer.py     records into batches, batches to leaders; idempotent if asked (KIP-98)
    partitioner.py  the partition of a key, as the Java client computes it
    consumer.py     assigned partitions: positions, fetches, records
    group.py        membership in a classic group: join, sync, heartbeat, leave
    assignors.py    who gets which partition
    admin.py        topics, configs, groups, offsets, cluster: the calls that tools need
    errors.py       what may be raised

    async with Client(["localhost:9092"]) as client:
        async with Producer(client) as producer:
            await (await producer.send("orders", value=b"one"))
        async with Consumer(client, group="billing") as consumer:
            consumer.subscribe(["orders"])
            records = await consumer.poll(timeout_ms=5000)

Everything that waits has a deadline and everything that grows a named limit. Everything raised is a `ClientError`.
"""
