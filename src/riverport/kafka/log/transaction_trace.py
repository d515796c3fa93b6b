"""Transactions as the cleaner meets them on its way through a log: which batches were aborted, which markers may go.

A marker stays until a cleaning meets none of its transaction's batches any more; that cleaning gives it a delete
horizon (KIP-534), and one after the horizon drops it. Until then readers who are within the transaction find its end.
"""

from collections.abc import Iterable

from riverport.kafka.log.transactions import AbortedTransaction
from riverport.kafka.records.batch import BatchHeader
from riverport.kafka.records.control import ControlType


class TransactionTrace:
    """Fed with every batch, in order. `kept` are the aborted transactions whose markers stay, for the new index."""

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        """`aborted` are the log's aborted transactions, all that end in what is going to be read."""
        self._ahead = sorted(aborted, key=lambda entry: -entry[1])  # the one that begins first is at the end
        self._aborted: dict[int, AbortedTransaction] = {}  # by producer id
        self._aborted_with_data: set[int] = set()
        self._committed_with_data: set[int] = set()
        self.kept: list[AbortedTransaction] = []

    def is_aborted(self, header: BatchHeader) -> bool:
        """Whether a data batch belongs to an aborted transaction."""
        self._advance(header.last_offset)
        if not header.is_transactional:
            return False
        if header.producer_id in self._aborted:
            self._aborted_with_data.add(header.producer_id)
            return True
        self._committed_with_data.add(header.producer_id)
        return False

    def is_spent(self, header: BatchHeader, kind: ControlType | None) -> bool:
        """Whether a control batch has nothing left to end; `kind` is None for one without a record."""
        self._advance(header.last_offset)
        producer_id = header.producer_id
        if header.count == 0:
            return True
        if kind is ControlType.ABORT:
            ended = self._aborted.pop(producer_id, None)
            if producer_id not in self._aborted_with_data:
                return True
            self._aborted_with_data.discard(producer_id)
            if ended is not None:
                self.kept.append(ended)
            return False
        if kind is ControlType.COMMIT:
            if producer_id not in self._committed_with_data:
                return True
            self._committed_with_data.discard(producer_id)
        return False

    def _advance(self, offset: int) -> None:
        while self._ahead and self._ahead[-1][1] <= offset:
            entry = self._ahead.pop()
            self._aborted.setdefault(entry[2], entry)
