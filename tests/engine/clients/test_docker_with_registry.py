"""docker, a daemon and our registry together: log in, push, pull, through a cache; skopeo and buildah beside them."""

import json
import os
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


def test_a_single_image_for_another_platform_is_taken_with_a_warning(
    engine: Engine, registries: Registries, tmp_path: Path
) -> None:
    """By a pull and by a build, as by dockerd: nobody but its author knows what it is for."""
    name = f"{registries.start()}/team/app:1"
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    engine.cli("import", "--platform", "linux/s390x", str(tmp_path / "empty.tar"), name)
    engine.cli("push", name)
    engine.cli("rmi", name)
    warning = (
        f"WARNING: image with reference {name} was found but its platform (linux/s390x) does not match the specified "
        "platform (linux/arm/v7)"
    )
    assert warning in output(engine, "pull", "--platform", "linux/arm/v7", name)
    engine.cli("rmi", name)
    (tmp_path / "Dockerfile").write_text(f"FROM --platform=linux/arm/v7 {name}\nLABEL built=yes\n")
    built = output(engine, "build", "--tag", "built", "--file", str(tmp_path / "Dockerfile"), str(tmp_path))
    assert warning in built
    assert "Successfully tagged built:latest" in built
    engine.cli("rmi", "built", name)


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


class Buildah:
    """In the daemon's network, with storage, configuration and temporary files of its own."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self._engine = engine
        policy, aliases = directory / "policy.json", directory / "registries.conf"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        aliases.write_text("unqualified-search-registries = []\n")
        self._environment = {**os.environ, "HOME": str(directory), "TMPDIR": str(directory)}
        self._options = ["--root", str(directory / "storage"), "--runroot", str(directory / "run")]
        self._options += ["--storage-driver", "vfs", "--registries-conf", str(aliases)]
        self._of_transfers = ["--signature-policy", str(policy), "--tls-verify=false"]

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            self._engine.isolation.command(["buildah", *self._options, *words]),
            capture_output=True,
            text=True,
            timeout=60,
            env=self._environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def image(self, directory: Path, name: str) -> str:
        """An image from scratch of one file `made`; its id."""
        (directory / "made").write_text("by buildah\n")
        (directory / "Containerfile").write_text('FROM scratch\nCOPY made /made\nCMD ["nothing"]\n')
        return self("build", "--isolation", "chroot", "--quiet", "--tag", name, *self._of_transfers, str(directory))

    def push(self, name: str, target: str, *options: str) -> str:
        """The manifest's digest, as buildah wrote it down."""
        file = Path(self._environment["TMPDIR"]) / "digest"
        self("push", "--digestfile", str(file), *self._of_transfers, *options, name, target)
        return file.read_text()

    def pull(self, name: str) -> str:
        """The image's id."""
        return self("pull", "--quiet", *self._of_transfers, name)


@pytest.fixture
def buildah(engine: Engine, tmp_path: Path) -> Buildah:
    if shutil.which("buildah") is None:
        pytest.skip("needs buildah: scripts/setup-debian installs it")
    directory = tmp_path / "buildah"
    directory.mkdir()
    return Buildah(engine, directory)


def identity(engine: Engine, name: str) -> tuple[str, list[str]]:
    """An image's id, and the digests it is known by."""
    status, image = engine.api("GET", f"/images/{name}/json")
    assert status == 200, image
    return image["Id"].removeprefix("sha256:"), [one.rpartition("@")[2] for one in image["RepoDigests"]]


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_what_buildah_pushes_is_what_docker_pulls(
    engine: Engine, registries: Registries, buildah: Buildah, tmp_path: Path, form: str
) -> None:
    name = f"{registries.start()}/buildah/{form}:1"
    made = buildah.image(tmp_path, name)
    digest = buildah.push(name, f"docker://{name}", "--format", form)
    engine.cli("pull", name)
    image, digests = identity(engine, name)
    assert (image, digests) == (made, [digest])
    container = engine.cli("create", name).stdout.strip()
    engine.cli("cp", f"{container}:/made", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "by buildah\n"
    engine.cli("rm", container)
    engine.cli("rmi", name)


def test_what_docker_pushes_is_what_buildah_pulls_and_pushes_on(
    engine: Engine, registries: Registries, buildah: Buildah
) -> None:
    host = registries.start()
    first, second = f"{host}/team/app:1", f"{host}/other/app:2"
    engine.cli("tag", "busybox", first)
    engine.cli("push", first)
    image, digests = identity(engine, first)
    assert buildah.pull(f"docker://{first}") == image
    pushed = buildah.push(first, f"docker://{second}")  # it packs layers anew
    engine.cli("pull", second)
    again, known = identity(engine, second)
    assert (again, set(known)) == (image, {*digests, pushed})
    assert engine.cli("run", "--rm", second, "echo", "runs").stdout == "runs\n"
    engine.cli("rmi", first, second)


def test_images_go_between_buildah_and_the_daemon_as_archives(engine: Engine, buildah: Buildah, tmp_path: Path) -> None:
    """Its transport `docker-daemon` asks for an API of 2016 (1.22), which dockerd 28 refuses, too."""
    name = "localhost/made:1"
    made = buildah.image(tmp_path, name)
    archive, back = tmp_path / "made.tar", tmp_path / "back.tar"
    buildah.push(name, f"docker-archive:{archive}:{name}")
    assert engine.cli("load", "-i", str(archive)).stdout == f"Loaded image: {name}\n"
    image, _ = identity(engine, name)
    engine.cli("save", "-o", str(back), name)
    assert buildah.pull(f"docker-archive:{back}") == image == made
    assert buildah.pull(f"oci-archive:{back}") == image
    engine.cli("rmi", name)
