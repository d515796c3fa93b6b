"""Replication quotas (KIP-73, KIP-113): the bytes a second that a reassignment may take from everything else.

`<side>.replication.throttled.rate` of the broker bounds what goes to, or comes from, the replicas that the topic's
`<side>.replication.throttled.replicas` names; the side is `leader` or `follower`.
`replica.alter.log.dirs.io.max.bytes.per.second` bounds what all moves between the broker's directories copy. Without a
rate nothing is throttled.
"""

from collections import deque
from collections.abc import Mapping

LEADER, FOLLOWER = "leader", "follower"
MOVES_RATE = "replica.alter.log.dirs.io.max.bytes.per.second"
_ALL = frozenset((-1,))


class ByteQuota:
    """The rate that a dynamic key of the broker allows, kept on the average of some samples, in monotonic time."""

    def __init__(self, rate_key: str, samples: int, sample_ms: float) -> None:
        self._rate_key = rate_key
        self._samples: deque[list[float]] = deque()  # [begin, bytes], oldest first
        self._most_samples = samples
        self._sample_ms = sample_ms
        self._bytes_per_second: int | None = None

    def set_rate(self, own: Mapping[str, str], default: Mapping[str, str]) -> None:
        """Take the broker's own dynamic configuration and the cluster's default."""
        text = own.get(self._rate_key) or default.get(self._rate_key)
        self._bytes_per_second = None if text is None else int(text)

    def record(self, size: int, now_ms: float) -> None:
        """So many bytes that the quota is about have come, or gone."""
        self._expire(now_ms)
        if not self._samples or now_ms - self._samples[-1][0] >= self._sample_ms:
            self._samples.append([now_ms, 0.0])
        self._samples[-1][1] += size

    def is_exceeded(self, now_ms: float) -> bool:
        if self._bytes_per_second is None:
            return False
        self._expire(now_ms)
        if not self._samples:
            return False
        elapsed_ms = max(now_ms - self._samples[0][0], self._sample_ms)
        return sum(size for _, size in self._samples) * 1000 / elapsed_ms > self._bytes_per_second

    def excess_ms(self, now_ms: float) -> float:
        """How long nothing may come until the rate is kept again; 0 where it is kept."""
        if self._bytes_per_second is None or not self.is_exceeded(now_ms):
            return 0.0
        whole_ms = self._most_samples * self._sample_ms  # after which everything is forgotten
        elapsed_ms = max(now_ms - self._samples[0][0], self._sample_ms)
        if self._bytes_per_second <= 0:
            return whole_ms
        needed_ms = sum(size for _, size in self._samples) * 1000 / self._bytes_per_second
        return min(needed_ms - elapsed_ms, whole_ms)

    def _expire(self, now_ms: float) -> None:
        while self._samples and now_ms - self._samples[0][0] >= self._most_samples * self._sample_ms:
            self._samples.popleft()


class ReplicationQuota(ByteQuota):
    """One side's quota on one broker, for the replicas that topics name."""

    def __init__(self, side: str, broker_id: int, samples: int, sample_ms: float) -> None:
        super().__init__(f"{side}.replication.throttled.rate", samples, sample_ms)
        self._replicas_key = f"{side}.replication.throttled.replicas"
        self._broker_id = broker_id
        self._throttled: dict[str, frozenset[int]] = {}  # partitions by topic

    @property
    def is_active(self) -> bool:
        return self._bytes_per_second is not None and bool(self._throttled)

    def set_topic(self, topic: str, config: Mapping[str, str]) -> None:
        """Take a topic's configuration; a topic that is gone has none."""
        text = config.get(self._replicas_key, "").strip()
        found = _ALL if text.startswith("*") else frozenset(_partitions(text, self._broker_id))
        if found:
            self._throttled[topic] = found
        else:
            self._throttled.pop(topic, None)

    def is_throttled(self, topic: str, index: int) -> bool:
        partitions = self._throttled.get(topic)
        return partitions is not None and (partitions is _ALL or index in partitions)


def _partitions(text: str, broker_id: int) -> list[int]:
    """Those of `partition:broker, ...` that are this broker's."""
    pairs = (entry.split(":") for entry in text.replace(" ", "").split(",") if entry)
    return [int(partition) for partition, id_ in pairs if int(id_) == broker_id]
