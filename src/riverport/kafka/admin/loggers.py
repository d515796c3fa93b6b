"""Log levels as configurations of a BROKER_LOGGER resource (KIP-412). They last as long as the process."""

from collections.abc import Collection, Iterable
from typing import Final

from riverport.kafka.admin.resources import Operation
from riverport.kafka.wire.errors import ApiError, ErrorCode

ROOT: Final = "root"
LEVELS: Final = ("DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN")


def changes_of(entries: Iterable[tuple[str, int, str | None]], known: Collection[str]) -> dict[str, str | None]:
    """New levels by logger, None to follow the parent again; entries are (logger, operation, level).

    Raises ApiError.
    """
    changes: dict[str, str | None] = {}
    for logger, operation, level in entries:
        if operation not in (Operation.SET, Operation.DELETE):
            words = f"{_name(operation)} is not allowed for the BROKER_LOGGER resource"
            raise ApiError(ErrorCode.INVALID_REQUEST, words)
        if logger not in known:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Logger {logger} does not exist!")
        if operation == Operation.DELETE:
            if logger == ROOT:
                raise ApiError(ErrorCode.INVALID_REQUEST, "Removing the log level of the root logger is not allowed")
            changes[logger] = None
        elif level not in LEVELS:
            raise ApiError(
                ErrorCode.INVALID_CONFIG,
                f"Cannot set the log level of {logger} to {level} as it is not a supported log level. "
                f"Valid log levels are {', '.join(LEVELS)}",
            )
        else:
            changes[logger] = level
    return changes


def _name(operation: int) -> str:
    if operation in (Operation.APPEND, Operation.SUBTRACT):
        return f"{Operation(operation).name} operation"
    return f"Unknown operation type {operation}"
