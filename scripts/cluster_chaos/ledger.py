"""Every record that was sent, what was acknowledged and where, and how long a partition was silent."""

import threading
import time
from collections import defaultdict


class Ledger:
    """Written by the producers' threads, read by the one that makes faults."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.acked: dict[str, list[dict[int, int]]] = defaultdict(lambda: [{} for _ in range(partitions)])
        """By producer and partition: number -> offset."""
        self.refused: list[str] = []
        self._changed = threading.Condition()
        self._last_ack = [time.monotonic()] * partitions
        self._longest = [0.0] * partitions
        self._newest_sent = [0.0] * partitions  # when the newest record that is acknowledged was sent

    @property
    def acknowledged(self) -> int:
        return sum(len(numbers) for by_partition in self.acked.values() for numbers in by_partition)

    def ack(self, producer: str, partition: int, number: int, offset: int, sent: float) -> None:
        now = time.monotonic()
        with self._changed:
            self.acked[producer][partition][number] = offset
            self._longest[partition] = max(self._longest[partition], now - self._last_ack[partition])
            self._last_ack[partition] = now
            self._newest_sent[partition] = max(self._newest_sent[partition], sent)
            self._changed.notify_all()

    def refuse(self, producer: str, partition: int, number: int, error: object) -> None:
        with self._changed:
            self.refused.append(f"{producer} {partition}/{number}: {error}")

    def listen(self) -> None:
        """From now on silences are measured anew."""
        with self._changed:
            self._longest = [0.0] * self.partitions

    def silence(self, partition: int) -> float:
        """The longest time between two acknowledgements since `listen`, in seconds."""
        with self._changed:
            return self._longest[partition]

    def wait_for_progress(self, since: float, timeout: float) -> list[int]:
        """Until records sent after `since` are acknowledged in every partition; the partitions where none was."""

        def silent() -> list[int]:
            return [partition for partition, sent in enumerate(self._newest_sent) if sent <= since]

        with self._changed:
            self._changed.wait_for(lambda: not silent(), timeout)
            return silent()
