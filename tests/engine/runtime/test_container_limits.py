"""Limits: in the OCI spec, and written into trees of version 1 and version 2."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import InvalidParameter, SystemFailure
from riverport.engine.linux.cgroups import Layout
from riverport.engine.runtime.resources import (
    Write,
    apply,
    apply_weights,
    device_number,
    oci_resources,
    plan_update,
    split_weights,
    weight_of_shares,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, {}),
        ({"Memory": 0, "PidsLimit": None, "NanoCpus": 0, "CpusetCpus": ""}, {}),
        ({"Memory": 64 * MIB}, {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}),
        ({"Memory": 64 * MIB, "MemorySwap": -1}, {"memory": {"limit": 64 * MIB, "swap": -1}}),
        ({"MemoryReservation": MIB, "MemorySwappiness": 0}, {"memory": {"reservation": MIB, "swappiness": 0}}),
        ({"MemorySwappiness": -1, "OomKillDisable": True}, {"memory": {"disableOOMKiller": True}}),
        ({"NanoCpus": 500_000_000}, {"cpu": {"quota": 50_000, "period": 100_000}}),
        ({"CpuQuota": 20_000, "CpuPeriod": 50_000}, {"cpu": {"quota": 20_000, "period": 50_000}}),
        (
            {"CpuShares": 512, "CpusetCpus": "0-1", "CpusetMems": "0"},
            {"cpu": {"shares": 512, "cpus": "0-1", "mems": "0"}},
        ),
        ({"PidsLimit": 20}, {"pids": {"limit": 20}}),
        ({"PidsLimit": -1}, {"pids": {"limit": -1}}),
        ({"BlkioWeight": 300}, {"blockIO": {"weight": 300}}),
        (
            {"BlkioDeviceReadBps": [{"Path": "/dev/x", "Rate": 5}]},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 5}]}},
        ),
        (
            {"BlkioWeightDevice": [{"Path": "/dev/x", "Weight": 7}]},
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 1, "weight": 7}]}},
        ),
    ],
)
def test_what_a_host_config_means_in_the_spec(given_: dict[str, Any], expected: dict[str, Any]) -> None:
    assert oci_resources(given_, lambda path: (8, 1)) == expected


def test_a_throttled_path_must_be_a_device() -> None:
    assert device_number("/dev/null") == (1, 3)
    with pytest.raises(InvalidParameter):
        device_number("/dev/nosuch")
    with pytest.raises(InvalidParameter, match="is not a device node"):
        device_number(__file__)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (1 << 20, 10000)])
def test_weight_of_shares(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_more_shares_never_weigh_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= weight_of_shares(low) <= weight_of_shares(high) <= 10000


def written(version: int, changes: dict[str, Any]) -> dict[str, str]:
    return {write.file: write.value for write in plan_update(version, changes)}


def test_an_update_of_version_1() -> None:
    assert written(1, {"Memory": 64 * MIB, "CpuShares": 512, "NanoCpus": 500_000_000, "PidsLimit": -1}) == {
        "memory.limit_in_bytes": str(64 * MIB),
        "memory.memsw.limit_in_bytes": str(128 * MIB),
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "pids.max": "max",
    }
    assert written(1, {"PidsLimit": 0}) == {"pids.max": "max"}  # a zero takes this limit away
    assert written(1, {"BlkioWeight": 300, "CpuRealtimePeriod": 500_000, "CpuRealtimeRuntime": 9_000}) == {
        "blkio.bfq.weight": "300",
        "cpu.rt_period_us": "500000",
        "cpu.rt_runtime_us": "9000",
    }
    assert written(1, {"RestartPolicy": {"Name": "always"}, "Memory": 0}) == {}


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"Memory": 64 * MIB}, {"memory.max": str(64 * MIB), "memory.swap.max": str(64 * MIB)}),
        ({"Memory": 64 * MIB, "MemorySwap": 64 * MIB}, {"memory.max": str(64 * MIB), "memory.swap.max": "0"}),
        ({"Memory": 64 * MIB, "MemorySwap": -1}, {"memory.max": str(64 * MIB), "memory.swap.max": "max"}),
        ({"Memory": -1}, {"memory.max": "max"}),
        ({"MemoryReservation": MIB}, {"memory.low": str(MIB)}),
        ({"CpuShares": 1024}, {"cpu.weight": "39"}),
        ({"NanoCpus": 1_500_000_000}, {"cpu.max": "150000 100000"}),
        ({"CpuQuota": -1}, {"cpu.max": "max 100000"}),
        ({"CpuPeriod": 50_000}, {"cpu.max": "max 50000"}),
        ({"CpusetCpus": "0", "CpusetMems": "0"}, {"cpuset.cpus": "0", "cpuset.mems": "0"}),
        ({"PidsLimit": 5}, {"pids.max": "5"}),
        ({"PidsLimit": 0}, {"pids.max": "max"}),
        ({"BlkioWeight": 300}, {"io.bfq.weight": "300"}),
    ],
)
def test_an_update_of_version_2(changes: dict[str, Any], files: dict[str, str]) -> None:
    assert written(2, changes) == files


def tree(top: Path, files: dict[str, str]) -> Layout:
    (top / "docker/a").mkdir(parents=True)
    for name, text in files.items():
        (top / "docker/a" / name).write_text(text)
    return Layout(2, {"": str(top)}, frozenset(), False)


def test_writes_reach_a_tree_of_version_2(tmp_path: Path) -> None:
    layout = tree(tmp_path, {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    apply(layout, "/docker/a", plan_update(2, {"NanoCpus": 2_000_000_000}))
    assert (tmp_path / "docker/a/cpu.max").read_text() == "200000 100000"


@pytest.mark.parametrize(("name", "value"), [("io.bfq.weight", "500"), ("io.weight", "4950")])
def test_a_weight_goes_to_the_file_of_the_scheduler_that_is_there(tmp_path: Path, name: str, value: str) -> None:
    layout = tree(tmp_path, {name: "default 100\n"})
    apply(layout, "/docker/a", plan_update(2, {"BlkioWeight": 500}))
    assert (tmp_path / "docker/a" / name).read_text() == value


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    layout = tree(tmp_path, {"memory.max": "max\n"})
    with pytest.raises(SystemFailure, match=r"'memory.swap.max'"):
        apply(layout, "/docker/a", plan_update(2, {"Memory": MIB}))
    assert (tmp_path / "docker/a/memory.max").read_text() == str(MIB)


def test_a_write_that_waits_for_another_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raising a memory limit of version 1 above the old sum's limit: the kernel wants the sum's first."""
    from riverport.engine.runtime import resources

    state = {"memory.limit_in_bytes": 10, "memory.memsw.limit_in_bytes": 20}

    def write(path: str, text: str) -> None:
        name = Path(path).name
        after = {**state, name: int(text)}
        if after["memory.limit_in_bytes"] > after["memory.memsw.limit_in_bytes"]:
            raise OSError(22, "Invalid argument")
        state.update(after)

    monkeypatch.setattr(resources, "_write_existing", write)
    layout = Layout(1, {"memory": "/none"}, frozenset(), False)
    for limit in (100, 5):
        apply(layout, "/a", plan_update(1, {"Memory": limit}))
        assert state == {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": 2 * limit}


def test_weights_of_version_1_go_to_the_files_of_bfq_if_it_is_there(tmp_path: Path) -> None:
    limits = {"blockIO": {"weight": 300, "weightDevice": [{"major": 8, "minor": 0, "weight": 5}], "x": 1}}
    layout = Layout(1, {"blkio": str(tmp_path)}, frozenset(), False)
    rest, writes = split_weights(layout, limits)
    assert rest == {"blockIO": {"x": 1}}
    assert writes == [Write("blkio", "blkio.bfq.weight", "300"), Write("blkio", "blkio.bfq.weight_device", "8:0 5")]
    (tmp_path / "docker/a").mkdir(parents=True)
    (tmp_path / "docker/a/blkio.bfq.weight").write_text("100")
    apply_weights(layout, "/docker/a", writes)
    assert (tmp_path / "docker/a/blkio.bfq.weight").read_text() == "300"
    assert split_weights(Layout(2, {"": str(tmp_path)}, frozenset(), False), limits) == (limits, [])
