"""Levels of this process's loggers, in the words that Kafka's admin tools use (KIP-412).

Python's logging has no TRACE and calls FATAL critical; a level without a name of its own is shown as the next lower one
that has.
"""

import logging
from collections.abc import Mapping

from riverport.kafka.admin.loggers import ROOT

PACKAGE = "riverport"
_LEVELS = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}


def levels() -> dict[str, str]:
    """The level in effect of the root logger and of every logger of ours."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == PACKAGE]
    found = {name: _word(logging.getLogger(name).getEffectiveLevel()) for name in sorted(names)}
    return {ROOT: _word(logging.root.level), **found}


def change(changes: Mapping[str, str | None]) -> None:
    """Set levels by logger; None lets a logger follow its parent again."""
    for name, level in changes.items():
        logger = logging.root if name == ROOT else logging.getLogger(name)
        logger.setLevel(logging.NOTSET if level is None else _LEVELS[level])


def _word(level: int) -> str:
    return next((word for word in reversed(_LEVELS) if _LEVELS[word] <= level), "TRACE")
