"""Published ports of containers that have joined: held on the host, open in the firewall, and following the way out."""

from collections.abc import Callable

from riverport.engine.errors import SystemFailure
from riverport.engine.networks.gate import Gate
from riverport.engine.networks.membership import Membership, publish_target
from riverport.engine.networks.network import Network
from riverport.engine.networks.ports import Ports, Target
from riverport.engine.networks.publish import Binding, wanted_bindings

NetworksOf = Callable[[Membership], dict[str, Network]]


class Publications:
    """What is published stands in `Membership.bindings`; the caller saves it."""

    def __init__(self, gate: Gate, ports: Ports, default_address: str, networks_of: NetworksOf) -> None:
        self._gate = gate
        self._ports = ports
        self._default_address = default_address
        self._networks_of = networks_of

    def reserve(self, membership: Membership) -> None:
        """Take the ports; nothing leads to the container yet. Raises SystemFailure in Docker's words."""
        member = membership.member
        wanted = wanted_bindings(member.config, member.host_config)
        try:
            membership.bindings = self._ports.reserve(wanted, self._target(membership))
        except SystemFailure as error:
            first = next(iter(membership.endpoints.values()))
            raise SystemFailure(
                "failed to set up container networking: driver failed programming external connectivity on endpoint "
                f"{member.name} ({first.id}): {error}"
            ) from error

    def open(self, membership: Membership) -> None:
        self._gate.publish(membership.bindings)

    def shut(self, membership: Membership) -> None:
        """Nothing leads to the container any more; its ports are still held."""
        self._gate.unpublish(membership.bindings)

    def release(self, membership: Membership) -> None:
        self._ports.release(membership.bindings)

    def hold_again(self, membership: Membership) -> None:
        """After a restart of the daemon; the firewall is built anew from all of them."""
        self._ports.hold_again(membership.bindings)

    def follow(self, membership: Membership) -> bool:
        """The way out may lead through another network now: ports go with it, and keep their numbers.

        Whether anything has changed.
        """
        target = self._target(membership)
        old = membership.bindings
        if any(entry.version in target.addresses and entry.routed != (entry.version in target.routed) for entry in old):
            # Ports of the host are none in a routed network: there is no number to keep.
            self.shut(membership)
            self.release(membership)
            membership.bindings = old = []
        if not old:
            self.reserve(membership)
            self.open(membership)
            return True
        new = [
            Binding(entry.protocol, entry.port, entry.host_ip, entry.host_port, target.addresses[entry.version])
            for entry in old
            if entry.version in target.addresses
        ]
        if new == old:
            return False
        membership.bindings = new
        self._gate.unpublish(old)
        self._gate.publish(new)
        self._ports.release([entry for entry in old if entry.version not in target.addresses])
        return True

    def close(self) -> None:
        """The daemon ends; what is published stays so."""
        self._ports.close()

    def _target(self, membership: Membership) -> Target:
        return publish_target(membership, self._networks_of(membership), self._default_address)
