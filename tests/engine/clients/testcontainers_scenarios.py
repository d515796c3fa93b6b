"""What tests with testcontainers-python do; run by test_testcontainers.py in the daemon's network.

A scenario is a function; its docstring says what it shows. Each prints one line of JSON.
"""

import json
import socket
import sys
import tempfile
import traceback
import urllib.request
from pathlib import Path

from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy, HttpWaitStrategy, LogMessageWaitStrategy
from testcontainers.core.waiting_utils import wait_for_logs

SERVER = "mkdir -p /www && echo it works > /www/index.html && echo server ready && exec httpd -f -p 80 -h /www"


def server() -> DockerContainer:
    return DockerContainer("busybox").with_command(["sh", "-c", SERVER]).with_exposed_ports(80)


def fetched(container: DockerContainer) -> str:
    url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(80)}/"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def scenario_a_port_is_reached_where_the_library_says() -> None:
    with server().waiting_for(HttpWaitStrategy(80, "/").for_status_code(200)) as container:
        assert fetched(container) == "it works\n"


def scenario_a_log_line_is_waited_for() -> None:
    with server().waiting_for(LogMessageWaitStrategy("server ready")) as container:
        assert container.get_logs()[0] == b"server ready\n"


def scenario_a_log_line_is_waited_for_the_older_way() -> None:
    with server() as container:
        assert wait_for_logs(container, "server ready", timeout=10) >= 0


def scenario_health_is_waited_for() -> None:
    check = {"test": ["CMD", "test", "-e", "/www/index.html"], "interval": 100_000_000}
    with server().with_kwargs(healthcheck=check).waiting_for(HealthcheckWaitStrategy()) as container:
        assert container.get_wrapped_container().attrs["Config"]["Healthcheck"]["Test"] == check["test"]


def scenario_commands_run_inside() -> None:
    with server().with_env("WHO", "tests") as container:
        done = container.exec(["sh", "-c", "echo $WHO; exit 4"])
        assert (done.exit_code, done.output) == (4, b"tests\n")


def scenario_containers_of_a_network_find_one_another() -> None:
    with Network() as network, server().with_network(network).with_network_aliases("shop") as container:
        wait_for_logs(container, "server ready", timeout=10)
        command = ["sh", "-c", "wget -qO- http://shop/ && echo asked"]
        with DockerContainer("busybox").with_command(command).with_network(network) as client:
            wait_for_logs(client, "asked", timeout=10)
            assert client.get_logs()[0] == b"it works\nasked\n"


def scenario_a_directory_is_mounted() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_text("mounted")
        mounted = server().with_volume_mapping(folder, "/data", "ro")
        with mounted as container:
            assert container.exec(["cat", "/data/file"]).output == b"mounted"
            assert container.exec(["touch", "/data/other"]).exit_code != 0


def scenario_an_image_is_built_for_a_test() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text("FROM busybox\nRUN echo baked > /cake\nCMD cat /cake && sleep 60\n")
        with (
            DockerImage(path=folder, tag="test/cake:1") as image,
            DockerContainer(str(image)) as container,
        ):
            wait_for_logs(container, "baked", timeout=10)


def scenario_a_bound_port_is_the_one_that_was_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with server().with_bind_ports(80, port).waiting_for(HttpWaitStrategy(80, "/")) as container:
        assert int(container.get_exposed_port(80)) == port
        assert fetched(container) == "it works\n"


def scenario_nothing_is_left_when_a_test_ends() -> None:
    client = DockerClient().client
    with server() as container:
        made = container.get_wrapped_container().id
        assert made in [each.id for each in client.containers.list()]
    assert made not in [each.id for each in client.containers.list(all=True)]


def main() -> None:
    for name, scenario in list(globals().items()):
        if not name.startswith("scenario_"):
            continue
        problem = ""
        try:
            scenario()
        except Exception:
            problem = traceback.format_exc()
        print(json.dumps({"scenario": name.removeprefix("scenario_"), "problem": problem}), flush=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
