"""The fetch session that a follower has with its leader, from the follower's side (KIP-227).

The leader keeps the partitions of the session and the position of each; a fetch names only what is new about them, and
its epoch says how many it has seen. Epoch 0 names everything: it ends the session that there was, and the answer says
whether there is another. Answers to fetches before that one say nothing any more, whenever they come.
"""

from typing import Any

from riverport.kafka.wire import messages as m

Key = tuple[bytes, int]
"""Topic id and index of a partition."""

EPOCH_MAX = 2**31 - 1


class Session:
    """Requests are known by their numbers, which grow. `forgotten` are in the session, and not wanted there."""

    __slots__ = ("_id", "_since", "epoch", "forgotten", "is_refused")

    def __init__(self) -> None:
        self.epoch = 0  # of the next fetch
        self.forgotten: dict[Key, None] = {}
        self.is_refused = False  # the leader has no room for one
        self._id = 0
        self._since = 0

    def begin_anew(self, number: int) -> None:
        """The fetch of this number, or a later one, names everything."""
        self.epoch = 0
        self._since = number
        self.forgotten.clear()

    def disconnected(self, number: int) -> None:
        """As `begin_anew`, and the leader may be another process: what it called the session means nothing to it."""
        self.begin_anew(number)
        self._id = 0

    def stamp(self, request: m.FetchRequest) -> None:
        """Say what session a fetch belongs to and what is to leave it; the next one is of the next epoch."""
        request.session_id, request.session_epoch = self._id, self.epoch
        if self.epoch:
            request.forgotten_topics_data = self._forgotten_topics()
            self.epoch = self.epoch + 1 if self.epoch < EPOCH_MAX else 1

    def _forgotten_topics(self) -> list[Any]:
        topics: dict[bytes, list[int]] = {}
        for topic_id, index in self.forgotten:
            topics.setdefault(topic_id, []).append(index)
        self.forgotten.clear()
        return [m.FetchRequest.ForgottenTopic("", topic_id, indexes) for topic_id, indexes in topics.items()]

    def is_late(self, number: int) -> bool:
        """Whether the answer to a fetch comes after the session has begun anew."""
        return number < self._since

    def answered(self, epoch: int, session_id: int) -> bool:
        """A fetch of this epoch was answered; returns whether the leader has ended the session."""
        if epoch == 0:
            self._id = session_id
            self.epoch = 1 if session_id else 0
            self.is_refused = not session_id
            return False
        return session_id == 0
