"""What a topic's configuration means for its logs; the names are Kafka's topic keys with `_` for `.`."""

from dataclasses import dataclass

_MAX_LONG = 2**63 - 1
_WEEK_MS = 7 * 24 * 3600 * 1000


@dataclass(slots=True, frozen=True)
class LogConfig:
    """Sizes in bytes, times in milliseconds; -1 for no limit where Kafka has it so."""

    segment_bytes: int = 1 << 30
    segment_ms: int = _WEEK_MS
    segment_jitter_ms: int = 0
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    retention_ms: int = _WEEK_MS
    retention_bytes: int = -1
    delete: bool = True  # cleanup.policy
    compact: bool = False
    delete_retention_ms: int = 24 * 3600 * 1000
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = _MAX_LONG
    min_cleanable_dirty_ratio: float = 0.5
    file_delete_delay_ms: int = 60_000
    flush_messages: int = _MAX_LONG
    flush_ms: int = _MAX_LONG
    preallocate: bool = False
    max_message_bytes: int = 1_048_588
    message_timestamp_type: str = "CreateTime"
    message_timestamp_before_max_ms: int = _MAX_LONG
    message_timestamp_after_max_ms: int = 3_600_000
    compression_type: str = "producer"
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3
    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False

    @property
    def max_segment_ms(self) -> int:
        """The age at which a segment is rolled: one that must be compacted soon may not stay active (KIP-354)."""
        if self.compact and self.max_compaction_lag_ms > 0:
            return min(self.segment_ms, self.max_compaction_lag_ms)
        return self.segment_ms
