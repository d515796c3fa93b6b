"""Daemons that speak the Docker Engine API, each in namespaces of its own: Riverport's, and its originals beside it.

    with EngineProcess(riverport(), root) as engine:
        engine.cli("run", "--rm", "busybox", "true")
        engine.kill(), engine.start()

`root` holds everything a daemon keeps, and may lie anywhere an overlay's upper directory can. Besides the daemon's own
files there are the CLI's configuration (so that no credentials or plugins of the user are seen) and the daemon's log.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riverport.cli.unix_http import UnixConnection
from riverport.testing.isolation import Isolation

START_SECONDS = 30
STOP_SECONDS = 30
HYBRID = "/sys/fs/cgroup/unified"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon keeps what is its own."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def exec(self) -> Path:
        return self.root / "exec"

    @property
    def socket(self) -> Path:
        return self.root / "engine.sock"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def cgroup_parent(self) -> str:
        return f"/riverport-{self.root.name}"


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A product, and the command that starts its daemon in a place."""

    key: str
    title: str
    command: Callable[[Place, Sequence[str]], list[str]]


def riverport() -> EngineKind:
    def command(place: Place, options: Sequence[str]) -> list[str]:
        words = [sys.executable, "-m", "riverport", "engine", "start", "--host", f"unix://{place.socket}"]
        words += ["--data-root", str(place.data), "--exec-root", str(place.exec)]
        return [*words, "--cgroup-parent", place.cgroup_parent, *options]

    return EngineKind("riverport", "Riverport", command)


def dockerd() -> EngineKind:
    def command(place: Place, options: Sequence[str]) -> list[str]:
        words = ["dockerd", "--host", f"unix://{place.socket}", "--storage-driver", "overlay2"]
        words += ["--data-root", str(place.data), "--exec-root", str(place.exec), "--pidfile", f"{place.root}/pid"]
        return [*words, "--cgroup-parent", place.cgroup_parent, *options]

    return EngineKind("dockerd", "dockerd", command)


class EngineProcess:
    """A daemon that runs. A context: leaving it stops the daemon; its containers have to be gone by then."""

    def __init__(self, kind: EngineKind, root: Path, options: Sequence[str] = (), *, start: bool = True) -> None:
        self.kind = kind
        self.place = Place(root)
        self.options = list(options)
        self.isolation = Isolation()
        self._process: subprocess.Popen[bytes] | None = None
        (root / "docker-config").mkdir(parents=True, exist_ok=True)
        # docker-py makes contexts beside this file, and in the working directory if there is none.
        (root / "docker-config" / "config.json").write_text("{}\n")
        if start:
            try:
                self.start()
            except BaseException:
                self.isolation.close()
                raise

    def __enter__(self) -> "EngineProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the daemon

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start the daemon and wait until it answers; returns the seconds that took."""
        assert not self.is_running
        words = self.isolation.command(self.kind.command(self.place, self.options))
        began = time.monotonic()
        with open(self.place.log, "ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > began + START_SECONDS:
                raise OSError(f"{self.kind.title} did not start; the end of its log:\n{self.log_end()}")
            time.sleep(0.005)
        return time.monotonic() - began

    def _answers(self) -> bool:
        try:
            return self.api("GET", "/_ping")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """Ask the daemon to end, as a service manager does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def restart(self, how: signal.Signals = signal.SIGTERM) -> float:
        self._end(how)
        return self.start()

    def close(self) -> None:
        try:
            if self.is_running:
                self.stop()
        finally:
            self.isolation.close()

    def log_end(self, lines: int = 30) -> str:
        text = self.place.log.read_text(errors="replace") if self.place.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    # --- its clients

    @property
    def environment(self) -> dict[str, str]:
        """For clients of the daemon: the docker CLI, docker-py's `from_env`, Compose."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "BUILDKIT_"))}
        config = str(self.place.root / "docker-config")
        return {**kept, "DOCKER_HOST": f"unix://{self.place.socket}", "DOCKER_CONFIG": config}

    def cli(
        self, *words: str, input: str | bytes | None = None, timeout: float = 60, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run `docker WORDS`. Raises AssertionError with what it printed if it fails and `check`."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            ["docker", *words],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout,
            env=self.environment,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: exit code {done.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> tuple[int, Any]:
        """One request; returns status and answer: parsed if it is one JSON document, else bytes.

        A body of bytes is sent as it is.
        """
        connection = UnixConnection(str(self.place.socket), timeout)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.getheader("Content-Type") or ""
            return answer.status, _parsed(data) if kind.startswith("application/json") else data
        finally:
            connection.close()

    def import_image(self, tar: bytes, name: str, tag: str = "latest", changes: Sequence[str] = ()) -> None:
        """Make an image of one layer out of a plain tar."""
        from urllib.parse import urlencode

        query = urlencode([("fromSrc", "-"), ("repo", name), ("tag", tag), *(("changes", line) for line in changes)])
        status, answer = self.api("POST", f"/images/create?{query}", tar, {"Content-Type": "application/x-tar"})
        if status != 200 or b'"error' in _bytes(answer):
            raise AssertionError(f"import of {name}: {status} {answer!r}")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data) if data else data
    except ValueError:  # a stream of documents, one a line
        return data


def _bytes(answer: object) -> bytes:
    return answer if isinstance(answer, bytes) else json.dumps(answer).encode()
