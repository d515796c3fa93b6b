"""The partitions that a fetcher leaves out for a time: after an error, or because a quota says so."""

from math import inf

from riverport.kafka.replica.followed import Followed, State


class Delays:
    """Asked with every request whether somebody's time has come, so that one comparison is the answer."""

    __slots__ = ("_members", "earliest_ms")

    def __init__(self) -> None:
        self._members: dict[Followed, None] = {}
        self.earliest_ms = inf  # not later than the time of any of them

    def add(self, followed: Followed, until_ms: float) -> None:
        followed.state = State.DELAYED
        followed.due_ms = until_ms
        self._members[followed] = None
        self.earliest_ms = min(self.earliest_ms, until_ms)

    def drop(self, followed: Followed) -> None:
        self._members.pop(followed, None)
        if not self._members:
            self.earliest_ms = inf

    def end(self) -> None:
        """The time of all of them has come."""
        for followed in self._members:
            followed.due_ms = self.earliest_ms = 0.0

    def take_due(self, now_ms: float) -> list[Followed]:
        """Those whose time has come, in the order in which they were left out."""
        due = [followed for followed in self._members if followed.due_ms <= now_ms]
        for followed in due:
            del self._members[followed]
        self.earliest_ms = min((followed.due_ms for followed in self._members), default=inf)
        return due
