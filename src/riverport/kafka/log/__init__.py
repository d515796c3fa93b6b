"""The log: record batches of one partition on disk, exactly as Apache Kafka lays them out.

    config.py        LogConfig: what a topic's configuration means for its logs
    log.py           Log: append, read, look up, truncate, delete; one partition
    access.py        who appends, how far a reader sees, what either is told
    reading.py       finding bytes by offset, records by time
    rolling.py       when a segment is full
    segment.py       one `.log` file with its indexes
    index.py         offset and time indexes
    transactions.py  aborted transactions
    producers.py     producer state: sequences, epochs, transactions, snapshots (KIP-98, KIP-360)
    markers.py       what batches of coordinators and leaders, and ends of transactions, mean to it
    epochs.py        leader epochs and where they start (KIP-101)
    checkpoints.py   the small text files
    recovery.py      opening a directory after a clean stop, and after any other
    flush.py         bringing a log to the disk
    retention.py     what is too old or too much
    cleaner.py       compaction: when and of what; cleaning.py how, swap.py how the result takes its place
    move.py          a log on its way to another directory (KIP-113)
    upkeep.py        what all logs need by the clock
    partition_directory.py  what the directory of a log is called, and whose it is
    directory.py     one log directory: how the last run left it, its checkpoints
    manager.py       LogManager: all logs of one node, in one or several directories

A log is used by the event loop only. What blocks is a job: an object whose `run()` is safe on a thread and whose
`finish()` (or `fail(error)`) is called on the loop. docs/formats/log-directory.md has the bytes, docs/durability.md
what survives which failure.
"""

from riverport.kafka.log.access import AppendInfo, Isolation, Origin, ReadInfo
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.log import Log

__all__ = ["AppendInfo", "Isolation", "Log", "LogConfig", "Origin", "ReadInfo"]
