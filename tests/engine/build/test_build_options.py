"""The query of POST /build."""

from typing import Any

import pytest

from riverport.engine.build.options import BuildOptions, parse_options
from riverport.engine.errors import InvalidParameter


def options(**query: Any) -> BuildOptions:
    lists = {key: value if isinstance(value, list) else [value] for key, value in query.items()}
    return parse_options(lists, lambda name, default: lists[name][0] in ("1", "true") if name in lists else default)


def test_nothing_asked_for_is_the_default() -> None:
    assert options() == BuildOptions(host_config={"NetworkMode": "bridge"})


def test_everything_that_the_cli_sends() -> None:
    found = options(
        t=["a", "b:1"], dockerfile="D", target="t", q="1", nocache="1", pull="1", buildargs='{"a":"1","b":null}',
        labels='{"l":"v"}', cachefrom='["x"]', networkmode="host", extrahosts=["h:1.2.3.4"], memory="1000",
        memswap="-1", cpuquota="5", cpusetcpus="0-1", shmsize="10", ulimits='[{"Name":"nofile","Soft":1,"Hard":2}]',
        cgroupparent="/x", platform="linux/arm64", remote="http://r", version="1",
    )  # fmt: skip
    assert (found.tags, found.dockerfile, found.target) == (("a", "b:1"), "D", "t")
    assert (found.quiet, found.no_cache, found.pull) == (True, True, True)
    assert (found.arguments, found.labels, found.cache_from) == ({"a": "1", "b": None}, {"l": "v"}, ("x",))
    assert (found.platform, found.remote) == ("linux/arm64", "http://r")
    assert found.host_config == {
        "NetworkMode": "host", "ExtraHosts": ["h:1.2.3.4"], "Memory": 1000, "MemorySwap": -1, "CpuQuota": 5,
        "CpusetCpus": "0-1", "ShmSize": 10, "CgroupParent": "/x",
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"labels": "{"}, "error reading labels: "),
        ({"labels": '{"a":1}'}, "error reading labels: json: a map of strings is needed"),
        ({"cachefrom": '{"a":"b"}'}, "error reading cache-from: json: a list of strings is needed"),
        ({"ulimits": "[1]"}, "error reading ulimit settings: a list of objects is needed"),
        ({"memory": "much"}, 'strconv.ParseInt: parsing "much": invalid syntax'),
        ({"isolation": "vm"}, 'unsupported isolation: "vm"'),
        ({"securityopt": "x"}, "security options are not supported on linux"),
        ({"version": "3"}, 'invalid version "3"'),
        ({"outputs": "[]"}, "outputs are only supported with BuildKit"),
    ],
)
def test_what_cannot_be_read_is_refused(query: dict[str, str], fault: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        options(**query)
    assert str(raised.value).startswith(fault)
