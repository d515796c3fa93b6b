"""What a container uses, read from trees of files as the kernel has them."""

from pathlib import Path

import pytest

from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.cgroups import Layout
from riverport.engine.runtime import stats, top

PROC = {
    "stat": "cpu  100 1 50 2000 7 3 2 1 9 9\ncpu0 1 1 1\n",
    "meminfo": "MemTotal:       1000000 kB\nMemFree: 1 kB\n",
    "7/net/dev": """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0:    1234      10    1    2    0     0          0         0      567       8    3    4    0     0       0          0
""",  # noqa: E501
}


def tree(top: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return str(top)


def test_version_1(tmp_path: Path) -> None:
    files = {
        "cpuacct/d/a/cpuacct.usage": "12345\n",
        "cpuacct/d/a/cpuacct.usage_percpu": "12000 345 \n",
        "cpuacct/d/a/cpuacct.stat": "user 3\nsystem 4\n",
        "cpu/d/a/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 99\n",
        "memory/d/a/memory.usage_in_bytes": "4096\n",
        "memory/d/a/memory.max_usage_in_bytes": "8192\n",
        "memory/d/a/memory.failcnt": "1\n",
        "memory/d/a/memory.limit_in_bytes": "65536\n",
        "memory/d/a/memory.stat": "cache 1\ntotal_inactive_file 2\n",
        "blkio/d/a/blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 0\nTotal 4096\n",
        "pids/d/a/pids.current": "3\n",
        "pids/d/a/pids.max": "max\n",
    }
    place = tree(tmp_path, files)
    layout = Layout(
        1, {name: f"{place}/{name}" for name in ("cpu", "cpuacct", "memory", "blkio", "pids")}, frozenset(), False
    )
    made = stats.read(layout, "/d/a", 7, tree(tmp_path / "proc", PROC))
    assert made["cpu_stats"]["cpu_usage"]["total_usage"] == 12345
    assert made["cpu_stats"]["cpu_usage"]["percpu_usage"] == [12000, 345]
    assert made["cpu_stats"]["cpu_usage"]["usage_in_usermode"] == 3 * 10_000_000
    assert made["cpu_stats"]["throttling_data"] == {"periods": 5, "throttled_periods": 2, "throttled_time": 99}
    assert made["cpu_stats"]["system_cpu_usage"] == (100 + 1 + 50 + 2000 + 7 + 3 + 2 + 1) * 10_000_000
    assert made["memory_stats"]["limit"] == 65536
    assert made["memory_stats"]["stats"] == {"cache": 1, "total_inactive_file": 2}
    assert made["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 4096},
        {"major": 8, "minor": 0, "op": "Write", "value": 0},
    ]
    assert made["blkio_stats"]["io_serviced_recursive"] is None
    assert made["pids_stats"] == {"current": 3}
    assert made["networks"] == {
        "eth0": {
            "rx_bytes": 1234, "rx_packets": 10, "rx_errors": 1, "rx_dropped": 2,
            "tx_bytes": 567, "tx_packets": 8, "tx_errors": 3, "tx_dropped": 4,
        }
    }  # fmt: skip


def test_version_2(tmp_path: Path) -> None:
    files = {
        "d/a/cpu.stat": "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
        "d/a/memory.current": "4096\n",
        "d/a/memory.max": "max\n",
        "d/a/memory.stat": "anon 1\ninactive_file 2\n",
        "d/a/io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n\n",
        "d/a/pids.current": "3\n",
        "d/a/pids.max": "100\n",
    }
    layout = Layout(2, {"": tree(tmp_path, files)}, frozenset(), False)
    made = stats.read(layout, "/d/a", None, tree(tmp_path / "proc", PROC))
    assert made["cpu_stats"]["cpu_usage"] == {
        "total_usage": 10_000,
        "usage_in_kernelmode": 4_000,
        "usage_in_usermode": 6_000,
    }
    assert made["cpu_stats"]["throttling_data"]["throttled_time"] == 7_000
    assert made["memory_stats"] == {"usage": 4096, "stats": {"anon": 1, "inactive_file": 2}, "limit": 1_024_000_000}
    assert made["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 10},
        {"major": 8, "minor": 0, "op": "write", "value": 20},
    ]
    assert made["pids_stats"] == {"current": 3, "limit": 100}
    assert "networks" not in made


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_that_has_just_ended_reads_as_zero(version: int, tmp_path: Path) -> None:
    names = ("",) if version == 2 else ("cpu", "cpuacct", "memory", "blkio", "pids")
    layout = Layout(version, dict.fromkeys(names, str(tmp_path)), frozenset(), False)
    made = stats.read(layout, "/gone", 4711, str(tmp_path))
    assert made["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert made["memory_stats"]["usage"] == 0
    assert made["networks"] == {}


PS = """  PID USER     COMMAND
    1 root     init with words
   42 root     sh -c  x
  420 root     other
   43 root     sleep 5
"""


def test_top_shows_the_containers_processes_only() -> None:
    titles, rows = top.parse(PS, frozenset({42, 43}))
    assert titles == ["PID", "USER", "COMMAND"]
    assert rows == [["42", "root", "sh -c  x"], ["43", "root", "sleep 5"]]


def test_top_shows_the_threads_below_a_process() -> None:
    text = "PID LWP CMD\n42 - sh\n- 42 -\n- 44 -\n50 - other\n- 50 -\n"
    assert top.parse(text, frozenset({42}))[1] == [["42", "-", "sh"], ["-", "42", "-"], ["-", "44", "-"]]


@pytest.mark.parametrize("text", ["", "USER CMD\nroot x\n", "PID CMD\nx y\n"])
def test_top_needs_a_column_of_ids(text: str) -> None:
    with pytest.raises(InvalidParameter):
        top.parse(text, frozenset({1}))
