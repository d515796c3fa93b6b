"""Groups of kinds that this coordinator does not serve (consumer, share, streams), as Apache Kafka left them in a log.

They are listed and can be deleted, their committed offsets can be read, and their records stay. A consumer or streams
group cannot have live members here: it is empty, and goes when its offsets have expired, as an empty one does in Apache
Kafka. A share group keeps its progress elsewhere and never expires.
"""

from typing import Any

from riverport.kafka.groups.records import GroupRecord
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.coordinator_records import encode_key

CONSUMER, SHARE, STREAMS = "consumer", "share", "streams"

KIND_OF_RECORD = {
    3: CONSUMER, 4: CONSUMER, 5: CONSUMER, 6: CONSUMER, 7: CONSUMER, 8: CONSUMER, 16: CONSUMER,
    10: SHARE, 11: SHARE, 12: SHARE, 13: SHARE, 14: SHARE, 15: SHARE,
    17: STREAMS, 19: STREAMS, 20: STREAMS, 21: STREAMS, 22: STREAMS, 23: STREAMS,
}  # fmt: skip


class OtherGroup:
    """Knows the keys of its records, so that it can be deleted as a whole."""

    is_empty = True

    def __init__(self, group_id: str, kind: str) -> None:
        self.group_id = group_id
        self.kind = kind
        self._keys: dict[bytes, Any] = {}  # encoded key: key

    def replay(self, key: Any, *, is_tombstone: bool) -> bool:
        """Take note of one of its records; False once none is left."""
        if is_tombstone:
            self._keys.pop(encode_key(key), None)
        else:
            self._keys[encode_key(key)] = key
        return bool(self._keys)

    def tombstones(self) -> list[GroupRecord]:
        """What deletes the group: members before the group, as Kafka does."""
        return [GroupRecord(key, None) for key in reversed(self._keys.values())]

    def is_subscribed_to(self, topic: str) -> bool:
        return False

    def listed(self) -> Any:
        return m.ListGroupsResponse.ListedGroup(self.group_id, self.kind, "Empty", self.kind)
