"""Links of the default bridge (`--link NAME:ALIAS`), which containers learn of by variables and /etc/hosts (pure).

Docker's documentation, "Legacy container links": for every exposed port of the other container there are variables in
the style of Docker's first years, and each of its own variables comes again under the alias.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NOT_PASSED_ON = ("HOME", "PATH")


@dataclass(slots=True, frozen=True)
class Link:
    name: str  # of the other container, as it was written
    alias: str


def parse_link(text: str) -> Link:
    """`name:alias`, `name`, or what inspect shows, `/name:/parent/alias`."""
    name, colon, alias = text.partition(":")
    name = name.removeprefix("/")
    return Link(name, alias.rpartition("/")[2] if colon and alias else name)


def links_of(host_config: Mapping[str, Any]) -> list[Link]:
    if host_config["NetworkMode"] != "bridge":
        return []
    return [parse_link(text) for text in host_config["Links"] or ()]


def shown(links: Iterable[tuple[Link, str]], own_name: str) -> list[str] | None:
    """HostConfig.Links of inspect, from links and the names that their containers have now."""
    return [f"/{name}:/{own_name}/{link.alias}" for link, name in links] or None


def environment(link: Link, own_name: str, address: str, ports: Iterable[str], variables: Sequence[str]) -> list[str]:
    """`ports` and `variables` are the other container's ExposedPorts and Env."""
    alias = link.alias.upper().replace("-", "_")
    made: list[str] = []
    ordered = sorted((protocol != "tcp", protocol, int(port)) for port, _, protocol in _parts(ports))
    for place, (_, protocol, port) in enumerate(ordered):
        url = f"{protocol}://{address}:{port}"
        if place == 0:
            made.append(f"{alias}_PORT={url}")
        prefix = f"{alias}_PORT_{port}_{protocol.upper()}"
        made += [f"{prefix}={url}", f"{prefix}_ADDR={address}", f"{prefix}_PORT={port}", f"{prefix}_PROTO={protocol}"]
    made.append(f"{alias}_NAME=/{own_name}/{link.alias}")
    for entry in variables:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_PASSED_ON:
            made.append(f"{alias}_ENV_{name}={value}")
    return made


def _parts(ports: Iterable[str]) -> list[tuple[str, str, str]]:
    return [port.partition("/") for port in ports]
