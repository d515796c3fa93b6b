"""One place in a container and what is mounted there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

BIND: Final = "bind"
IMAGE: Final = "image"
TMPFS: Final = "tmpfs"
VOLUME: Final = "volume"


@dataclass(slots=True, frozen=True)
class MountPoint:
    """What was asked for; with `name` and `source` once a volume is claimed for it."""

    type: str
    destination: str  # absolute and normal: no `.`, `..`, trailing slash
    source: str = ""  # a path on the host; a volume's is known once it is claimed; of an image, its reference
    name: str = ""  # of the volume; empty in a plan for one that gets a name of its own
    driver: str = ""
    mode: str = ""  # as the client wrote it: Docker shows it again
    writable: bool = True
    propagation: str = ""  # empty: rprivate
    anonymous: bool = False  # goes with the container if that is removed with its volumes
    copies: bool = False  # an empty volume gets what the image has at the destination
    creates: bool = False  # a missing directory of the host is made
    subpath: str = ""  # of the volume or image
    is_recursive: bool = True  # mounts below the source come along
    read_only_recursive: bool = True  # … and are read-only too; as far as the kernel can
    must_read_only_recursive: bool = False
    options: str = ""  # of a tmpfs, comma-separated
    is_listed: bool = True  # in an inspection's Mounts; --tmpfs is not
    labels: Mapping[str, str] = field(default_factory=dict)  # of the volume, if it is made for this
    driver_options: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For the state; `from_document` is the way back."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "MountPoint":
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in document.items() if key in known})

    def inspected(self) -> dict[str, Any]:
        """As an entry of `Mounts` in a container's inspection."""
        shown: dict[str, Any] = {"Type": self.type}
        if self.name:
            shown["Name"] = self.name
        shown |= {"Source": self.source, "Destination": self.destination}
        if self.driver:
            shown["Driver"] = self.driver
        return shown | {"Mode": self.mode, "RW": self.writable, "Propagation": self._shown_propagation()}

    def _shown_propagation(self) -> str:
        return self.propagation or ("rprivate" if self.type == BIND else "")
