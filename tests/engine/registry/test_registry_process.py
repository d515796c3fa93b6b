"""`riverport registry` as a process: its options, its end, and being killed amid pushes."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from tests.engine.registry.served import digest_of, image

COMMAND = [sys.executable, "-m", "riverport", "registry"]
KILLS = int(os.environ.get("RIVERPORT_TEST_REGISTRY_KILLS", "4"))


class Process:
    def __init__(self, root: Path, *options: str) -> None:
        listen = () if "--listen" in options else ("--listen", "127.0.0.1:0")
        self._process = subprocess.Popen(
            [*COMMAND, "start", "--root", str(root), "--json", "--log-level", "warning", *listen, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the registry did not start"
        self.ready: dict[str, Any] = json.loads(line)
        self.url: str = self.ready["urls"][0]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


@contextmanager
def running(root: Path, *options: str) -> Iterator[Process]:
    process = Process(root, *options)
    try:
        yield process
    finally:
        process.kill()


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)


def test_a_registry_starts_serves_and_stops(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert process.ready["ready"] is True
        assert httpx.get(f"{process.url}/v2/").status_code == 200
        second = command("start", "--root", str(tmp_path), "--listen", "127.0.0.1:0")
        assert second.returncode == 1
        assert "another registry works in this directory" in second.stderr
        assert process.stop() == 0


def test_garbage_is_collected_beside_a_running_registry(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        for content in (b"one", b"two"):
            path = f"{process.url}/v2/a/blobs/uploads/?digest={digest_of(content)}"
            assert httpx.post(path, content=content).status_code == 201
        manifest = image(b"one")
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert httpx.put(f"{process.url}/v2/a/manifests/v1", content=manifest, headers=kind).status_code == 201
        # In the second of its push a blob is not yet older than a grace of none.
        collect = ("garbage-collect", "--root", str(tmp_path), "--grace", "0", "--json")
        while json.loads(command(*collect).stdout)["blobs"] == 0:
            pass
        assert httpx.get(f"{process.url}/v2/a/blobs/{digest_of(b'one')}").status_code == 200
        assert httpx.get(f"{process.url}/v2/a/blobs/{digest_of(b'two')}").status_code == 404


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--listen", "nowhere"], 2, "write HOST:PORT"),
        (["--auth", "magic"], 2, "htpasswd=FILE or token"),
        (["--auth", "htpasswd=/nosuch/users"], 1, "/nosuch/users"),
        (["--auth", "token"], 2, "--token-users"),
        (["--tls-cert", "x"], 2, "go together"),
        (["--tls-cert", "/nosuch/c", "--tls-key", "/nosuch/k"], 1, "No such file"),
        (["--proxy", "docker.io"], 2, "https://HOST"),
    ],
)
def test_options_that_make_no_sense_are_told(tmp_path: Path, options: list[str], code: int, words: str) -> None:
    done = command("start", "--root", str(tmp_path), *options)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_there_is_nothing_to_collect_where_no_registry_is(tmp_path: Path) -> None:
    done = command("garbage-collect", "--root", str(tmp_path))
    assert done.returncode == 1
    assert "holds no registry" in done.stderr


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


def test_tls_and_tokens_together(tmp_path: Path) -> None:
    import ssl

    cert, key = certificate(tmp_path)
    users = tmp_path / "users"
    users.write_text("u:" + bcrypt.hashpw(b"p", bcrypt.gensalt(4)).decode())
    options = ["--tls-cert", str(cert), "--tls-key", str(key), "--auth", "token", "--token-users", str(users)]
    with running(tmp_path / "root", *options) as process:
        assert process.url.startswith("https://")
        client = httpx.Client(verify=ssl.create_default_context(cafile=str(cert)))
        answer = client.get(f"{process.url}/v2/")
        assert f'realm="{process.url}/token"' in answer.headers["WWW-Authenticate"]
        scope = "repository:a:pull,push"
        token = client.get(f"{process.url}/token", params={"scope": scope}, auth=("u", "p")).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        content = random.Random(1).randbytes(3_000_000)
        path = f"{process.url}/v2/a/blobs/"
        assert client.post(f"{path}uploads/?digest={digest_of(content)}", content=content).status_code == 201
        assert client.get(path + digest_of(content)).content == content


class Pusher(threading.Thread):
    """Pushes one blob after another until the registry is gone; remembers what it was promised."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self._url = f"{url}/v2/kill/{seed % 3}"
        self._random = random.Random(seed)
        self.kept: list[tuple[str, str]] = []  # repository's URL and digest
        self.begun: list[tuple[str, bytes, int]] = []  # an upload's path, its whole content, bytes that were taken
        self.manifests: list[tuple[str, bytes]] = []

    def run(self) -> None:
        with suppress(httpx.TransportError), httpx.Client(timeout=30) as client:
            while True:
                self._push(client)

    def _push(self, client: httpx.Client) -> None:
        content = self._random.randbytes(self._random.choice([10, 70_000, 1_500_000, 4_000_000]))
        location = client.post(f"{self._url}/blobs/uploads/").headers["Location"]
        half = len(content) // 2
        answer = client.patch(httpx.URL(self._url).join(location), content=content[:half])
        assert answer.status_code == 202
        self.begun.append((location, content, half))
        url = httpx.URL(self._url).join(location)
        answer = client.put(url, params={"digest": digest_of(content)}, content=content[half:])
        assert answer.status_code == 201, answer.text
        self.kept.append((self._url, digest_of(content)))
        manifest = image(content)
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        answer = client.put(f"{self._url}/manifests/{digest_of(manifest)}", content=manifest, headers=kind)
        assert answer.status_code == 201, answer.text
        self.manifests.append((self._url, manifest))


@pytest.mark.slow
def test_a_registry_killed_amid_pushes_shows_no_half_blob_and_keeps_its_promises(tmp_path: Path) -> None:
    chance = random.Random(7)
    for kill in range(KILLS):
        with running(tmp_path) as process:
            pushers = [Pusher(process.url, 100 * kill + number) for number in range(3)]
            for pusher in pushers:
                pusher.start()
            pushers[0].join(chance.uniform(0.02, 0.6))
            process.kill()
            for pusher in pushers:
                pusher.join(60)
                assert not pusher.is_alive()
        with running(tmp_path) as process:
            for pusher in pushers:
                check(process, pusher)
    for path in (tmp_path / "blobs" / "sha256").glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def check(process: Process, pusher: Pusher) -> None:
    """What was promised is there; an upload that was begun goes on where the registry says."""
    base = httpx.URL(process.url)
    with httpx.Client(timeout=30) as client:
        for url, digest in pusher.kept:
            answer = client.get(base.join(httpx.URL(url).path + f"/blobs/{digest}"))
            assert answer.status_code == 200
            assert digest_of(answer.content) == digest
        for url, manifest in pusher.manifests:
            answer = client.get(base.join(httpx.URL(url).path + f"/manifests/{digest_of(manifest)}"))
            assert answer.content == manifest
        location, content, taken = pusher.begun[-1] if pusher.begun else ("", b"", 0)
        status = client.get(base.join(location)) if location else None
        if status is not None and status.status_code == 204:
            there = int(status.headers["Range"].partition("-")[2]) + 1
            assert there >= taken
            rest = content[there:] if there > 1 else content
            answer = client.put(base.join(location), params={"digest": digest_of(content)}, content=rest)
            assert answer.status_code == 201, answer.text
