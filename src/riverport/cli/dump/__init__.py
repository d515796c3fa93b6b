"""What the files of a log directory say, as items: what `riverport log dump` prints.

    items.py      an item, a damage, and how either is worded
    kinds.py      which reader is for which file
    segments.py   batches and records of `.log` and `.checkpoint` files
    decoded.py    what records mean in the topics that Kafka keeps for itself
    indexes.py    `.index`, `.timeindex`, `.txnindex`, beside their segment
    state.py      producer snapshots, checkpoints, properties, quorum state

A reader takes a file's bytes and yields items; what cannot be right is an item too, and the reader goes on behind it if
it can. Readers trust nothing: a file may be anything.
"""
