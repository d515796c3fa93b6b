"""The Kafka wire protocol: every message of Apache Kafka 4.4, as data, and one engine that compiles it.

    table/*.txt        the protocol: one block a message, one line a field (the language is described in `schema`)
    schema.py          reads a block of the table: messages, structs, fields, versions
    compiler.py        turns one struct into a class, and one (message, version) into an encoder and a decoder
    codec.py           encode / decode, and what may go wrong: only WireError
    messages.py        every class by name, made on first use: `from riverport.kafka.wire import messages as m`
    api.py             API keys, version ranges, which listener serves what
    frame.py           request and response headers
    metadata_records.py, coordinator_records.py    the framing of records that hold messages
    errors.py          error codes

Nothing is compiled before it is used: a broker that has answered a Produce request has paid for Produce only.
Sources: KIP-482 (flexible versions and tagged fields), KIP-893 (nullable structs), KIP-511 (ApiVersions),
KIP-896 (minimum versions), and the message definitions that Apache Kafka publishes.
"""
