"""Where a registry is reached: mirrors before docker.io, plain HTTP where that is allowed."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from riverport.engine.images.reference import DEFAULT_DOMAIN

DOCKER_HUB_HOST: Final = "registry-1.docker.io"
"""The name that images go by is not the host that has them."""
DOCKER_HUB_LOGIN: Final = "https://index.docker.io/v1/"
"""What clients file their password for docker.io under."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    url: str
    """Scheme, host and port, and a mirror's path; no slash at the end."""
    verify: bool = True
    is_mirror: bool = False

    @property
    def is_plain(self) -> bool:
        return self.url.startswith("http://")


def endpoints(domain: str, mirrors: Sequence[str], insecure: Sequence[str], push: bool = False) -> list[Endpoint]:
    """To be tried in this order. Mirrors are read from only, and of docker.io only.

    An insecure registry is asked in plain HTTP first: a registry that wants TLS refuses that before anything secret was
    said.
    """
    if domain == DEFAULT_DOMAIN:
        found = [] if push else [Endpoint(mirror.rstrip("/"), is_mirror=True) for mirror in map(_with_scheme, mirrors)]
        return [*found, Endpoint(f"https://{DOCKER_HUB_HOST}")]
    if is_insecure(domain, insecure):
        return [Endpoint(f"http://{domain}"), Endpoint(f"https://{domain}", verify=False)]
    return [Endpoint(f"https://{domain}")]


def is_insecure(domain: str, insecure: Sequence[str]) -> bool:
    """Whether `domain` (HOST[:PORT]) is on this machine, or one of `insecure`: HOST[:PORT] or a CIDR."""
    host = _host_of(domain)
    if host == "localhost" or domain in insecure or host in insecure:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _networks(insecure))


def _networks(texts: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            continue  # a name
    return found


def _host_of(domain: str) -> str:
    if domain.startswith("["):
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0]


def _with_scheme(mirror: str) -> str:
    return mirror if "://" in mirror else f"https://{mirror}"
