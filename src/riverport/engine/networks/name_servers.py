"""The name servers of all containers that have one, and the directory that they answer from."""

from collections.abc import Callable, Mapping, Sequence

from riverport.engine.networks.membership import Membership, asker, directory_entry
from riverport.engine.networks.name_server import NameServer, Sockets
from riverport.engine.networks.names import Directory
from riverport.engine.networks.network import Network
from riverport.engine.networks.texts import Texts

NetworksOf = Callable[[Membership], Mapping[str, Network]]


class NameServers:
    def __init__(self, texts: Texts, networks_of: NetworksOf) -> None:
        self._texts = texts
        self._networks_of = networks_of
        self._directory = Directory()
        self._servers: dict[str, NameServer] = {}

    def is_needed(self, membership: Membership) -> bool:
        return any(network.has_names for network in self._networks_of(membership).values())

    def has(self, container_id: str) -> bool:
        return container_id in self._servers

    def enter(self, membership: Membership, network: Network) -> None:
        """The container is found by its names in that network, and by no others that it had there."""
        if network.has_names:
            entry = directory_entry(membership, membership.endpoints[network.id])
            self._directory.add(network.id, network.name, entry)

    def withdraw(self, container_id: str, network: Network) -> None:
        self._directory.remove(network.id, container_id)

    async def serve(self, membership: Membership, sockets: Sockets) -> None:
        def upstream() -> Sequence[str]:
            networks = self._networks_of(membership).values()
            if networks and all(network.internal for network in networks):
                return ()  # nothing leads out of an internal network, questions included
            return self._texts.upstream(membership.member)

        server = NameServer(self._directory, asker(membership, self._networks_of(membership)), upstream)
        await server.serve(sockets)
        self._servers[membership.member.id] = server

    def refresh(self, membership: Membership) -> None:
        """Its networks have changed."""
        server = self._servers.get(membership.member.id)
        if server is not None:
            server.asker = asker(membership, self._networks_of(membership))

    def stop(self, container_id: str) -> None:
        server = self._servers.pop(container_id, None)
        if server is not None:
            server.close()

    def close(self) -> None:
        for container_id in list(self._servers):
            self.stop(container_id)
