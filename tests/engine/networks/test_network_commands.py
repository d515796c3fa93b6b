"""Networks through the docker command, on a daemon."""

import json
from collections.abc import Callable, Iterator

import pytest
from tests.engine.harness import Engine


@pytest.fixture
def web(engine: Engine) -> Iterator[str]:
    engine.cli("network", "create", "--subnet", "10.77.0.0/24", "web")
    return "web"


def run(engine: Engine, *words: str) -> str:
    return engine.cli("run", "--rm", *words).stdout


def start(engine: Engine, name: str, *options: str, command: tuple[str, ...] = ("sleep", "60")) -> str:
    return engine.cli("run", "-d", "--init", "--name", name, *options, "busybox", *command).stdout.strip()


def _address(engine: Engine, name: str) -> str:
    return engine.cli("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).stdout.strip()


def serve(engine: Engine, name: str, *options: str) -> str:
    """A container that answers on port 80 with its own name."""
    page = f"mkdir /www && echo {name} >/www/index.html && exec httpd -f -h /www"
    return start(engine, name, *options, command=("sh", "-c", page))


def test_a_container_has_an_address_a_name_and_a_way_out(engine: Engine) -> None:
    assert "inet 172.17.0." in run(engine, "busybox", "ip", "addr", "show", "eth0")
    assert "default via 172.17.0.1 dev eth0" in run(engine, "busybox", "ip", "route")
    hosts = run(engine, "--hostname", "box", "--domainname", "example.org", "busybox", "cat", "/etc/hosts")
    assert hosts.splitlines()[-1].endswith("\tbox.example.org box")


def test_services_of_a_network_find_each_other_by_name(engine: Engine, web: str) -> None:
    serve(engine, "backend", "--network", web, "--network-alias", "api")
    fetch = ("busybox", "wget", "-q", "-O", "-")
    assert run(engine, "--network", web, *fetch, "http://backend/") == "backend\n"
    assert run(engine, "--network", web, *fetch, "http://api/") == "backend\n"
    engine.cli("rename", "backend", "renamed")
    assert run(engine, "--network", web, *fetch, "http://renamed/") == "backend\n"


def test_chosen_addresses(engine: Engine, web: str) -> None:
    options = ("--network", web, "--ip", "10.77.0.50", "--mac-address", "02:42:00:00:00:09")
    start(engine, "fixed", *options)
    shown = run(engine, "--network", "container:fixed", "busybox", "ip", "addr", "show", "eth0")
    assert "10.77.0.50/24" in shown
    assert "02:42:00:00:00:09" in shown
    refused = engine.cli("run", "--rm", *options[:4], "busybox", "true", check=False)
    assert refused.returncode == 125
    assert "Address already in use" in refused.stderr
    outside = engine.cli("run", "--rm", "--network", web, "--ip", "10.78.0.1", "busybox", "true", check=False)
    assert "no configured subnet contains IP address 10.78.0.1" in outside.stderr


def test_a_network_is_made_from_a_configuration_only_one(engine: Engine) -> None:
    engine.cli("network", "create", "--config-only", "--subnet", "10.79.0.0/24", "--label", "team=blue", "pattern")
    engine.cli("network", "create", "--config-from", "pattern", "web")
    assert "10.79.0.2/24" in run(engine, "--network", "web", "busybox", "ip", "addr", "show", "eth0")
    refused = engine.cli("run", "--rm", "--network", "pattern", "busybox", "true", check=False)
    assert refused.returncode == 125
    assert "cannot create endpoint on configuration-only network" in refused.stderr
    assert "is in use" in engine.cli("network", "rm", "pattern", check=False).stderr
    engine.cli("network", "rm", "web", "pattern")


def test_a_port_of_a_routed_network_is_shown_without_one_of_the_host(engine: Engine) -> None:
    engine.cli("network", "create", "-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "lan")
    serve(engine, "one", "--network", "lan", "-p", "18080:80")
    assert json.loads(engine.cli("inspect", "-f", "{{json .NetworkSettings.Ports}}", "one").stdout) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]
    }
    assert engine.api("GET", "/containers/json")[1][0]["Ports"] == [{"IP": "0.0.0.0", "PrivatePort": 80, "Type": "tcp"}]
    fetch = ("busybox", "wget", "-q", "-O", "-", f"http://{_address(engine, 'one')}/")
    assert run(engine, "--network", "host", *fetch) == "one\n"
    assert run(engine, *fetch) == "one\n"  # from another network


def test_published_ports_answer_and_are_shown(engine: Engine) -> None:
    serve(engine, "one", "-p", "18080:80", "-p", "127.0.0.1::81")
    shown = engine.cli("port", "one").stdout.splitlines()
    assert "80/tcp -> 0.0.0.0:18080" in shown
    assert any(line.startswith("81/tcp -> 127.0.0.1:") for line in shown)
    page = run(engine, "--network", "host", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/")
    assert page == "one\n"
    refused = engine.cli("run", "-d", "--name", "two", "-p", "18080:80", "busybox", "sleep", "9", check=False)
    assert refused.returncode == 125
    assert "Bind for 0.0.0.0:18080 failed: port is already allocated" in refused.stderr
    engine.cli("rm", "-f", "one")
    engine.cli("start", "two")


def test_a_running_container_is_connected_and_disconnected(engine: Engine, web: str) -> None:
    start(engine, "one")
    engine.cli("network", "connect", "--alias", "db", web, "one")
    assert "10.77.0." in engine.cli("exec", "one", "ip", "addr", "show", "eth1").stdout
    assert "nameserver 127.0.0.11" in engine.cli("exec", "one", "cat", "/etc/resolv.conf").stdout
    assert "10.77.0.2" in run(engine, "--network", web, "busybox", "nslookup", "db")
    again = engine.cli("network", "connect", web, "one", check=False)
    assert "already exists in network web" in again.stderr
    engine.cli("network", "disconnect", web, "one")
    assert engine.cli("exec", "one", "ip", "addr", "show", "eth1", check=False).returncode != 0
    missing = engine.cli("network", "disconnect", web, "one", check=False)
    assert "is not connected to" in missing.stderr


def test_a_stopped_container_joins_at_its_next_start_what_it_was_connected_to(engine: Engine, web: str) -> None:
    engine.cli("create", "--name", "one", "busybox", "sleep", "60")
    engine.cli("network", "connect", web, "one")
    engine.cli("network", "disconnect", "bridge", "one")
    engine.cli("start", "one")
    networks = json.loads(engine.cli("inspect", "-f", "{{json .NetworkSettings.Networks}}", "one").stdout)
    assert list(networks) == [web]
    assert networks[web]["IPAddress"] == "10.77.0.2"
    engine.cli("stop", "-t", "0", "one")
    networks = json.loads(engine.cli("inspect", "-f", "{{json .NetworkSettings.Networks}}", "one").stdout)
    assert networks[web]["IPAddress"] == ""


def test_host_none_and_shared_networks(engine: Engine) -> None:
    assert "docker0" in run(engine, "--network", "host", "busybox", "ip", "addr")
    assert "eth0" not in run(engine, "--network", "none", "busybox", "ip", "addr")
    serve(engine, "one")
    page = run(engine, "--network", "container:one", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1/")
    assert page == "one\n"
    refused = engine.cli("run", "--rm", "--network", "nowhere", "busybox", "true", check=False)
    assert refused.returncode == 125
    assert "network nowhere not found" in refused.stderr


def test_extra_hosts_and_dns_options(engine: Engine) -> None:
    options = ("--add-host", "db:10.0.0.9", "--add-host", "host.docker.internal:host-gateway")
    hosts = run(engine, *options, "busybox", "cat", "/etc/hosts").splitlines()
    assert {"10.0.0.9\tdb", "172.17.0.1\thost.docker.internal"} <= set(hosts)
    options = ("--dns", "192.0.2.1", "--dns-search", "example.org", "--dns-option", "timeout:1")
    text = run(engine, *options, "busybox", "cat", "/etc/resolv.conf")
    assert text.splitlines() == ["nameserver 192.0.2.1", "search example.org", "options timeout:1"]


def test_legacy_links_of_the_default_network(engine: Engine) -> None:
    serve(engine, "backend")
    assert run(engine, "--link", "backend:db", "busybox", "wget", "-q", "-O", "-", "http://db/") == "backend\n"


def test_networks_are_listed_filtered_and_pruned(engine: Engine, web: str) -> None:
    engine.cli("network", "create", "--label", "tier=back", "--internal", "lab")
    start(engine, "one", "--network", web)

    def names(*filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return sorted(engine.cli("network", "ls", "--format", "{{.Name}}", *words).stdout.split())

    assert names() == ["bridge", "host", "lab", "none", "web"]
    assert names("type=custom") == ["lab", "web"]
    assert names("label=tier=back") == ["lab"]
    assert names("driver=null") == ["none"]
    assert names("dangling=true") == ["lab"]
    assert names("name=we", "type=custom") == ["web"]
    wrong = engine.cli("network", "ls", "--filter", "type=odd", check=False)
    assert "invalid filter: 'type'='odd'" in wrong.stderr
    assert engine.cli("network", "prune", "-f").stdout.split() == ["Deleted", "Networks:", "lab"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("create", "bridge"), "operation is not permitted on predefined bridge network"),
        (("create", "-d", "host", "x"), 'only one instance of "host" network is allowed'),
        (("create", "-d", "weave", "x"), 'plugin "weave" not found'),
        (("create", "--subnet", "172.17.0.0/24", "x"), "Pool overlaps with other one on this address space"),
        (("create", "--subnet", "10.0.0.1/24", "x"), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        (("rm", "bridge"), "bridge is a pre-defined network and cannot be removed"),
        (("rm", "nowhere"), "network nowhere not found"),
        (("inspect", "nowhere"), "network nowhere not found"),
        (("connect", "nowhere", "xy"), "nowhere not found"),
    ],
)
def test_refusals(engine: Engine, words: tuple[str, ...], text: str) -> None:
    if words[0] == "connect":
        engine.cli("create", "--name", "xy", "busybox")
    refused = engine.cli("network", *words, check=False)
    assert refused.returncode != 0
    assert text in refused.stderr


def test_a_network_in_use_cannot_be_removed(engine: Engine, web: str) -> None:
    start(engine, "one", "--network", web)
    refused = engine.cli("network", "rm", web, check=False)
    assert 'network web has active endpoints (name:"one"' in refused.stderr
    assert engine.api("POST", "/networks/create", {"Name": web})[0] == 409


def test_a_network_is_told_as_the_client_s_version_knows_it(engine: Engine, web: str) -> None:
    network_id = engine.api("GET", f"/networks/{web}")[1]["Id"]
    assert engine.api("GET", f"/v1.44/networks/{network_id[:12]}")[1]["Name"] == web
    assert "EnableIPv4" not in engine.api("GET", f"/v1.44/networks/{web}")[1]
    assert engine.api("GET", f"/networks/{web}?scope=swarm")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"Name": 1},
        {"Name": "x", "Internal": "yes"},
        {"Name": "x", "Options": {"a": 1}},
        {"Name": "x", "IPAM": []},
        {"Name": "x", "IPAM": {"Config": [1]}},
        {"Name": "x", "IPAM": {"Config": [{"Subnet": 5}]}},
        {"Name": ""},
    ],
)
def test_rubbish_is_a_client_s_mistake(engine: Engine, body: object) -> None:
    status, answer = engine.api("POST", "/networks/create", body)
    assert status == 400, answer


def test_a_killed_daemon_comes_back_to_the_networks_it_left(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine("--live-restore")
    engine.cli("network", "create", "web")
    serve(engine, "one", "--network", "web", "-p", "18080:80")
    engine.kill()
    engine.start()
    assert "172.18.0.2" in run(engine, "--network", "web", "busybox", "nslookup", "one")
    page = run(engine, "--network", "host", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/")
    assert page == "one\n"
    refused = engine.cli("run", "--rm", "-p", "18080:80", "busybox", "true", check=False)
    assert "port is already allocated" in refused.stderr
    engine.cli("rm", "-f", "one")
    engine.cli("network", "rm", "web")
