"""The rows: every setting of a daemon, what it is by default, what is allowed, what it means.

Keys are those of dockerd's daemon.json where dockerd has the setting, so that its file is read alike.
"""

import ipaddress
from collections.abc import Callable
from typing import Final

from riverport.base.settings import (
    BOOLEAN,
    HIGH,
    INT,
    LIST,
    LOW,
    NON_EMPTY,
    STRING,
    Check,
    Setting,
    Table,
    at_least,
    between,
    in_,
)
from riverport.engine.networks.ipam import Pool

_ULIMITS: Final = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip

Entry = Callable[[str], object]
"""Raises ValueError, with what is allowed, for a text that it does not take."""


def _each(problem_of: Entry, allowed: str) -> Check:
    """A list all of whose entries satisfy `problem_of(entry) -> None`; it raises ValueError with what is allowed."""

    def problem(value: tuple[str, ...]) -> tuple[str, str] | None:
        for entry in value:
            try:
                problem_of(entry)
            except ValueError as wrong:
                return entry, str(wrong) or f"must be {allowed}"
        return None

    return Check(problem, allowed)


def _optional(problem_of: Entry, allowed: str) -> Check:
    """A text that is empty or satisfies `problem_of`."""

    def problem(value: str) -> str | None:
        try:
            if value:
                problem_of(value)
        except ValueError:
            return f"must be {allowed}, or empty"
        return None

    return Check(problem, allowed)


def split_host(text: str) -> tuple[str, str]:
    """`unix://PATH`, `tcp://HOST:PORT` or `fd://` → (scheme, rest). Raises ValueError."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix" and rest.startswith("/"):
        return scheme, rest
    if separator and scheme == "fd":
        return scheme, rest
    if separator and scheme == "tcp":
        host, colon, port = rest.rpartition(":")
        if colon and port.isdecimal() and int(port) < 65536:
            return scheme, f"{host.strip('[]')}:{port}"
    raise ValueError("must be unix:///PATH, tcp://HOST:PORT or fd://")


def parse_pool(text: str) -> Pool:
    """`base=10.10.0.0/16,size=24`. Raises ValueError."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    if set(fields) != {"base", "size"}:
        raise ValueError("must be base=NETWORK,size=PREFIX_LENGTH, such as base=10.10.0.0/16,size=24")
    base, size = ipaddress.ip_network(fields["base"]), int(fields["size"])
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise ValueError(f"size must be between {base.prefixlen} and {base.max_prefixlen} for {base}")
    return str(base), size


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """`nofile=1024:2048` → (name, soft, hard); one number is both, -1 no limit. Raises ValueError."""
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if not equals or name not in _ULIMITS:
        raise ValueError(f"must be NAME=SOFT[:HARD], NAME one of {', '.join(_ULIMITS)}")
    limits = int(soft), int(hard if colon else soft)
    if limits[1] != -1 and not -1 < limits[0] <= limits[1]:
        raise ValueError("the soft limit must not be above the hard one")
    return name, *limits


def _pair(text: str) -> None:
    if not text.partition("=")[0] or "=" not in text:
        raise ValueError("must be NAME=VALUE")


def _mirror(text: str) -> None:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be a URL that begins with http:// or https://")


ADDRESS: Final = _optional(ipaddress.ip_address, "an IP address")
INTERFACE: Final = _optional(ipaddress.ip_interface, "an address with its prefix length, such as 10.1.0.1/24")
ADDRESSES: Final = _each(ipaddress.ip_address, "an IP address")
PAIRS: Final = _each(_pair, "NAME=VALUE")

LEVELS: Final = ("debug", "info", "warn", "error", "fatal")

TABLE: Final = Table(
    [
        Setting(
            "hosts",
            LIST,
            ("unix:///run/riverport/docker.sock",),
            _each(split_host, "unix:///PATH, tcp://HOST:PORT or fd://"),
            "Where the API is served.",
            HIGH,
        ),
        Setting(
            "group",
            STRING,
            "docker",
            None,
            "Members of this group may use the Unix sockets; without such a group only root may.",
        ),
        Setting(
            "data-root",
            STRING,
            "/var/lib/riverport/engine",
            NON_EMPTY,
            "Images, containers, volumes and the database.",
            HIGH,
        ),
        Setting(
            "exec-root",
            STRING,
            "/run/riverport/engine",
            NON_EMPTY,
            "What lives as long as containers run: sockets, bundles, exit files. On a tmpfs if possible.",
            HIGH,
        ),
        Setting("pidfile", STRING, "", None, "A file that holds the daemon's process id while it runs."),
        Setting("tls", BOOLEAN, False, None, "TCP hosts speak TLS; `tlsverify` implies it.", HIGH),
        Setting(
            "tlsverify",
            BOOLEAN,
            False,
            None,
            "TCP hosts speak TLS, and clients must show a certificate that `tlscacert` signed.",
            HIGH,
        ),
        Setting("tlscacert", STRING, "", None, "The authority that signed the clients' certificates (PEM)."),
        Setting("tlscert", STRING, "", None, "The daemon's certificate (PEM)."),
        Setting("tlskey", STRING, "", None, "Its key (PEM)."),
        Setting(
            "default-runtime", STRING, "crun", in_("crun", "runc"), "The OCI runtime that starts containers.", HIGH
        ),
        Setting("cgroup-parent", STRING, "/docker", NON_EMPTY, "Containers get the cgroup CGROUP_PARENT/ID."),
        Setting("init", BOOLEAN, False, None, "Every container runs an init process unless it says otherwise."),
        Setting(
            "init-path",
            STRING,
            "",
            None,
            "That init process; empty: docker-init, tini or catatonit, whichever is found first.",
        ),
        Setting(
            "live-restore",
            BOOLEAN,
            False,
            None,
            "Containers go on running when the daemon is stopped in order (killed, they always do).",
            HIGH,
        ),
        Setting(
            "shutdown-timeout",
            INT,
            15,
            at_least(-1),
            "Seconds that containers have to stop when the daemon is stopped in order; -1: as long as it takes.",
        ),
        Setting(
            "log-driver",
            STRING,
            "json-file",
            in_("json-file", "local", "none"),
            "Where containers' output goes unless they say otherwise.",
        ),
        Setting("log-opts", LIST, (), PAIRS, "Options of the log driver, such as max-size=10m."),
        Setting(
            "default-shm-size", STRING, "64m", NON_EMPTY, "The size of /dev/shm unless a container says otherwise."
        ),
        Setting(
            "default-ulimits",
            LIST,
            (),
            _each(parse_ulimit, "NAME=SOFT[:HARD]"),
            "Resource limits unless a container says otherwise, such as nofile=1024:2048.",
        ),
        Setting(
            "default-cgroupns-mode",
            STRING,
            "",
            in_("", "host", "private"),
            "The cgroup namespace unless a container says otherwise; empty: private on cgroup v2, else host.",
        ),
        Setting("registry-mirrors", LIST, (), _each(_mirror, "a URL"), "Asked before docker.io itself, in this order."),
        Setting(
            "insecure-registries",
            LIST,
            (),
            None,
            "HOST[:PORT] or networks whose registries may speak plain HTTP or be unverified; loopback always may.",
        ),
        Setting("max-concurrent-downloads", INT, 3, at_least(1), "Layers of one pull that come in at the same time."),
        Setting("max-concurrent-uploads", INT, 5, at_least(1), "Layers of one push that go out at the same time."),
        Setting("max-download-attempts", INT, 5, at_least(1), "How often a pull asks for one thing that fails."),
        Setting(
            "bridge", STRING, "docker0", None, "The default network's bridge; `none`: there is no default network."
        ),
        Setting("bip", STRING, "", INTERFACE, "The default bridge's address and subnet; empty: the first free pool."),
        Setting(
            "default-address-pools",
            LIST,
            (),
            _each(parse_pool, "base=NETWORK,size=PREFIX_LENGTH"),
            "Where subnets are taken from; empty: Docker's own pools.",
        ),
        Setting(
            "ip",
            STRING,
            "",
            ADDRESS,
            "The address on which ports are published that name none; empty: every address of the host.",
            HIGH,
        ),
        Setting(
            "publish-firewalled",
            BOOLEAN,
            False,
            None,
            "Published ports are open to other machines only where the nftables chain `user` accepts.",
            HIGH,
        ),
        Setting("mtu", INT, 1500, between(68, 65535), "The MTU of the default network and of those that name none."),
        Setting("icc", BOOLEAN, True, None, "Containers of the default network may talk to each other."),
        Setting("ip-masq", BOOLEAN, True, None, "Outgoing traffic of the default network gets the host's address."),
        Setting("ip-forward", BOOLEAN, True, None, "Switch on the kernel's IP forwarding if it is off."),
        Setting("dns", LIST, (), ADDRESSES, "Name servers of containers; empty: the host's."),
        Setting("dns-search", LIST, (), None, "Search domains of containers."),
        Setting("dns-opts", LIST, (), None, "Resolver options of containers."),
        Setting(
            "host-gateway-ips",
            LIST,
            (),
            ADDRESSES,
            "What `host-gateway` in --add-host stands for; empty: the default bridge's address.",
        ),
        Setting("labels", LIST, (), PAIRS, "Labels of the daemon, as `docker info` shows them.", LOW),
        Setting("debug", BOOLEAN, False, None, "As `log-level` debug, whatever that says.", LOW),
        Setting("log-level", STRING, "info", in_(*LEVELS), "How much the daemon says on standard error.", LOW),
    ]
)

FLAGS: Final = {
    "hosts": "host",
    "log-opts": "log-opt",
    "default-ulimits": "default-ulimit",
    "registry-mirrors": "registry-mirror",
    "insecure-registries": "insecure-registry",
    "default-address-pools": "default-address-pool",
    "dns-opts": "dns-opt",
    "host-gateway-ips": "host-gateway-ip",
    "labels": "label",
}
"""Keys whose flag has another name."""
