"""What a daemon is told at its start; one dataclass, because every part reads some of it."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Settings:
    """Paths are absolute."""

    data_root: Path = Path("/var/lib/riverport/engine")
    exec_root: Path = Path("/run/riverport/engine")
    hosts: tuple[str, ...] = ("unix:///run/riverport/docker.sock",)
    runtime: str = "crun"
    """The OCI runtime: a name looked for in PATH, or a path."""
    cgroup_parent: str = "/docker"
    """Containers are made in <cgroup_parent>/<id>."""
    default_address_pools: tuple[tuple[str, int], ...] = ()
    """(base, prefix length of a network); empty: Docker's own, less what the host routes."""
    registry_mirrors: tuple[str, ...] = ()
    """Asked instead of docker.io, in this order."""
    insecure_registries: tuple[str, ...] = ()
    """HOST[:PORT] or a CIDR: plain HTTP and unverified certificates are accepted. 127/8 and localhost always are."""
    labels: dict[str, str] = field(default_factory=dict)
