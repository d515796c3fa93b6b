"""The one exception that records raise: bytes that are not records, or records that may not be stored."""

from collections.abc import Sequence

from riverport.kafka.wire.errors import ApiError, ErrorCode

RecordFault = tuple[int, str]
"""(index of the record within the batch that was sent, what is wrong with it)."""


class RecordError(ApiError):
    """Records that cannot be read or may not be stored.

    `code` is CORRUPT_MESSAGE where the bytes are damaged, else what Kafka answers to a producer who sent them.
    `record_errors` names the records at fault where single ones are (a Produce response v8+ carries them, KIP-467).
    """

    def __init__(self, code: ErrorCode, message: str, record_errors: Sequence[RecordFault] = ()) -> None:
        super().__init__(code, message)
        self.record_errors = list(record_errors)


def corrupt(message: str) -> RecordError:
    """The bytes are damaged: a batch that cannot be told apart from noise."""
    return RecordError(ErrorCode.CORRUPT_MESSAGE, message)


def invalid(message: str) -> RecordError:
    """The batch is whole, but what it says about its records is not so."""
    return RecordError(ErrorCode.INVALID_RECORD, message)
