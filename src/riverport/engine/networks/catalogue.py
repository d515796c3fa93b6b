"""All networks: looked up, and kept in the engine's memory."""

import ipaddress
import secrets
from collections.abc import Iterator
from typing import Any, Final

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.networks.network import Network
from riverport.engine.state import State

Json = dict[str, Any]
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_KIND: Final = "networks"


class Catalogue:
    def __init__(self, state: State) -> None:
        self._state = state
        self._networks = {
            key: Network(stored["document"], adopted=stored["adopted"]) for key, stored in state.load(_KIND).items()
        }

    def __iter__(self) -> Iterator[Network]:
        return iter(list(self._networks.values()))

    def get(self, network_id: str) -> Network | None:
        return self._networks.get(network_id)

    def named(self, name: str) -> Network | None:
        return next((network for network in self._networks.values() if network.name == name), None)

    def find(self, reference: str) -> Network:
        """By full id, then name, then a unique prefix of an id. Raises NotFound, InvalidParameter if ambiguous."""
        found = self._networks.get(reference) or self.named("bridge" if reference == "default" else reference)
        if found is not None:
            return found
        matches = [network for key, network in self._networks.items() if reference and key.startswith(reference)]
        if len(matches) > 1:
            raise InvalidParameter(
                f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)"
            )
        if not matches:
            raise NotFound(f"network {reference} not found")
        return matches[0]

    def record(self, network: Network) -> None:
        """Write its document, and show it to nobody yet."""
        self._state.save(_KIND, network.id, {"document": network.document, "adopted": network.adopted})

    def add(self, network: Network) -> None:
        self.record(network)
        self._networks[network.id] = network

    def hide(self, network: Network) -> None:
        """From now on nobody finds it; its document stays until `forget`, for the case that we are killed between."""
        self._networks.pop(network.id, None)

    def forget(self, network: Network) -> None:
        self.hide(network)
        self._state.delete(_KIND, [network.id])

    def subnets(self) -> dict[str, list[IpNetwork]]:
        """Of every network that has some, by name."""
        return {network.name: [subnet.network for subnet in network.subnets] for network in self if network.subnets}


def new_id() -> str:
    return secrets.token_hex(32)
