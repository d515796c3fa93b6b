"""The firewall's table in the kernel, kept as `firewall.py` writes it.

Somebody may empty it under us (`nft flush ruleset`, a reload of the machine's own firewall). A change that then fails
is answered by building the whole table anew from what the engine knows, so callers change that first.
"""

from collections.abc import Callable, Iterable, Sequence

from riverport.base.logging import get_logger
from riverport.engine.errors import SystemFailure
from riverport.engine.linux.nft import Nft, NftError
from riverport.engine.networks import passage
from riverport.engine.networks.firewall import BridgeRules, Firewall
from riverport.engine.networks.publish import Binding
from riverport.engine.networks.settings import NetworkSettings

log = get_logger(__name__)

Known = Callable[[], tuple[Iterable[BridgeRules], Iterable[Binding]]]
"""All bridges and all bindings that there should be."""


class Gate:
    def __init__(self, settings: NetworkSettings, known: Known) -> None:
        self._firewall = Firewall(settings.table, firewalled=settings.publish_firewalled)
        self._known = known
        self._nft: Nft | None = None

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def build(self) -> None:
        """Raises SystemFailure."""
        try:
            self._open().run(self._firewall.build(*self._known()))
        except NftError as error:
            raise SystemFailure(f"failed to set up the firewall: {error}") from error

        self._pass()

    def add_bridge(self, bridge: BridgeRules) -> None:
        self._change(self._firewall.add_bridge(bridge))
        self._pass()

    def remove_bridge(self, bridge: BridgeRules) -> None:
        self._change(self._firewall.remove_bridge(bridge))
        self._pass()

    def publish(self, bindings: Sequence[Binding]) -> None:
        if bindings:
            self._change(self._firewall.publish(bindings))

    def unpublish(self, bindings: Sequence[Binding]) -> None:
        if bindings:
            self._change(self._firewall.unpublish(bindings))

    def _pass(self) -> None:
        """The machine's own forward chain lets our bridges through; where there is none, nothing is in the way."""
        bridges = [rules.bridge for rules in self._known()[0]]
        with Nft(handles=True) as nft:
            for chain in passage.CHAINS:
                try:
                    commands = passage.plan(chain, nft.run(f"list chain {chain}\n"), bridges)
                except NftError:
                    continue
                try:
                    if commands:
                        nft.run(commands)
                except NftError as error:
                    log.warning("the machine's firewall may drop what containers send", chain=chain, error=error)

    def _change(self, commands: str) -> None:
        try:
            self._open().run(commands)
        except NftError as error:
            log.warning("the firewall's table is not as it was left: built anew", error=str(error).splitlines()[0])
            self.build()

    def _open(self) -> Nft:
        if self._nft is None:
            self._nft = Nft()
        return self._nft
