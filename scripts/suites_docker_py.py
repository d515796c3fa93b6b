"""docker-py's integration suite against an engine in namespaces of its own; a registry beside it is docker.io's mirror.

Left out are the tests of what is no part of the engine: swarm with its services, nodes, secrets and configs, plugins,
and credential helpers. The images that the suite pulls are one busybox under several names.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from riverport.engine.bootstrap import busybox
from riverport.testing import isolation
from riverport.testing.engines import EngineProcess, dockerd, riverport

API_VERSION = "1.45"
LEFT_OUT = (
    "api_swarm_test.py",
    "api_service_test.py",
    "api_secret_test.py",
    "api_config_test.py",
    "api_plugin_test.py",
    "models_nodes_test.py",
    "models_services_test.py",
    "models_swarm_test.py",
    "credentials",
)
NEED_SWARM = (
    "test_create_inspect_network_with_scope",
    "test_create_network_attachable",
    "test_create_network_ingress",
)
IMAGES = ("alpine:3.10", "busybox:latest", "hello-world:latest", "alpine:latest")
MIRROR = "127.0.0.1:5000"


def arguments() -> list[str]:
    """What pytest is to run, inside the repository."""
    files = [f"--ignore=tests/integration/{name}" for name in LEFT_OUT]
    networks = "tests/integration/api_network_test.py::TestNetworks"
    return ["tests/integration", *files, *(f"--deselect={networks}::{name}" for name in NEED_SWARM)]


@contextlib.contextmanager
def engine(kind: str) -> Iterator[EngineProcess]:
    """An engine with the suite's images, and a mirror that has them too."""
    lacking = isolation.missing()
    if lacking:
        sys.exit(lacking)
    made = {"riverport": riverport, "dockerd": dockerd}[kind]()
    with tempfile.TemporaryDirectory(prefix="rp-") as root:
        running = EngineProcess(made, Path(root), ["--registry-mirror", f"http://{MIRROR}"])
        try:
            with _mirror(running, Path(root) / "registry"):
                _fill(running)
                yield running
        finally:
            running.close()


@contextlib.contextmanager
def _mirror(running: EngineProcess, root: Path) -> Iterator[None]:
    words = [sys.executable, "-m", "riverport", "registry", "start", "--listen", MIRROR, "--root", str(root)]
    registry = subprocess.Popen(running.isolation.command(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        host, _, port = MIRROR.partition(":")
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                running.isolation.connect(host, int(port)).close()
                break
            if registry.poll() is not None or time.monotonic() > deadline:
                sys.exit("the mirror did not start: try `riverport registry start`")
            time.sleep(0.05)
        yield
    finally:
        registry.terminate()
        registry.wait()


def _fill(running: EngineProcess) -> None:
    program = busybox.find()
    users = {**busybox.USERS, "postgres": 70}  # the suite gives files to postgres
    tar = busybox.image_tar(program.read_bytes(), busybox.applets(program), users)
    for image in IMAGES:
        name, _, tag = image.partition(":")
        running.import_image(tar, name, tag, busybox.CHANGES)
        mirrored = f"{MIRROR}/library/{image}"
        running.cli("tag", image, mirrored)
        running.cli("push", mirrored)
        running.cli("rmi", mirrored)
