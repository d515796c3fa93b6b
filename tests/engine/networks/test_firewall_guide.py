"""The rules that docs/guides/engine.md shows do what it says."""

import re
from pathlib import Path

import pytest
from tests.engine.networks.own_network import Box, alone, host, reaches, talk, wire_to_outside

from riverport.engine.linux.nft import Nft

pytestmark = pytest.mark.usefixtures("namespaces")

GUIDE = Path(__file__).parents[3] / "docs/guides/engine.md"


def example(number: int) -> str:
    return re.findall(r"```nft\n(.*?)```", GUIDE.read_text(), re.DOTALL)[number]


@pytest.mark.parametrize(("outer", "is_let_in"), [("192.0.2.9", True), ("198.51.100.9", False)])
def test_a_rule_of_the_user_s_closes_one_published_port_to_all_networks_but_one(
    tmp_path: Path, outer: str, is_let_in: bool
) -> None:
    async def main() -> None:
        with Nft() as nft:
            nft.run(example(0))  # before there is an engine
        async with host(tmp_path) as engine:
            with Nft() as nft:
                nft.run(example(0))  # and once more
            with Box() as box, Box() as other, Box() as outside:
                inner = outer.replace(".9", ".1")
                wire_to_outside(outside, f"{inner}/24", f"{outer}/24")
                await engine.join(box, "one", ports={"80/tcp": "8080", "81/tcp": "8081"})
                await engine.join(other, "other")
                chosen, another = box.listen(80), box.listen(81)
                assert outside.do(lambda: reaches(inner, 8080)) is is_let_in
                assert outside.do(lambda: talk(another, inner, 8081)) == outer
                if is_let_in:
                    chosen.accept()[0].close()
                assert other.do(lambda: talk(chosen, "172.17.0.1", 8080))

    alone(main)


@pytest.mark.parametrize(("outer", "is_let_in"), [("192.0.2.9", True), ("198.51.100.9", False)])
def test_firewalled_ports_are_open_to_the_network_that_a_rule_of_the_user_s_names(
    tmp_path: Path, outer: str, is_let_in: bool
) -> None:
    async def main() -> None:
        async with host(tmp_path, publish_firewalled=True) as engine:
            with Box() as box, Box() as outside:
                inner = outer.replace(".9", ".1")
                wire_to_outside(outside, f"{inner}/24", f"{outer}/24")
                await engine.join(box, "one", ports={"80/tcp": "8080", "81/tcp": "8081"})
                listener, _closed = box.listen(80), box.listen(81)
                assert not outside.do(lambda: reaches(inner, 8080))
                with Nft() as nft:
                    nft.run(example(1))
                assert outside.do(lambda: reaches(inner, 8080)) is is_let_in
                assert not outside.do(lambda: reaches(inner, 8081))
                if is_let_in:
                    listener.accept()[0].close()
                assert talk(listener, "127.0.0.1", 8080)

    alone(main)
