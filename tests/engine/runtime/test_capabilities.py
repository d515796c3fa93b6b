"""Capabilities of a container: Docker's default, what is added and dropped, what the host lacks."""

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.runtime import capabilities
from riverport.engine.runtime.capabilities import DEFAULT, NAMES, effective, spec_of

ALL = (1 << len(NAMES)) - 1


def mask(names: frozenset[str]) -> int:
    return sum(1 << NAMES.index(name) for name in names)


def test_the_default_is_the_mask_that_dockerd_shows() -> None:
    assert mask(effective({}, ALL)) == 0xA80425FB


@pytest.mark.parametrize(
    ("added", "dropped", "expected"),
    [
        (["NET_ADMIN"], [], DEFAULT | {"NET_ADMIN"}),
        (["cap_net_admin"], ["mknod"], (DEFAULT | {"NET_ADMIN"}) - {"MKNOD"}),
        (["ALL"], ["SYS_ADMIN"], frozenset(NAMES) - {"SYS_ADMIN"}),
        (["NET_BIND_SERVICE"], ["ALL"], frozenset({"NET_BIND_SERVICE"})),
        ([], ["ALL"], frozenset()),
        (["ALL"], ["ALL"], frozenset(NAMES)),
        (None, None, DEFAULT),
    ],
)
def test_additions_and_drops(added: list[str] | None, dropped: list[str] | None, expected: frozenset[str]) -> None:
    assert effective({"CapAdd": added, "CapDrop": dropped}, ALL) == expected


def test_privileged_is_everything_that_the_host_has() -> None:
    without = ALL & ~(1 << NAMES.index("SYS_RESOURCE"))
    assert mask(effective({"Privileged": True}, without)) == without
    assert "SYS_RESOURCE" not in effective({"CapAdd": ["SYS_RESOURCE"]}, without)


@pytest.mark.parametrize("field", ["CapAdd", "CapDrop"])
def test_an_unknown_name_is_refused(field: str) -> None:
    with pytest.raises(InvalidParameter, match=f'invalid {field}: unknown capability: "CAP_FOO"'):
        effective({field: ["FOO"]}, ALL)


def test_only_root_has_more_than_the_bounding_set() -> None:
    held = frozenset({"KILL", "CHOWN"})
    assert spec_of(held, True) == {key: ["CAP_CHOWN", "CAP_KILL"] for key in ("bounding", "effective", "permitted")}
    assert spec_of(held, False) == {"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": [], "permitted": []}


def test_names_are_in_the_kernels_order() -> None:
    assert (NAMES[0], NAMES[12], NAMES[21], NAMES[24], NAMES[40]) == (
        "CHOWN", "NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE", "CHECKPOINT_RESTORE",
    )  # fmt: skip
    assert capabilities.host_mask() < 1 << 64
