"""The Kafka wire protocol: every message of Apache Kafka 4.4, as data, and one engine that compiles it.

    table/*.txt        the protocol: one block a message, one line a field (the language is described in `schema`)
    schema.py          reads a block of the table: messages, structs, fields, versions
    classes.py         one struct of the table as a slots class
    encoder.py, decoder.py     one version of a message as a straight-line function
    source.py          what those two write with
    codec.py           encode / decode, and what may go wrong: only WireError
    messages.py        every class by name, made on first use: `from riverport.kafka.wire import messages as m`
    api.py             API keys, version ranges, which listener serves what
    frame.py           request and response headers
    metadata_records.py, coordinator_records.py    the framing of records that hold messages
    errors.py          error codes

Generated code is what a careful person would write by hand for one version of one message: runs of fixed-width fields
are one `struct.Struct` call (a length or count that ends a run is part of it), nested structs are loops in place, and
nothing tests the version. Each function is compiled when it is first used, in about half a millisecond, and kept: a
broker that has answered a Produce request has paid for Produce only. docs/adr/0002-wire.md has the measurements.

Invariants: nothing that a peer sends raises anything but WireError; no count or length is believed before it is
compared with the bytes that remain; records are never copied, in either direction.

Sources: KIP-482 (flexible versions and tagged fields), KIP-893 (nullable structs), KIP-511 (ApiVersions),
KIP-896 (minimum versions), and the message definitions that Apache Kafka publishes.
"""
