"""/etc/hosts and /etc/resolv.conf of a container, from the host's own files and what was asked for."""

from collections.abc import Iterable
from pathlib import Path

from riverport.engine.networks import files
from riverport.engine.networks.catalogue import Catalogue
from riverport.engine.networks.files import ResolvConf
from riverport.engine.networks.member import Member
from riverport.engine.networks.membership import Membership, legacy_links
from riverport.engine.networks.settings import NetworkSettings

_SYSTEMD_RESOLVED = "/run/systemd/resolve/resolv.conf"
"""What stands behind a resolv.conf that names only the stub 127.0.0.53 (systemd-resolved.service(8))."""


class Texts:
    """Reads the host's files anew each time: a laptop changes networks."""

    def __init__(self, settings: NetworkSettings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def hosts(self, membership: Membership, everybody: Iterable[Membership]) -> str:
        member = membership.member
        extra = files.extra_hosts(member.host_config.get("ExtraHosts") or (), self.host_gateways())
        if member.mode == "host":
            return files.host_network_hosts(_read(self._settings.hosts), extra)
        bridge = self._catalogue.named("bridge")
        if bridge is not None and member.host_config.get("Links"):
            by_name = {other.member.name: other for other in everybody}
            extra += legacy_links(member, by_name, bridge.id)
        addresses = [
            str(interface.ip) for endpoint in membership.endpoints.values() for interface in endpoint.addresses()
        ]
        return files.hosts_text(addresses, member.hostname, str(member.config.get("Domainname") or ""), extra)

    def resolv_conf(self, member: Member, *, embedded: bool) -> str:
        wanted = self._wanted(member)
        own = bool(self._own_servers(member))
        if member.mode == "host":
            return wanted.text()
        if embedded:
            return files.embedded_resolv_conf(wanted)
        if not own and wanted.nameservers and all(map(files.is_loopback, wanted.nameservers)):
            behind = files.parse_resolv_conf(_read(_SYSTEMD_RESOLVED))
            wanted = ResolvConf(behind.nameservers, wanted.search, wanted.options)
        return files.direct_resolv_conf(wanted, own)

    def upstream(self, member: Member) -> tuple[str, ...]:
        """Whom the embedded name server asks."""
        return self._wanted(member).nameservers

    def host_gateways(self) -> tuple[str, ...]:
        if self._settings.host_gateway:
            return self._settings.host_gateway
        bridge = self._catalogue.named("bridge")
        return tuple(bridge.gateways().values()) if bridge is not None else ()

    def _wanted(self, member: Member) -> ResolvConf:
        host = files.parse_resolv_conf(_read(self._settings.resolv_conf))
        return files.merged(
            host,
            self._own_servers(member),
            member.host_config.get("DnsSearch") or self._settings.dns_search,
            member.host_config.get("DnsOptions") or self._settings.dns_options,
        )

    def _own_servers(self, member: Member) -> tuple[str, ...]:
        return tuple(member.host_config.get("Dns") or self._settings.dns)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""
