"""How many partitions a client may create and delete per second (`controller_mutation_rate`, KIP-599).

Each client that a quota applies to has a bucket of tokens: it fills at the quota's rate, up to what comes in over
`controller.quota.window.num` samples of `controller.quota.window.size.seconds`, and every partition takes one. The
bucket may go below nothing, as one request may be larger than it; then nothing more is taken until it is level again.
"""

from typing import TYPE_CHECKING

from riverport.kafka.server.client_quotas import MAX_CLIENTS, limit_of
from riverport.kafka.server.request import Request
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

MUTATIONS = "controller_mutation_rate"


class Bucket:
    """Tokens of one client; it is full at first."""

    __slots__ = ("_filled_ms", "tokens")

    def __init__(self, burst: float, now_ms: float) -> None:
        self.tokens = burst
        self._filled_ms = now_ms

    def fill(self, rate: float, burst: float, now_ms: float) -> None:
        self.tokens = min(burst, self.tokens + rate * (now_ms - self._filled_ms) / 1000)
        self._filled_ms = now_ms

    def debt_ms(self, rate: float) -> int:
        """How long it takes until the bucket is level."""
        return max(round(-self.tokens / rate * 1000), 0)


class Charge:
    """What one request takes. `throttle_ms` is what its answer is to say.

    Clients that know the error are strict with: they get THROTTLING_QUOTA_EXCEEDED and pay nothing. Older ones get what
    they ask for, and are told to wait afterwards.
    """

    __slots__ = ("_bucket", "_burst", "_now_ms", "_rate", "_strict", "throttle_ms")

    def __init__(self, bucket: Bucket | None, rate: float, burst: float, now_ms: float, *, strict: bool) -> None:
        self._bucket = bucket
        self._rate = rate
        self._burst = burst
        self._now_ms = now_ms
        self._strict = strict
        self.throttle_ms = 0

    def __call__(self, partitions: int) -> None:
        """Raises ApiError THROTTLING_QUOTA_EXCEEDED."""
        bucket = self._bucket
        if bucket is None:
            return
        bucket.fill(self._rate, self._burst, self._now_ms)
        if self._strict and bucket.tokens < 0:
            self.throttle_ms = bucket.debt_ms(self._rate)
            raise ApiError(ErrorCode.THROTTLING_QUOTA_EXCEEDED, "The throttling quota has been exceeded.")
        bucket.tokens = min(self._burst, bucket.tokens - partitions)
        if not self._strict:
            self.throttle_ms = bucket.debt_ms(self._rate)


class MutationQuotas:
    """The buckets of the active controller."""

    def __init__(self, node: "Broker") -> None:
        self._node = node
        self._buckets: dict[tuple[tuple[str, str | None], ...], Bucket] = {}

    def charge(self, request: Request, *, strict_since: int) -> Charge:
        """For a request of a client; what a broker asks for by itself is free."""
        node, now_ms = self._node, self._node.clock.mono_ms()
        quotas, found = node.metadata.image.quotas, None
        if quotas and request.connection is not None:
            found = limit_of(quotas, MUTATIONS, request.connection.principal_name or "", request.client_id or "")
        if found is None:
            return Charge(None, 0, 0, now_ms, strict=False)
        rate, shared_by = found
        burst = rate * node.config["controller.quota.window.num"] * node.config["controller.quota.window.size.seconds"]
        # Taken out and put back: the first in the table is the one that was used longest ago.
        bucket = self._buckets.pop(shared_by, None) or Bucket(burst, now_ms)
        self._buckets[shared_by] = bucket
        if len(self._buckets) > MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return Charge(bucket, rate, burst, now_ms, strict=request.version >= strict_since)
