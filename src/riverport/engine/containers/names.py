"""Names of containers, and finding one by id, name or a prefix of its id.

A full id wins over a name, a name over a prefix, and a prefix must be unique (moby, "container look-up").
"""

import re
from collections.abc import Callable, Iterator

from riverport.engine.errors import Conflict, InvalidParameter, NotFound

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_FULL_ID = 64

_LEFT = (
    "amber",
    "ample",
    "brave",
    "breezy",
    "bright",
    "calm",
    "clear",
    "coastal",
    "copper",
    "distant",
    "eager",
    "early",
    "fair",
    "fluent",
    "foggy",
    "gentle",
    "glad",
    "golden",
    "hazy",
    "keen",
    "kind",
    "late",
    "level",
    "lively",
    "loyal",
    "mellow",
    "mighty",
    "misty",
    "noble",
    "open",
    "patient",
    "placid",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "robust",
    "salty",
    "serene",
    "silver",
    "sleek",
    "steady",
    "still",
    "sturdy",
    "sunny",
    "swift",
    "tidal",
    "tidy",
    "upbeat",
    "vivid",
    "warm",
    "wide",
    "wild",
    "windy",
    "wise",
)
_RIGHT = (
    "anchor",
    "barge",
    "basin",
    "beacon",
    "berth",
    "bollard",
    "bow",
    "breeze",
    "bridge",
    "buoy",
    "canal",
    "captain",
    "channel",
    "compass",
    "cove",
    "crane",
    "creek",
    "current",
    "delta",
    "dock",
    "ferry",
    "fjord",
    "galley",
    "gull",
    "harbour",
    "haven",
    "heron",
    "hull",
    "inlet",
    "island",
    "jetty",
    "kayak",
    "keel",
    "lagoon",
    "lantern",
    "levee",
    "lock",
    "mast",
    "mooring",
    "oar",
    "otter",
    "pelican",
    "pier",
    "pilot",
    "quay",
    "raft",
    "reef",
    "river",
    "rudder",
    "sail",
    "schooner",
    "shoal",
    "shore",
    "sloop",
    "spring",
    "stern",
    "strait",
    "tide",
    "tiller",
    "tug",
    "wharf",
)


def check_name(name: str) -> str:
    """The name without its slash; raises InvalidParameter."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def generate_name(choose: Callable[[int], int], taken: Callable[[str], bool]) -> str:
    """Two words, and a number where they are taken; `choose(n)` draws one of 0..n-1."""
    attempts = 6
    for _ in range(attempts):
        name = f"{_LEFT[choose(len(_LEFT))]}_{_RIGHT[choose(len(_RIGHT))]}"
        if not taken(name):
            return name
    while taken(numbered := f"{name}{choose(1_000_000)}"):
        pass
    return numbered


class Index:
    """Who has which name. A name stays reserved until it is released, also while its container is being made."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}  # name -> id
        self._ids: dict[str, None] = {}  # of finished containers, in the order of their making

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def owner(self, name: str) -> str | None:
        return self._owners.get(name.removeprefix("/"))

    def reserve(self, name: str, container_id: str) -> str:
        """Raises Conflict where the name is another's."""
        name = check_name(name)
        owner = self._owners.setdefault(name, container_id)
        if owner != container_id:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return name

    def release(self, name: str, container_id: str) -> None:
        if self._owners.get(name) == container_id:
            del self._owners[name]

    def add(self, container_id: str) -> None:
        self._ids[container_id] = None

    def discard(self, container_id: str) -> None:
        self._ids.pop(container_id, None)

    def find(self, reference: str) -> str:
        """The id; raises NotFound, or InvalidParameter where a prefix fits several."""
        if reference in self._ids:
            return reference
        owner = self.owner(reference)
        if owner is not None and owner in self._ids:
            return owner
        matches = [key for key in self._ids if key.startswith(reference)] if 0 < len(reference) < _FULL_ID else []
        if len(matches) > 1:
            raise InvalidParameter(f"multiple IDs found with provided prefix: {reference}")
        if not matches:
            raise NotFound(f"No such container: {reference}")
        return matches[0]
