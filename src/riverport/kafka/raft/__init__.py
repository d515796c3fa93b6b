"""The metadata quorum (KRaft, KIP-595): who leads, in which epoch, and how far the log is committed.

    quorum.py      Quorum: one replica as a state machine; inputs in, effects out (its picture is there)
    roles.py       what a replica is, and its transitions: epochs, leaders, votes
    agenda.py      what is due in each role
    election.py, follower.py, leader.py    what it knows in each role
    ballots.py     what is wrong with another voter's request
    changes.py     which changes of the voters a leader allows (KIP-853)
    voters.py      replicas, addresses, sets of voters and their history in the log
    events.py, requests.py, outbox.py      inputs and effects; messages; what is on its way
    state.py       quorum-state: what a voter must remember over a restart
    snapshots.py   checkpoints of the metadata log (KIP-630)

Invariants: an epoch and a vote are on the disk before anybody hears of them; an epoch has one leader at most; a record
is committed once it is on the disk of a majority, and then it is never lost; a fetch offset is an acknowledgement, so
it never runs ahead of the disk; two sets of voters that follow each other differ in one voter. A quorum of one is the
case in which its only voter is the majority: it elects itself in a new epoch at each start.

Where it is faster than Apache Kafka, by the same messages: a start asks at once whether it would be elected, which
disturbs nobody (KIP-996); and a follower whose leader's address refuses connections begins its election without
waiting for the fetch timeout. Who is wrong about that loses nothing: others that still hear of their leader say no.
"""
