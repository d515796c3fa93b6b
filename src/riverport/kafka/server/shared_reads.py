"""What one follower has just been sent is what the next one wants: it is read once.

Followers of a partition are level with its leader nearly all the time, so they ask for the same bytes within a
millisecond. What was read last of each log is kept until all of it together is too much.
"""

from typing import Any

from riverport.kafka.log import Isolation, Log

MAX_BYTES = 1 << 20


class SharedReads:
    """Reads of leaders' logs to their ends."""

    def __init__(self) -> None:
        self._kept: dict[Log, tuple[tuple[int, int, int], bytes]] = {}  # (offset, log end, truncations), records
        self._size = 0

    def read(self, log: Log, offset: int, max_bytes: int, min_one: bool) -> Any:
        """As `Log.read` to send, committed or not. Raises what that raises."""
        what = (offset, log.log_end_offset, log.truncations)
        kept = self._kept.get(log)
        if kept is not None and kept[0] == what and len(kept[1]) <= max_bytes:
            return kept[1]
        info = log.read(offset, max_bytes, isolation=Isolation.LOG_END, min_one=min_one, to_send=True)
        records = info.records
        if type(records) is bytes and records:
            self._size += len(records)
            if self._size > MAX_BYTES:
                self._kept.clear()
                self._size = len(records)
            self._kept[log] = (what, records)
        return records
