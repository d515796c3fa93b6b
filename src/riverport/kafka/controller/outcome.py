"""What a decision of the controller is: records to write, and the answer once they are committed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ConfigCheck = Callable[[int, str, dict[str, str]], str | None]
"""(resource type, name, values) -> what is wrong with the values, None where nothing is."""


Charge = Callable[[int], None]
"""Told of partitions that are to be made or deleted. Raises ApiError THROTTLING_QUOTA_EXCEEDED (KIP-599)."""


def free_of_charge(partitions: int) -> None:
    """A `Charge` for whom no quota applies to."""


@dataclass(slots=True)
class Outcome:
    """`records` are metadata record objects in the order of their writing; an empty list writes nothing."""

    response: Any
    records: list[Any] = field(default_factory=list)
    control: list[Any] = field(default_factory=list)  # records of the quorum's own, written before the others
