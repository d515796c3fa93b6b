"""Committed offsets of the groups of one partition, and those that wait for the end of a transaction.

Changed by replay only. Offsets of a transaction are kept beside, per producer, until its marker is replayed; a commit
outside the transaction that is younger than them wins (their places in the log tell).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.wire import messages as m


@dataclass(slots=True)
class CommittedOffset:
    offset: int
    leader_epoch: int  # -1 where the client did not say
    metadata: str
    commit_ms: int
    expire_ms: int  # -1 where the group's retention decides
    topic_id: bytes  # zero where it was not known
    log_offset: int  # of the record that says so


PartitionOffsets = dict[int, CommittedOffset]
TopicOffsets = dict[str, PartitionOffsets]
GroupOffsets = dict[str, TopicOffsets]


class OffsetStore:
    """Nothing is kept for a group, a topic or a producer without offsets: no dictionary in here is ever empty."""

    def __init__(self) -> None:
        self._committed: GroupOffsets = {}
        self._pending: dict[int, GroupOffsets] = {}  # by producer id
        self._open: dict[str, dict[int, None]] = {}  # group: producers with pending offsets in it

    # --- looking

    def of_group(self, group_id: str) -> TopicOffsets:
        """Shared, not to be changed."""
        return self._committed.get(group_id, {})

    def get(self, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
        return _get(self._committed, group_id, topic, partition)

    def is_pending(self, group_id: str, topic: str, partition: int) -> bool:
        """Whether an open transaction has committed the offset (KIP-447)."""
        producers = self._open.get(group_id)
        if producers is None:
            return False
        return any(_get(self._pending[one], group_id, topic, partition) is not None for one in producers)

    def has_open_transactions(self, group_id: str) -> bool:
        return group_id in self._open

    def partitions_of(self, group_id: str) -> list[tuple[str, int]]:
        """Every partition that the group has committed or is committing an offset of."""
        found = {(topic, partition): None for topic, partition, _ in _each(self._committed.get(group_id, {}))}
        for producer_id in self._open.get(group_id, ()):
            found.update({(t, p): None for t, p, _ in _each(self._pending[producer_id].get(group_id, {}))})
        return list(found)

    def partitions_of_topic(self, topic: str, topic_id: bytes) -> list[tuple[str, int]]:
        """(group, partition) of every offset of the topic, or of one of its name with an unknown id, in any group."""
        found: dict[tuple[str, int], None] = {}
        for groups in (self._committed, *self._pending.values()):
            for group_id, topics in groups.items():
                for partition, committed in topics.get(topic, {}).items():
                    if committed.topic_id in (ZERO_UUID, topic_id):
                        found[group_id, partition] = None
        return list(found)

    # --- replay

    def replay(self, key: Any, value: m.OffsetCommitValue | None, log_offset: int, producer_id: int = -1) -> None:
        if value is None:
            self._remove(key.group, key.topic, key.partition)
            return
        committed = CommittedOffset(
            value.offset,
            value.leader_epoch,
            value.metadata,
            value.commit_timestamp,
            value.expire_timestamp,
            value.topic_id,
            log_offset,
        )
        if producer_id < 0:
            _put(self._committed, key.group, key.topic, key.partition, committed)
        else:
            _put(self._pending.setdefault(producer_id, {}), key.group, key.topic, key.partition, committed)
            self._open.setdefault(key.group, {})[producer_id] = None

    def replay_legacy(self, key: Any, value: m.LegacyOffsetCommitValue | None, log_offset: int) -> None:
        """Record type 0, of before KIP-211; written by brokers of long ago."""
        if value is None:
            self._remove(key.group, key.topic, key.partition)
            return
        committed = CommittedOffset(value.offset, -1, value.metadata, value.commit_timestamp, -1, ZERO_UUID, log_offset)
        _put(self._committed, key.group, key.topic, key.partition, committed)

    def replay_end(self, producer_id: int, *, committed: bool) -> None:
        """The marker of a transaction: its offsets count from now on, or never did."""
        pending = self._pending.pop(producer_id, None)
        if pending is None:
            return
        for group_id, topics in pending.items():
            self._forget_open(group_id, producer_id)
            if not committed:
                continue
            for topic, partition, new in _each(topics):
                old = self.get(group_id, topic, partition)
                if old is None or new.log_offset > old.log_offset:
                    _put(self._committed, group_id, topic, partition, new)

    def _remove(self, group_id: str, topic: str, partition: int) -> None:
        _pop(self._committed, group_id, topic, partition)
        for producer_id in list(self._open.get(group_id, ())):
            pending = self._pending[producer_id]
            _pop(pending, group_id, topic, partition)
            if group_id not in pending:
                self._forget_open(group_id, producer_id)
                if not pending:
                    del self._pending[producer_id]

    def _forget_open(self, group_id: str, producer_id: int) -> None:
        producers = self._open.get(group_id)
        if producers is not None:
            producers.pop(producer_id, None)
            if not producers:
                del self._open[group_id]


def _get(groups: GroupOffsets, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
    topics = groups.get(group_id)
    partitions = None if topics is None else topics.get(topic)
    return None if partitions is None else partitions.get(partition)


def _put(groups: GroupOffsets, group_id: str, topic: str, partition: int, committed: CommittedOffset) -> None:
    groups.setdefault(group_id, {}).setdefault(topic, {})[partition] = committed


def _pop(groups: GroupOffsets, group_id: str, topic: str, partition: int) -> None:
    topics = groups.get(group_id)
    partitions = None if topics is None else topics.get(topic)
    if topics is None or partitions is None or partitions.pop(partition, None) is None:
        return
    if not partitions:
        del topics[topic]
    if not topics:
        del groups[group_id]


def _each(topics: TopicOffsets) -> Iterator[tuple[str, int, CommittedOffset]]:
    for topic, partitions in topics.items():
        for partition, committed in partitions.items():
            yield topic, partition, committed
