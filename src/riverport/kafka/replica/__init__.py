"""Partitions as a broker has them: who leads, what may be read, what an acknowledgement waits for.

    partition.py    one log and the partition's state in the metadata image
    leader.py       the leader's part: followers' progress (progress.py), high watermark, in-sync replicas
    fetcher.py      the follower's part: what to ask a leader for and what its answers mean, for many partitions at once
    followed.py     one partition in it, and the states that it may be in
    delays.py       those of them that are left out for a time
    session.py      what the leader keeps of what was asked for (KIP-227)
    divergence.py   where a follower's log leaves its leader's
    follower.py     what a follower does to its log
    assignments.py  in which directories replicas lie, as far as the controller has not been told (KIP-858)
    quota.py        the bytes a second that a reassignment may take (KIP-73)
    selector.py     the replica that a consumer is sent to (KIP-392)

Invariants: a follower's log up to its high watermark is a part of its leader's, unless an election went outside of the
in-sync replicas; a follower appends only what continues its log in its leader's present epoch; a high watermark goes
back with a truncation only. A partition that has one replica commits what it appends at once.

Everything here decides and changes logs; connections, timers and metadata are `riverport.kafka.server`'s.
"""
