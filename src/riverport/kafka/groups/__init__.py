"""Coordinators of groups: who is a member, who consumes what, and how far each group has come.

    coordinator.py   Coordinator: everything that one partition of `__consumer_offsets` coordinates
    turn.py          Turn: one input on its way through it, with the records and effects that follow
    joining.py       JoinGroup: new members, members that come back, static members
    rebalance.py     how a rebalance begins and ends; sessions
    membership.py    SyncGroup, Heartbeat, LeaveGroup
    classic.py       ClassicGroup: the bookkeeping of one group
    member.py        Member
    commits.py       OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups, expiry
    offsets.py       OffsetStore: committed offsets, and those of open transactions
    subscription.py  which topics the members' metadata names
    others.py        groups of kinds that are not served here and whose records are kept
    records.py       the records that are written, and which partition they go to
    loading.py       what a partition's batches say, replayed
    config.py        GroupConfig

A classic group:

    Empty ──join──▶ PreparingRebalance ──all joined, or time is up──▶ CompletingRebalance
      ▲               │     ▲    ▲                                      │      │
      └──nobody left──┘     │    └──a member joins, leaves, is lost─────┘      │ the leader's assignment
                            └───────the same, or the leader joins again── Stable ◀┘

Invariants. Durable state (offsets; a group's existence; the generation, leader, members and assignments of a Stable or
Empty group) is what replaying the partition gives, at every moment. What members are waiting for is not durable: after
a change of coordinator they join again. Nothing is answered before the records it rests on are committed.

Sources: KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-211 (expiry), KIP-345 (static members), KIP-389
(size), KIP-394 (member id first), KIP-447 (stable offsets), KIP-559, KIP-800, KIP-814; Apache Kafka 4.3 itself.
docs/formats/coordinator-records.md has the records, docs/adr/0005-group-coordinator.md the shape.
"""
