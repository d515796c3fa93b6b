"""The metadata quorum (KRaft, KIP-595): who leads, in which epoch, and how far the log is committed.

    state.py       quorum-state: what a voter must remember over a restart
    quorum.py      Quorum: the voter's state machine; inputs in, effects out
    snapshots.py   checkpoints of the metadata log (KIP-630)

Invariants: an epoch and a vote are on the disk before anybody hears of them; an epoch has one leader at most; a record
is committed once it is on the disk of a majority, and then it is never lost. A quorum of one is the case in which its
only voter is the majority: it elects itself in a new epoch at each start, and its flushed log end is the high
watermark.
"""
