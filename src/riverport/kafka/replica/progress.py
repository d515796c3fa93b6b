"""How far one follower of a partition has come, as its leader knows from the follower's fetches.

A fetch from an offset says that everything below it is in the follower's log. `caught_up_ms` is the latest time at
which the follower had everything that the leader had then: the leader takes a follower that was level longer than
`replica.lag.time.max.ms` ago out of the in-sync replicas (KIP-16).

A follower that fetches with a session does not name partitions of which it has nothing new to say. While it is level
with the leader, its being in touch is enough: the time of its session's last request counts for all of them.
"""

UNKNOWN = -1


class Contact:
    """One fetch session of a follower, or one request of a follower that has none: when it last asked for anything."""

    __slots__ = ("fetched_ms",)

    def __init__(self, fetched_ms: float) -> None:
        self.fetched_ms = fetched_ms


class FollowerProgress:
    """One follower of one partition. Times are of the monotonic clock, `-inf` for never."""

    __slots__ = (
        "broker_epoch",
        "broker_id",
        "caught_up_ms",
        "contact",
        "end_offset",
        "fetched_ms",
        "is_level",
        "leader_end_offset",
        "start_offset",
    )

    def __init__(self, broker_id: int) -> None:
        self.broker_id = broker_id
        self.broker_epoch: int | None = None  # None until its first fetch, -1 where that did not say
        self.end_offset = UNKNOWN
        self.start_offset = UNKNOWN
        self.leader_end_offset = UNKNOWN  # when it last fetched
        self.fetched_ms = self.caught_up_ms = float("-inf")
        self.contact: Contact | None = None
        self.is_level = False  # it had everything when it last fetched, and nothing has been appended since

    def __repr__(self) -> str:
        return f"broker {self.broker_id} at {self.end_offset}"

    def reset(self, leader_end_offset: int, now_ms: float, *, is_in_sync: bool, is_new_leader: bool) -> None:
        """A leader epoch begins. Who is in sync has the whole lag time to show itself; who is not, must fetch first."""
        self.is_level = False
        self.contact = None
        self.caught_up_ms = now_ms if is_in_sync else float("-inf")
        if is_new_leader:
            self.end_offset = self.start_offset = self.leader_end_offset = UNKNOWN
            self.fetched_ms = float("-inf")
            self.broker_epoch = None
        else:
            self.leader_end_offset = leader_end_offset
            self.fetched_ms = self.caught_up_ms

    def fetched(
        self, offset: int, start_offset: int, broker_epoch: int, leader_end_offset: int, now_ms: float, contact: Contact
    ) -> None:
        """The follower fetches from `offset`; the leader's log ended at `leader_end_offset` as the request came."""
        self.is_level = offset >= leader_end_offset
        if self.is_level:
            self.caught_up_ms = max(self.caught_up_ms, now_ms)
        elif offset >= self.leader_end_offset:
            # It has got what there was when it last asked: under a steady stream that is all that can be expected.
            self.caught_up_ms = max(self.caught_up_ms, self.fetched_ms)
        self.end_offset = offset
        self.start_offset = start_offset
        self.leader_end_offset = max(self.leader_end_offset, leader_end_offset)
        self.fetched_ms = now_ms
        self.broker_epoch = broker_epoch
        self.contact = contact

    def fall_behind(self) -> None:
        """The leader's log grows, or the follower's session ends: from now on its own fetches have to show it level."""
        if self.is_level and self.contact is not None:
            self.fetched_ms = self.caught_up_ms = max(self.caught_up_ms, self.contact.fetched_ms)
        self.is_level = False

    def last_level_ms(self, now_ms: float) -> float:
        """When it last had everything that the leader had."""
        return now_ms if self.is_level else self.caught_up_ms

    def is_caught_up(self, leader_end_offset: int, now_ms: float, lag_time_max_ms: float) -> bool:
        return self.end_offset == leader_end_offset or now_ms - self.caught_up_ms <= lag_time_max_ms
