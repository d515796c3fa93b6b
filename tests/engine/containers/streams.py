"""Hijacked connections for tests: a request over the daemon's socket that becomes a stream."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.engine.harness import Engine

from riverport.engine.runtime.attach import STDERR, STDOUT, Frames


class Hijacked:
    """A connection after the answer's head; `status` and `headers` are that head's."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            assert data, f"the answer ended early: {head!r}"
            head += data
        text, _, self._rest = head.partition(b"\r\n\r\n")
        first, *lines = text.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def read(self) -> bytes:
        """Something more; b"" at the end."""
        data, self._rest = self._rest, b""
        return data or self.socket.recv(65536)

    def read_until(self, wanted: bytes) -> bytes:
        data = b""
        while wanted not in data:
            piece = self.read()
            assert piece, f"the stream ended after {data!r}"
            data += piece
        return data

    def read_all(self) -> bytes:
        pieces = []
        while data := self.read():
            pieces.append(data)
        return b"".join(pieces)

    def read_streams(self) -> tuple[bytes, bytes]:
        """All of stdout and of stderr, taken out of their frames."""
        found = {STDOUT: b"", STDERR: b""}
        for stream, data in Frames().feed(self.read_all()):
            found[stream] += data
        return found[STDOUT], found[STDERR]

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def write_eof(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


@contextmanager
def hijack(
    engine: Engine, path: str, body: object = None, headers: dict[str, str] | None = None, method: str = "POST"
) -> Iterator[Hijacked]:
    sent = {"Host": "docker", "Connection": "Upgrade", "Upgrade": "tcp", **(headers or {})}
    data = b"" if body is None else json.dumps(body).encode()
    if method == "POST":
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value), "", ""]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    try:
        connection.connect(str(engine.place.socket))
        connection.sendall("\r\n".join(lines).encode() + data)
        yield Hijacked(connection)
    finally:
        connection.close()


def create(engine: Engine, *command: str, name: str = "", **config: object) -> str:
    """A container by the API; the id."""
    body = {"Image": "busybox", "Cmd": list(command), **config}
    status, answer = engine.api("POST", f"/containers/create?name={name}", body)
    assert status == 201, answer
    return str(answer["Id"])


def start(engine: Engine, container: str) -> None:
    status, answer = engine.api("POST", f"/containers/{container}/start")
    assert status == 204, answer


def run(engine: Engine, *command: str, name: str = "", **config: object) -> str:
    container = create(engine, *command, name=name, **config)
    start(engine, container)
    return container


def wait(engine: Engine, container: str, condition: str = "not-running") -> int:
    status, answer = engine.api("POST", f"/containers/{container}/wait?condition={condition}")
    assert status == 200, answer
    return int(answer["StatusCode"])


def inspect(engine: Engine, container: str) -> dict[str, object]:
    status, answer = engine.api("GET", f"/containers/{container}/json")
    assert status == 200, answer
    return dict(answer)
