"""What a daemon is told at its start, from flags and a daemon.json; the rows are in `settings_table.py`.

A flag is the key with two dashes; a list's flag is its singular and may be repeated. A wrong value is a `ConfigError`
that names the key, the value and what is allowed; all of them are reported together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from riverport.base.settings import LIST, ConfigError, invalid, unknown_keys
from riverport.engine.networks.ipam import DEFAULT_POOLS
from riverport.engine.networks.settings import NetworkSettings
from riverport.engine.settings_table import TABLE, parse_pool

Given = Mapping[str, str | Sequence[str]]
"""What was set, as text; lists as their entries."""


@dataclass(slots=True, frozen=True)
class Settings:
    """The typed whole; paths are absolute."""

    data_root: Path
    exec_root: Path
    hosts: tuple[str, ...] = ("unix:///run/riverport/docker.sock",)
    group: str = "docker"
    pidfile: Path | None = None
    tls: bool = False
    tls_verify: bool = False
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    runtime: str = "crun"
    cgroup_parent: str = "/docker"
    init: bool = False
    init_path: str | None = None
    live_restore: bool = False
    shutdown_timeout_s: int = 15
    log_driver: str = "json-file"
    log_options: dict[str, str] = field(default_factory=dict)
    default_shm_bytes: int = 64 << 20
    default_ulimits: tuple[str, ...] = ()
    default_cgroupns_mode: str = ""
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    labels: tuple[str, ...] = ()
    log_level: str = "info"


def typed_values(given: Given) -> dict[str, Any]:
    """Every key of the table with its typed value. Raises ConfigError with every wrong value and every unknown key."""
    values = TABLE.defaults.copy()
    problems: list[str] = []
    for key, nearest in unknown_keys(TABLE, given).items():
        problems.append(f"Unknown configuration {key}" + (f"; did you mean {', '.join(nearest)}?" if nearest else ""))
    for key, text in given.items():
        if (row := TABLE.get(key)) is None:
            continue
        try:
            if row.kind is LIST:
                values[key] = (text,) if isinstance(text, str) else tuple(text)
                row.ensure_valid(values[key])
            else:
                values[key] = row.value_of(text if isinstance(text, str) else ",".join(text))
        except ConfigError as wrong:
            problems += wrong.problems
    problems += _contradictions(values) if not problems else []
    if problems:
        raise ConfigError(problems)
    return values


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values["tls"] or values["tlsverify"]:
        needed = ["tlscert", "tlskey", *(["tlscacert"] if values["tlsverify"] else [])]
        problems += [invalid(key, values[key], "TLS needs this file") for key in needed if not values[key]]
    try:
        parse_bytes(values["default-shm-size"])
    except ValueError as wrong:
        problems.append(invalid("default-shm-size", values["default-shm-size"], str(wrong)))
    return problems


def parse_bytes(text: str) -> int:
    """`64m`, `1g`, `1024`. Raises ValueError."""
    units = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
    word = text.strip().lower().removesuffix("b") or text.strip().lower()
    digits, shift = (word[:-1], units[word[-1]]) if word[-1:] in units else (word, 0)
    try:
        size = float(digits)
    except ValueError:
        raise ValueError("must be a number with b, k, m, g or t after it, such as 64m") from None
    if not 0 < size < 2**53:
        raise ValueError("must be above 0")
    return int(size * (1 << shift))


def load(given: Given) -> Settings:
    """Raises ConfigError."""
    values = typed_values(given)
    return Settings(
        data_root=Path(values["data-root"]).absolute(),
        exec_root=Path(values["exec-root"]).absolute(),
        hosts=values["hosts"],
        group=values["group"],
        pidfile=_path(values["pidfile"]),
        tls=values["tls"] or values["tlsverify"],
        tls_verify=values["tlsverify"],
        tls_ca=_path(values["tlscacert"]),
        tls_certificate=_path(values["tlscert"]),
        tls_key=_path(values["tlskey"]),
        runtime=values["default-runtime"],
        cgroup_parent="/" + values["cgroup-parent"].strip("/"),
        init=values["init"],
        init_path=values["init-path"] or None,
        live_restore=values["live-restore"],
        shutdown_timeout_s=values["shutdown-timeout"],
        log_driver=values["log-driver"],
        log_options=_pairs(values["log-opts"]),
        default_shm_bytes=parse_bytes(values["default-shm-size"]),
        default_ulimits=values["default-ulimits"],
        default_cgroupns_mode=values["default-cgroupns-mode"],
        registry_mirrors=values["registry-mirrors"],
        insecure_registries=values["insecure-registries"],
        max_concurrent_downloads=values["max-concurrent-downloads"],
        max_concurrent_uploads=values["max-concurrent-uploads"],
        max_download_attempts=values["max-download-attempts"],
        networks=_networks(values),
        labels=values["labels"],
        log_level="debug" if values["debug"] else values["log-level"],
    )


def _networks(values: Mapping[str, Any]) -> NetworkSettings:
    return NetworkSettings(
        bridge=values["bridge"] or "docker0",
        bridge_address=values["bip"],
        pools=tuple(parse_pool(text) for text in values["default-address-pools"]) or DEFAULT_POOLS,
        publish_address=values["ip"],
        publish_firewalled=values["publish-firewalled"],
        mtu=values["mtu"],
        icc=values["icc"],
        masquerade=values["ip-masq"],
        forward=values["ip-forward"],
        dns=values["dns"],
        dns_search=values["dns-search"],
        dns_options=values["dns-opts"],
        host_gateway=values["host-gateway-ips"],
    )


def _path(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def _pairs(entries: Sequence[str]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in entries)


def read_file(path: Path) -> dict[str, str | list[str]]:
    """A daemon.json as `load` takes it. Raises ConfigError, or OSError for a file that cannot be read."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: an object is needed")
    return {key: _file_value(key, value) for key, value in document.items()}


def _file_value(key: str, value: Any) -> str | list[str]:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float() | str():
            return str(value)
        case list():
            return [_entry(entry) for entry in value]
        case dict():
            return [f"{name}={_named(entry)}" for name, entry in value.items()]
    raise ConfigError(invalid(key, value, "must be a text, a number, true or false, a list or an object"))


def _named(value: Any) -> str:
    """A resource limit is an object in a file and `SOFT:HARD` on the command line."""
    is_limit = isinstance(value, dict) and {"Soft", "Hard"} <= value.keys()
    return f"{value['Soft']}:{value['Hard']}" if is_limit else str(value)


def _entry(value: Any) -> str:
    """An address pool is an object in a file and `base=..,size=..` on the command line."""
    return ",".join(f"{name}={entry}" for name, entry in value.items()) if isinstance(value, dict) else str(value)
