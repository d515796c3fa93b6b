"""docker, a daemon and our registry together: log in, push, pull, through a cache; skopeo beside them."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from tests.engine.harness import Engine


class Registries:
    """Registries in the daemon's network."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self._engine = engine
        self._directory = directory
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, *options: str) -> str:
        """Start one; its HOST:PORT."""
        root = Path(tempfile.mkdtemp(dir=self._directory, prefix="registry"))
        words = [sys.executable, "-m", "riverport", "registry", "start", "--root", str(root), "--json"]
        words += ["--listen", "127.0.0.1:0", "--log-level", "error", *options]
        process = subprocess.Popen(self._engine.isolation.command(words), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        host: str = json.loads(process.stdout.readline())["urls"][0].removeprefix("http://")
        self._running[host] = process
        return host

    def stop(self, host: str) -> None:
        process = self._running.pop(host)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()

    def close(self) -> None:
        for host in list(self._running):
            self.stop(host)


@pytest.fixture
def registries(engine: Engine, tmp_path: Path) -> Iterator[Registries]:
    made = Registries(engine, tmp_path)
    yield made
    made.close()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())
    return path


def output(engine: Engine, *words: str, check: bool = True) -> str:
    done = engine.cli(*words, check=check)
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["htpasswd", "token"])
def test_only_who_has_logged_in_pushes_and_pulls(
    engine: Engine, registries: Registries, users: Path, kind: str
) -> None:
    auth = ["--auth", "token", "--token-users", str(users)] if kind == "token" else ["--auth", f"htpasswd={users}"]
    host = registries.start(*auth)
    name = f"{host}/team/app:1"
    engine.cli("tag", "busybox", name)
    refused = {"htpasswd": "no basic auth credentials", "token": "denied: requested access to the resource is denied"}
    assert refused[kind] in output(engine, "push", name, check=False)
    wrong = engine.cli("login", "-u", "alice", "--password-stdin", host, input="wrong", check=False)
    assert wrong.returncode == 1
    engine.cli("login", "-u", "alice", "--password-stdin", host, input="secret")
    assert "1: digest: sha256:" in output(engine, "push", name)
    engine.cli("rmi", name)
    assert "Downloaded newer image" in output(engine, "pull", name)
    engine.cli("logout", host)
    engine.cli("rmi", name)
    assert engine.cli("pull", name, check=False).returncode == 1


def test_layers_that_the_registry_has_are_mounted_and_tags_listed(engine: Engine, registries: Registries) -> None:
    host = registries.start()
    first, second = f"{host}/team/app:1", f"{host}/other/app:2"
    for name in (first, second):
        engine.cli("tag", "busybox", name)
    assert "Pushed" in output(engine, "push", first)
    assert "Mounted from team/app" in output(engine, "push", second)
    assert "Layer already exists" in output(engine, "push", second)
    missing = output(engine, "pull", f"{host}/team/app:nosuch", check=False)
    assert f"manifest for {host}/team/app:nosuch not found: manifest unknown: manifest unknown" in missing
    engine.cli("rmi", first, second)
    output(engine, "pull", "-a", f"{host}/team/app")
    engine.cli("rmi", first)


def test_a_pull_through_a_cache_does_without_its_upstream_the_second_time(
    engine: Engine, registries: Registries
) -> None:
    origin = registries.start()
    name = f"{origin}/team/app:1"
    engine.cli("tag", "busybox", name)
    engine.cli("push", name)
    cache = registries.start("--proxy", f"http://{origin}")
    cached = f"{cache}/team/app:1"
    first = output(engine, "pull", cached)
    assert "Digest: sha256:" in first
    assert engine.cli("push", cached, check=False).returncode == 1
    engine.cli("rmi", name, cached)
    registries.stop(origin)
    engine.cli("pull", cached)
    engine.cli("rmi", cached)


def test_skopeo_copies_in_and_out(engine: Engine, registries: Registries, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo: scripts/setup-debian installs it")
    host = registries.start()
    engine.cli("save", "busybox", "-o", str(tmp_path / "image.tar"))

    def copy(source: str, target: str, *options: str) -> None:
        words = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
        done = subprocess.run(
            engine.isolation.command([*words, *options, source, target]), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    registry = f"docker://{host}/skopeo/app"
    copy(f"docker-archive:{tmp_path}/image.tar", f"{registry}:1")
    copy(f"{registry}:1", f"oci:{tmp_path}/layout:1", "--format", "oci")
    copy(f"oci:{tmp_path}/layout:1", f"{registry}:2")
    assert (tmp_path / "layout" / "index.json").exists()
    for tag in ("1", "2"):
        name = f"{host}/skopeo/app:{tag}"
        engine.cli("pull", name)
        assert engine.cli("run", "--rm", name, "echo", "runs").stdout == "runs\n"
        engine.cli("rmi", name)
