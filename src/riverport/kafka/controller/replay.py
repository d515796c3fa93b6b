"""Replay of the metadata log into an image, with its transactions (KIP-866, KIP-868).

Records between a BeginTransaction and its EndTransaction take effect together; an AbortTransaction drops them. So an
image never shows half of what the controller meant to do at once.
"""

from typing import Any

from riverport.kafka.controller.image import MetadataDelta, MetadataImage


class Replayer:
    """Feeds one image. `transaction_offset` is where the open transaction began, -1 outside of any."""

    def __init__(self, image: MetadataImage) -> None:
        self.image = image
        self.transaction_offset = -1
        self._held: list[tuple[Any, int]] = []

    def apply(self, record: Any, delta: MetadataDelta, offset: int) -> None:
        """Raises WireError for a record that cannot be replayed."""
        match type(record).__name__:
            case "BeginTransactionRecord":
                self.transaction_offset = offset
                self._held.clear()
            case "EndTransactionRecord":
                for held, at in self._held:
                    self.image.apply(held, delta, at)
                self._close()
            case "AbortTransactionRecord":
                self._close()
            case _ if self.transaction_offset >= 0:
                self._held.append((record, offset))
            case _:
                self.image.apply(record, delta, offset)

    def _close(self) -> None:
        self.transaction_offset = -1
        self._held.clear()
