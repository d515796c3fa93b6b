"""Record batches: the unit that producers send, the log stores and consumers get, byte for byte.

    batch.py        the header: read, iterated over, checked, patched in place
    record.py       records opened one by one; encoding of one record
    builder.py      batches made here
    control.py      end-of-transaction markers and the raft control records
    codecs.py       gzip, snappy, lz4, zstd, always with a limit
    legacy.py       message sets of magic 0 and 1 from old logs, read only
    walk.py         whether a records section holds what its header says, without opening it
    validation.py   one produce payload, judged as Apache Kafka's log judges it
    retain.py       a batch rebuilt with some of its records, for compaction
    errors.py       RecordError, the only exception

A batch is bytes. The broker reads 61 of them and patches 12; the records section is opened only where meaning demands
it (docs/adr/0003-record-validation.md says where, with what it costs). Byte table: docs/formats/record-batch.md.

Invariants: nothing here raises anything but RecordError for bytes that somebody sent or that lie on disk; nothing
allocates more than the bytes that are there, or the named limit of decompression; validation changes no byte of a batch
before every check has passed.

Sources: KIP-98 (batch v2), KIP-32 (timestamps), KIP-110 (zstd), KIP-390 (levels), KIP-467 (errors per record), KIP-534
(delete horizon).
"""
