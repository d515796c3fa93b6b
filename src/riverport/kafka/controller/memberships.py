"""Which partitions the coming and going of a broker concerns, without looking at any other.

    in_isr(broker)    it is in sync there, and may lead
    in_elr(broker)    it may be elected there (KIP-966)
    leaderless        nobody leads
    imbalanced        another than the first replica leads

A node that never decides never makes this index (`MetadataImage.memberships`). Tables are dicts for their order.
"""

from collections.abc import Iterable

from riverport.kafka.controller.registrations import PartitionRegistration, TopicImage

TopicPartition = tuple[bytes, int]
"""Topic id and index of a partition."""
_Table = dict[TopicPartition, None]


class Memberships:
    """Follows one image: `update` is told of every change of a partition."""

    def __init__(self, topics: Iterable[TopicImage]) -> None:
        self._isr: dict[int, _Table] = {}
        self._elr: dict[int, _Table] = {}
        self.leaderless: _Table = {}
        self.imbalanced: _Table = {}
        for topic in topics:
            for index, partition in topic.partitions.items():
                self.update(topic.id, index, None, partition)

    def in_isr(self, broker: int) -> list[TopicPartition]:
        return list(self._isr.get(broker, ()))

    def in_elr(self, broker: int) -> list[TopicPartition]:
        return list(self._elr.get(broker, ()))

    def update(
        self, topic_id: bytes, index: int, old: PartitionRegistration | None, new: PartitionRegistration | None
    ) -> None:
        """`old` is None for a new partition, `new` for one that is no more."""
        key = (topic_id, index)
        _move(self._isr, key, old.isr if old else (), new.isr if new else ())
        _move(self._elr, key, old.elr if old else (), new.elr if new else ())
        _note(self.leaderless, key, new is not None and new.leader < 0)
        _note(self.imbalanced, key, new is not None and new.leader != new.replicas[0])


def _move(tables: dict[int, _Table], key: TopicPartition, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    if old == new:
        return
    for broker in old:
        if broker not in new:
            del tables[broker][key]
    for broker in new:
        if broker not in old:
            tables.setdefault(broker, {})[key] = None


def _note(table: _Table, key: TopicPartition, holds: bool) -> None:
    if holds:
        table[key] = None
    elif key in table:
        del table[key]
