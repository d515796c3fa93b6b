"""The docker command, the engine and a registry: push, pull, mirrors, credentials."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest
from tests.engine import harness

PORT = 5000
HOST = f"127.0.0.1:{PORT}"


@contextmanager
def registry(engine: harness.Engine, root: Path, *options: str) -> Iterator[None]:
    """Ours, in the daemon's network namespace, so that its loopback is the daemon's."""
    words = [sys.executable, "-m", "riverport", "registry", "start", "--root", str(root), "--listen", HOST, "--json"]
    process = subprocess.Popen(
        engine.isolation.command([*words, *options]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["ready"] is True
        yield
    finally:
        process.terminate()
        process.communicate()


def test_an_image_goes_to_a_registry_and_comes_back_the_same(engine: harness.Engine, tmp_path: Path) -> None:
    name = f"{HOST}/team/box:1"
    with registry(engine, tmp_path):
        engine.cli("tag", "busybox", name)
        before = engine.cli("inspect", "-f", "{{.Id}}", name).stdout
        said = engine.cli("push", name).stdout
        assert said.startswith(f"The push refers to repository [{HOST}/team/box]\n")
        digest = re.search(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", said)
        assert digest is not None, said
        assert "Layer already exists" in engine.cli("push", name).stdout
        engine.cli("rmi", name)
        said = engine.cli("pull", name).stdout
        assert f"Digest: {digest[1]}\nStatus: Downloaded newer image for {name}\n" in said
        assert engine.cli("inspect", "-f", "{{.Id}}", name).stdout == before
        assert f"Status: Image is up to date for {name}\n" in engine.cli("pull", name).stdout
        pinned = f"{HOST}/team/box@{digest[1]}"
        engine.cli("pull", pinned)
        assert engine.cli("run", "--rm", pinned, "echo", "pinned").stdout == "pinned\n"
        assert engine.cli("inspect", "-f", "{{.RepoDigests}}", name).stdout == f"[{pinned}]\n"
        engine.cli("rmi", name)  # and its digest, as it was the last tag


def test_run_and_build_pull_what_is_not_here(engine: harness.Engine, tmp_path: Path) -> None:
    name = f"{HOST}/auto"
    with registry(engine, tmp_path / "registry"):
        engine.cli("tag", "busybox", name)
        engine.cli("push", name)
        engine.cli("rmi", name)
        done = engine.cli("run", "--rm", name, "echo", "hi")
        assert done.stdout == "hi\n"
        assert f"Unable to find image '{name}:latest' locally" in done.stderr
        engine.cli("rmi", name)
        engine.cli("build", "-q", "-t", "on-it", "-", input=f"FROM {name}\nRUN true\n")
        engine.cli("rmi", "on-it", name)


def test_all_tags_go_and_come_at_once(engine: harness.Engine, tmp_path: Path) -> None:
    name = f"{HOST}/many"
    with registry(engine, tmp_path):
        for tag in ("one", "two"):
            engine.cli("tag", "busybox", f"{name}:{tag}")
        engine.cli("push", "-a", name)
        engine.cli("rmi", f"{name}:one", f"{name}:two")
        engine.cli("pull", "-a", name)
        assert engine.cli("images", "--format", "{{.Tag}}", name).stdout.split() == ["one", "two"]
        engine.cli("rmi", f"{name}:one", f"{name}:two")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("team/absent", f"manifest for {HOST}/team/absent:latest not found: manifest unknown"),
        ("UPPER", "invalid reference format: repository name (UPPER) must be lowercase"),
    ],
)
def test_what_is_not_there_is_told_in_dockers_words(
    engine: harness.Engine, tmp_path: Path, reference: str, says: str
) -> None:
    with registry(engine, tmp_path):
        done = engine.cli("pull", f"{HOST}/{reference}", check=False)
    assert done.returncode == 1
    assert says in done.stderr


def test_a_registry_that_asks_who_is_there(engine: harness.Engine, tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    name = f"{HOST}/private"
    engine.cli("tag", "busybox", name)
    with registry(engine, tmp_path / "root", "--auth", f"htpasswd={tmp_path / 'users'}"):
        refused = engine.cli("push", name, check=False)
        assert (refused.returncode, "no basic auth credentials" in refused.stderr) == (1, True), refused.stderr
        wrong = engine.cli("login", "-u", "alice", "--password-stdin", HOST, input="guess", check=False)
        assert (wrong.returncode, "unauthorized" in wrong.stderr) == (1, True), wrong.stderr
        assert "Login Succeeded" in engine.cli("login", "-u", "alice", "--password-stdin", HOST, input="secret").stdout
        try:
            engine.cli("push", name)
            engine.cli("rmi", name)
            engine.cli("pull", name)
        finally:
            engine.cli("logout", HOST)
        engine.cli("rmi", name)
        refused = engine.cli("pull", name, check=False)
        assert (refused.returncode, "no basic auth credentials" in refused.stderr) == (1, True), refused.stderr


def test_a_mirror_is_asked_before_docker_io(make_engine: Callable[..., harness.Engine], tmp_path: Path) -> None:
    engine = make_engine("--registry-mirror", f"http://{HOST}")
    with registry(engine, tmp_path):
        engine.cli("tag", "busybox", f"{HOST}/library/mirrored")
        engine.cli("push", f"{HOST}/library/mirrored")
        engine.cli("pull", "mirrored")
        assert engine.cli("run", "--rm", "mirrored", "echo", "hi").stdout == "hi\n"
        status, told = engine.api("GET", "/distribution/mirrored/json")
        assert (status, told["Platforms"][0]["os"]) == (200, "linux")


def test_what_a_registry_has_can_be_asked_without_pulling(engine: harness.Engine, tmp_path: Path) -> None:
    name = f"{HOST}/listed"
    with registry(engine, tmp_path):
        engine.cli("tag", "busybox", name)
        engine.cli("push", name)
        status, told = engine.api("GET", f"/distribution/{name}/json")
        assert status == 200
        assert told["Platforms"][0]["os"] == "linux"
        assert told["Descriptor"]["digest"].startswith("sha256:")
        engine.cli("rmi", name)
