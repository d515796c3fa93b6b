import json
from dataclasses import fields
from pathlib import Path

import pytest

import riverport.engine
from riverport.base.settings import ConfigError
from riverport.engine.settings import Settings, load, parse_bytes, read_file
from riverport.engine.settings_table import FLAGS, TABLE, parse_pool, parse_ulimit, split_host


def test_nothing_given_is_a_daemon_on_a_unix_socket() -> None:
    settings = load({})
    assert settings.hosts == ("unix:///run/riverport/docker.sock",)
    assert (settings.runtime, settings.log_driver, settings.tls) == ("crun", "json-file", False)
    assert settings.networks.bridge == "docker0"


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"hosts": ["http://x"]}, ["http://x", "hosts", "unix:///PATH"]),
        ({"hosts": ["tcp://127.0.0.1"]}, ["tcp://127.0.0.1", "hosts"]),
        ({"hosts": ["unix://relative"]}, ["unix://relative"]),
        ({"default-runtime": "kata"}, ["kata", "default-runtime", "crun, runc"]),
        ({"mtu": "12"}, ["12", "mtu", "68"]),
        ({"mtu": "big"}, ["big", "mtu"]),
        ({"ip": "nowhere"}, ["nowhere", "ip", "IP address"]),
        ({"bip": "10.1.0.1/99"}, ["10.1.0.1/99", "bip"]),
        ({"default-address-pools": ["base=10.0.0.0/16"]}, ["default-address-pools", "size=PREFIX_LENGTH"]),
        ({"default-address-pools": ["base=10.0.0.0/16,size=8"]}, ["between 16 and 32"]),
        ({"registry-mirrors": ["mirror:5000"]}, ["mirror:5000", "registry-mirrors", "https://"]),
        ({"labels": ["lonely"]}, ["lonely", "labels", "NAME=VALUE"]),
        ({"default-ulimits": ["nofiles=1"]}, ["nofiles=1", "default-ulimits", "NAME=SOFT[:HARD]", "nofile"]),
        ({"default-ulimits": ["nofile=2:1"]}, ["nofile=2:1", "must not be above"]),
        ({"icc": "perhaps"}, ["perhaps", "icc"]),
        ({"default-shm-size": "much"}, ["much", "default-shm-size"]),
        ({"tlsverify": "true"}, ["tlscert", "tlskey", "tlscacert"]),
        ({"data-rot": "/x"}, ["data-rot", "data-root"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(given: dict[str, str | list[str]], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(given)
    for part in parts:
        assert part in str(caught.value)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"mtu": "1", "ip": "x", "nope": "1"})
    assert len(caught.value.problems) == 3


def test_every_row_has_a_default_that_it_allows() -> None:
    for row in TABLE.values():
        row.ensure_valid(row.default)
        assert row.doc.endswith(".")
    assert set(FLAGS) <= set(TABLE)


def test_a_file_of_dockerd_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(
        json.dumps(
            {
                "log-driver": "local",
                "log-opts": {"max-size": "10m", "labels": "a,b"},
                "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
                "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 100, "Hard": 200}},
                "live-restore": True,
                "shutdown-timeout": 3,
                "labels": ["a=1"],
                "registry-mirrors": ["http://127.0.0.1:5000"],
            }
        )
    )
    settings = load(read_file(path))
    assert settings.log_options == {"max-size": "10m", "labels": "a,b"}
    assert settings.default_ulimits == ("nofile=100:200",)
    assert settings.networks.pools == (("10.10.0.0/16", 24),)
    assert (settings.live_restore, settings.shutdown_timeout_s, settings.log_driver) == (True, 3, "local")


@pytest.mark.parametrize("text", ["{", "[]", '{"mtu":null}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(read_file(path))


def test_hosts_are_taken_apart() -> None:
    assert split_host("unix:///run/x.sock") == ("unix", "/run/x.sock")
    assert split_host("tcp://127.0.0.1:2375") == ("tcp", "127.0.0.1:2375")
    assert split_host("tcp://[::1]:2376") == ("tcp", "::1:2376")
    assert split_host("tcp://:0") == ("tcp", ":0")
    assert split_host("fd://") == ("fd", "")


def test_sizes_have_units() -> None:
    assert [parse_bytes(text) for text in ("64m", "1g", "1024", "2KB", "10b", "1.5k")] == [
        64 << 20, 1 << 30, 1024, 2048, 10, 1536,
    ]  # fmt: skip
    for wrong in ("", "m", "-1", "0", "1x"):
        with pytest.raises(ValueError, match="must be"):
            parse_bytes(wrong)


def test_limits_have_a_name_and_one_or_two_numbers() -> None:
    assert parse_ulimit("nofile=1024:2048") == ("nofile", 1024, 2048)
    assert parse_ulimit("core=-1") == ("core", -1, -1)
    assert parse_ulimit("nproc=5") == ("nproc", 5, 5)
    for wrong in ("nofile", "nofile=", "nofile=x", "nofile=1:2:3", "as=1"):
        with pytest.raises(ValueError, match=r".+"):
            parse_ulimit(wrong)


def test_pools_are_networks_and_the_size_of_what_is_cut_from_them() -> None:
    assert parse_pool("base=10.10.0.0/16,size=24") == ("10.10.0.0/16", 24)
    for wrong in ("10.0.0.0/8", "base=10.0.0.1/8,size=24", "base=x,size=24", "base=10.0.0.0/8,size=x"):
        with pytest.raises(ValueError, match=r".+"):
            parse_pool(wrong)


def test_every_setting_is_read_by_what_it_is_about() -> None:
    package = Path(riverport.engine.__file__).parent
    sources = [path.read_text() for path in package.rglob("*.py") if not path.match("engine/settings*.py")]
    assert [one.name for one in fields(Settings) if not any(f".{one.name}" in text for text in sources)] == []
