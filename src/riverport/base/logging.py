"""Structured logging: one constant sentence plus fields, on the standard library's logging.

    log = get_logger(__name__)
    log.info("leader changed", partition=p, epoch=e)

prints ``2026-01-31 12:00:00,000 INFO leader changed partition=orders-0 epoch=4 (riverport.kafka.replica)``.
The sentence is constant so that it can be searched and counted; what varies is in the fields.
"""

import logging
import sys
from typing import Any, TextIO


class FieldLogger:
    """A thin front of one `logging.Logger`; fields are formatted only when the level is on."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, sentence: str, **fields: Any) -> None:
        self._log(logging.DEBUG, sentence, fields)

    def info(self, sentence: str, **fields: Any) -> None:
        self._log(logging.INFO, sentence, fields)

    def warning(self, sentence: str, **fields: Any) -> None:
        self._log(logging.WARNING, sentence, fields)

    def error(self, sentence: str, **fields: Any) -> None:
        self._log(logging.ERROR, sentence, fields)

    def exception(self, sentence: str, **fields: Any) -> None:
        """As `error`, with the traceback of the exception being handled."""
        self._log(logging.ERROR, sentence, fields, exc_info=True)

    def is_enabled(self, level: int) -> bool:
        return self._logger.isEnabledFor(level)

    def _log(self, level: int, sentence: str, fields: dict[str, Any], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            text = " ".join([sentence, *(f"{key}={_shown(value)}" for key, value in fields.items())])
            self._logger.log(level, "%s", text, exc_info=exc_info)


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or "\n" in text else text


def get_logger(name: str) -> FieldLogger:
    """The logger of a module: `get_logger(__name__)`."""
    return FieldLogger(logging.getLogger(name))


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send everything of `level` and above to `stream` (standard error by default), once per process."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s (%(name)s)"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
