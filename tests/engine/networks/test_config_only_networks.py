"""Configuration-only networks: patterns that other networks are made from (docker network create --config-only)."""

from pathlib import Path
from typing import Any

import pytest
from tests.engine.networks.own_network import Box, alone, host, member

from riverport.engine.errors import EngineError, Forbidden, NotFound

pytestmark = pytest.mark.usefixtures("namespaces")

PATTERN = {
    "Name": "pattern",
    "ConfigOnly": True,
    "EnableIPv6": True,
    "IPAM": {"Config": [{"Subnet": "10.8.0.0/24", "Gateway": "10.8.0.7"}, {"Subnet": "fd00:8::/64"}]},
    "Options": {"com.docker.network.driver.mtu": "1400"},
    "Labels": {"team": "blue"},
}
FROM_PATTERN = {"Name": "web", "ConfigFrom": {"Network": "pattern"}}


def test_a_network_has_what_its_pattern_says(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create(PATTERN)
            shown = engine.networks.find("pattern").document
            assert (shown["Driver"], shown["Scope"], shown["ConfigOnly"]) == ("null", "local", True)
            assert shown["IPAM"]["Config"] == PATTERN["IPAM"]["Config"]
            await engine.networks.create({**FROM_PATTERN, "Internal": True})
            shown = engine.networks.find("web").document
            assert (shown["Driver"], shown["Internal"], shown["EnableIPv6"]) == ("bridge", True, True)
            assert (shown["Options"], shown["Labels"]) == (PATTERN["Options"], PATTERN["Labels"])
            assert shown["IPAM"]["Config"][0] == {"Subnet": "10.8.0.0/24", "Gateway": "10.8.0.7"}
            assert (shown["ConfigFrom"], shown["ConfigOnly"]) == ({"Network": "pattern"}, False)
            with Box() as box:
                await engine.join(box, "one", "web")
                assert box.addresses()["eth0"] == ["10.8.0.1/24", "fd00:8::2/64"]

    alone(main)


def test_a_pattern_stays_while_a_network_is_made_from_it_and_is_never_pruned(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create(PATTERN)
            await engine.networks.create(FROM_PATTERN)
            with pytest.raises(Forbidden, match=r'while removing network: configuration network "pattern" is in use$'):
                await engine.networks.remove("pattern")
            await engine.restart()
            assert await engine.networks.prune() == ["web"]
            await engine.networks.remove("pattern")
            with pytest.raises(NotFound):
                engine.networks.find("pattern")

    alone(main)


def test_no_container_joins_a_pattern(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create(PATTERN)
            with Box() as box:
                with pytest.raises(Forbidden, match=r"^cannot create endpoint on configuration-only network$"):
                    await engine.join(box, "one", "pattern")
                await engine.join(box, "one")
                with pytest.raises(Forbidden, match=r"^cannot create endpoint on configuration-only network$"):
                    await engine.networks.connect(member("one"), box.path, "pattern", {})

    alone(main)


@pytest.mark.parametrize(
    ("request_body", "kind", "words"),
    [
        ({**PATTERN, "Name": "p", "Internal": True}, Forbidden, r"\[ ingress \| internal \| attachable \| scope \]"),
        ({**PATTERN, "Name": "p", "Scope": "local"}, Forbidden, "configuration network can only contain"),
        ({**PATTERN, "Name": "p", "ConfigFrom": {"Network": "pattern"}}, Forbidden, "cannot depend on another"),
        ({**FROM_PATTERN, "EnableIPv6": True}, Forbidden, "user specified configurations are not supported"),
        ({**FROM_PATTERN, "Labels": {"a": "b"}}, Forbidden, "user specified configurations are not supported"),
        ({**FROM_PATTERN, "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}, Forbidden, "user specified configurations"),
        ({**FROM_PATTERN, "Options": {"a": "b"}}, Forbidden, "network driver options are not supported"),
        ({**FROM_PATTERN, "ConfigFrom": {"Network": "none"}}, NotFound, 'network "none" does not exist'),
    ],
)
def test_what_has_no_place_in_a_pattern_or_beside_one_is_refused(
    tmp_path: Path, request_body: dict[str, Any], kind: type[EngineError], words: str
) -> None:
    async def main() -> None:
        async with host(tmp_path) as engine:
            await engine.networks.create(PATTERN)
            with pytest.raises(kind, match=words):
                await engine.networks.create(request_body)

    alone(main)
