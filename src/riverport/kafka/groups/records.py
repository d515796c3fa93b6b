"""The records of `__consumer_offsets` that this package writes, and where a group's records live.

docs/formats/coordinator-records.md has the table.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from riverport.base.ids import ZERO_UUID
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.coordinator_records import encode_key, encode_value

OFFSET_COMMIT_VERSION = 4
OFFSET_COMMIT_EXPIRING_VERSION = 1
"""The one version that has an expiry timestamp of its own (requests v2-4 may ask for it)."""
GROUP_METADATA_VERSION = 3


@dataclass(slots=True)
class GroupRecord:
    """Key and value messages of one record; a value of None is a tombstone."""

    key: Any
    value: Any
    version: int = 0

    def encode(self) -> tuple[bytes, bytes | None]:
        return encode_key(self.key), None if self.value is None else encode_value(self.value, self.version)


def group_metadata(group_id: str, value: m.GroupMetadataValue | None) -> GroupRecord:
    return GroupRecord(m.GroupMetadataKey(group_id), value, GROUP_METADATA_VERSION)


def offset_commit(
    group_id: str,
    topic: str,
    topic_id: bytes,
    partition: int,
    offset: int,
    leader_epoch: int,
    metadata: str,
    commit_timestamp: int,
    expire_timestamp: int = -1,
) -> GroupRecord:
    """A committed offset. With an expiry time of its own (-1: none) the record has no room for the topic's id."""
    version = OFFSET_COMMIT_VERSION if expire_timestamp < 0 else OFFSET_COMMIT_EXPIRING_VERSION
    return GroupRecord(
        m.OffsetCommitKey(group_id, topic, partition),
        m.OffsetCommitValue(
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp,
            topic_id if version == OFFSET_COMMIT_VERSION else ZERO_UUID,
        ),
        version,
    )


def offset_tombstone(group_id: str, topic: str, partition: int) -> GroupRecord:
    return GroupRecord(m.OffsetCommitKey(group_id, topic, partition), None)


@lru_cache(maxsize=4096)
def java_hash(text: str) -> int:
    """Java's String.hashCode: over UTF-16 code units, as a signed 32-bit number."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def partition_of(group_id: str, partitions: int) -> int:
    """The partition of `__consumer_offsets` that a group belongs to."""
    value = java_hash(group_id)
    # Kafka's own `abs`: the one number without a positive counterpart counts as zero.
    return (0 if value == -(1 << 31) else abs(value)) % partitions
