"""Chance behind an interface: cores draw from what they are given, so that a seed decides a whole run."""

import random
from typing import Protocol


class Rng(Protocol):
    """What cores need of `random.Random`. One for each purpose, so that a new draw never shifts the others."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int: ...
    def random(self) -> float: ...


def system_rng() -> Rng:
    """Seeded by the operating system."""
    return random.Random()


def seeded_rng(seed: int) -> Rng:
    return random.Random(seed)
