"""The texts of /etc/hosts and /etc/resolv.conf of a container. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from riverport.engine.errors import InvalidParameter

_LOCAL: Final = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""

EMBEDDED: Final = "127.0.0.11"
HOST_GATEWAY: Final = "host-gateway"

_PUBLIC: Final = ("8.8.8.8", "8.8.4.4")
"""As Docker: what a container of the default bridge asks where the host itself has only resolvers on loopback."""


@dataclass(frozen=True, slots=True)
class ResolvConf:
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self, comment: str = "") -> str:
        lines = [f"# {comment}"] if comment else []
        lines += [f"nameserver {server}" for server in self.nameservers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "\n".join([*lines, ""])


def parse_resolv_conf(text: str) -> ResolvConf:
    """resolv.conf(5): the last `search` or `domain` counts, `options` add up; what is not understood is skipped."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = tuple(domains)
            case ["options", *more]:
                options += more
    return ResolvConf(tuple(servers), search, tuple(options))


def merged(
    host: ResolvConf, dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
) -> ResolvConf:
    """The container's own where it has any; a search of "." is none at all (docker run --dns-search)."""
    domains = tuple(domain for domain in search if domain != ".") if search else host.search
    return ResolvConf(tuple(dns) or host.nameservers, domains, tuple(options) or host.options)


def direct_resolv_conf(wanted: ResolvConf, own: bool) -> str:
    """For the default bridge: servers on the host's loopback are of no use in a container, unless it named them."""
    servers = wanted.nameservers if own else tuple(server for server in wanted.nameservers if not is_loopback(server))
    return ResolvConf(servers or _PUBLIC, wanted.search, wanted.options).text()


def embedded_resolv_conf(wanted: ResolvConf) -> str:
    """For other networks: the embedded server, which asks `wanted.nameservers` itself.

    `ndots:0`, so that a name without dots is asked as it stands first: names of containers have none.
    """
    options = wanted.options
    if not any(option.startswith("ndots:") for option in options):
        options = (*options, "ndots:0")
    return ResolvConf((EMBEDDED,), wanted.search, options).text()


def hosts_text(addresses: Iterable[str], hostname: str, domainname: str, extra: Iterable[tuple[str, str]]) -> str:
    """`addresses` are the container's own; `extra` is (address, names)."""
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines = [f"{address}\t{name}\n" for address, name in extra]
    lines += [f"{address}\t{names}\n" for address in addresses]
    return _LOCAL + "".join(lines)


def host_network_hosts(host_text: str, extra: Iterable[tuple[str, str]]) -> str:
    """In the host's own network: the host's file and what --add-host says."""
    lines = [f"{address}\t{name}\n" for address, name in extra]
    return host_text + ("" if host_text.endswith("\n") or not host_text else "\n") + "".join(lines)


def extra_hosts(given: Iterable[str], gateways: Sequence[str]) -> list[tuple[str, str]]:
    """(address, name) of NAME:ADDRESS entries; `host-gateway` stands for all of `gateways`. Raises InvalidParameter."""
    entries: list[tuple[str, str]] = []
    for text in given:
        # An IPv6 address holds colons, a name none.
        name, colon, address = text.partition(":")
        if not colon:
            name, _, address = text.partition("=")
        if not name or not address:
            raise InvalidParameter(f'bad format for add-host: "{text}"')
        if address == HOST_GATEWAY:
            if not gateways:
                raise InvalidParameter("unable to derive the IP value for host-gateway")
            entries += [(gateway, name) for gateway in gateways]
            continue
        try:
            entries.append((str(ipaddress.ip_address(address.strip("[]"))), name))
        except ValueError as error:
            raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from error
    return entries


def is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
