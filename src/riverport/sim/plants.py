"""Bugs that are put into the production code of this process, to see whether the simulation finds them."""

from collections.abc import Callable

PLANTS: dict[str, Callable[[], None]] = {}


def plant(name: str) -> None:
    """From now on, the production code of this process has this bug."""
    PLANTS[name]()
