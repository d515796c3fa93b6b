"""One network: its document, its subnets, and the addresses of its endpoints. Pure."""

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from riverport.engine.errors import Forbidden, InvalidParameter
from riverport.engine.networks import ipam
from riverport.engine.networks.endpoint import Endpoint, ipam_wish
from riverport.engine.networks.firewall import BridgeRules
from riverport.engine.networks.options import PREDEFINED, Options, read_ipam, read_options, subnets_of

Json = dict[str, Any]

_WITH_ADDRESSES: Final = ("bridge", "macvlan")


class Network:
    """Made anew from the document at each start; `endpoints` are those of containers that run, by container id."""

    def __init__(self, document: Json, *, adopted: bool = False) -> None:
        self.document = document
        self.adopted = adopted  # its bridge was there before it, and stays after it
        self.options: Options = read_options(self.driver, self.id, document["Options"] or {})
        asked = [] if self.config_only else read_ipam(document["IPAM"]["Config"])
        self.subnets: list[ipam.Subnet] = subnets_of(asked, self.options.isolated)
        self.endpoints: dict[str, Endpoint] = {}

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def name(self) -> str:
        return str(self.document["Name"])

    @property
    def driver(self) -> str:
        return str(self.document["Driver"])

    @property
    def internal(self) -> bool:
        return bool(self.document["Internal"])

    @property
    def labels(self) -> dict[str, str]:
        return self.document["Labels"] or {}

    @property
    def config_only(self) -> bool:
        """A pattern for other networks, which containers cannot join."""
        return bool(self.document["ConfigOnly"])

    @property
    def pattern(self) -> str:
        """The name of the configuration-only network that this one was made from; "" if from none."""
        return str(self.document["ConfigFrom"]["Network"])

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    @property
    def has_addresses(self) -> bool:
        return self.driver in _WITH_ADDRESSES

    @property
    def has_names(self) -> bool:
        """Whether containers find each other by name: everywhere but in the predefined networks."""
        return not self.predefined

    def gateways(self) -> dict[int, str]:
        """By IP version; none in an internal network, out of which nothing leads."""
        if self.internal:
            return {}
        found: dict[int, str] = {}
        for subnet in self.subnets:
            if subnet.gateway is not None:
                found.setdefault(subnet.version, str(subnet.gateway))
        return found

    def bridge_addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """What the bridge itself has: every subnet's gateway is this host, in an internal network too.

        Unless the network is isolated: then a gateway that somebody named is another machine.
        """
        return [
            ipaddress.ip_interface(f"{subnet.gateway}/{subnet.network.prefixlen}")
            for subnet in self.subnets
            if subnet.gateway is not None and subnet.version not in self.options.isolated
        ]

    def rules(self) -> BridgeRules:
        return BridgeRules(
            bridge=self.options.bridge,
            subnets=tuple(subnet.network for subnet in self.subnets),
            internal=self.internal,
            masquerade=self.options.masquerade,
            icc=self.options.icc,
            modes=self.options.gateway_modes,
        )

    def check_wishes(self, settings: Json) -> None:
        """Raises InvalidParameter for an address that no subnet holds, Forbidden where nobody may join."""
        if self.config_only:
            raise Forbidden("cannot create endpoint on configuration-only network")
        for version, key in ((4, "IPv4Address"), (6, "IPv6Address")):
            wish = ipam_wish(settings, key)
            if wish and not any(ipaddress.ip_address(wish) in subnet.network for subnet in self._of(version)):
                raise InvalidParameter(f"invalid endpoint settings:\nno configured subnet contains IP address {wish}")

    def take_addresses(self, settings: Json) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """One of each version the network has; those asked for, else the next. All or none."""
        taken: list[ipaddress.IPv4Interface | ipaddress.IPv6Interface] = []
        try:
            for version, key in ((4, "IPv4Address"), (6, "IPv6Address")):
                subnets = self._of(version)
                if not subnets:
                    continue
                wish = ipam_wish(settings, key)
                if wish:
                    address = ipaddress.ip_address(wish)
                    ipam.claim(subnets, address)
                else:
                    address = ipam.choose(subnets, self.name, list(self.endpoints))
                length = next(subnet.network.prefixlen for subnet in subnets if address in subnet.network)
                taken.append(ipaddress.ip_interface(f"{address}/{length}"))
        except BaseException:
            self.give_back(taken)
            raise
        return taken

    def give_back(self, interfaces: Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface]) -> None:
        for interface in interfaces:
            for subnet in self.subnets:
                if interface.ip in subnet.network:
                    subnet.release(interface.ip)

    def readmit(self, container_id: str, endpoint: Endpoint) -> None:
        """An endpoint from before a restart, with the addresses that it has."""
        for interface in endpoint.addresses():
            for subnet in self.subnets:
                if interface.ip in subnet.network:
                    subnet.claim(interface.ip)
        self.endpoints[container_id] = endpoint

    def _of(self, version: int) -> list[ipam.Subnet]:
        return [subnet for subnet in self.subnets if subnet.version == version]
