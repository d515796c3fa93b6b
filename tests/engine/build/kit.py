"""Builds on a daemon under test: contexts from dictionaries, answers as text."""

import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlencode

from tests.engine.harness import Engine

from riverport.cli.unix_http import UnixConnection

TIMEOUT_S = 60

Files = Mapping[str, "str | bytes | tarfile.TarInfo"]


def entry(name: str, mode: int = 0o644, uid: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mode, made.uid, made.gid, made.type, made.linkname, made.mtime = mode, uid, uid, kind, link, 1_700_000_000
    return made


def context(files: Files, mode: str = "w", mtime: int = 1_700_000_000) -> bytes:
    """A tar of names and contents; a TarInfo stands for itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            data = content.encode() if isinstance(content, str) else content
            member = entry(name)
            member.size, member.mtime = len(data), mtime
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Built:
    status: int
    items: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(item.get("stream", "") for item in self.items)

    @property
    def masked(self) -> str:
        return re.sub(r"\b[0-9a-f]{12}\b", "<id>", re.sub(r"[0-9a-f]{64}", "<digest>", self.text))

    @property
    def error(self) -> str:
        if self.status != 200:
            return str(self.items[-1]["message"])
        return str(self.items[-1].get("error", "")) if self.items else ""

    @property
    def code(self) -> int | None:
        detail = self.items[-1].get("errorDetail", {})
        return detail.get("code")

    @property
    def id(self) -> str:
        """Of the last stage's image."""
        return [item["aux"]["ID"] for item in self.items if "aux" in item][-1]

    @property
    def hits(self) -> int:
        return self.text.count("Using cache")


def post(engine: Engine, body: bytes, **query: Any) -> tuple[UnixConnection, HTTPResponse]:
    """The connection, and the answer to POST /build with its head read, not yet its body."""
    connection = UnixConnection(str(engine.place.socket), TIMEOUT_S)
    pairs = [(key, one) for key, value in query.items() for one in (value if isinstance(value, list) else [value])]
    encoded = urlencode([(key, json.dumps(value) if isinstance(value, dict) else value) for key, value in pairs])
    connection.request("POST", f"/v1.50/build?{encoded}", body, {"Content-Type": "application/x-tar"})
    return connection, connection.getresponse()


def build(engine: Engine, dockerfile: str, files: Files | None = None, **query: Any) -> Built:
    """A build to its end; `cachefrom` and `t` may be lists, `buildargs` and `labels` dictionaries."""
    return send(engine, context({"Dockerfile": dockerfile, **(files or {})}), **query)


def send(engine: Engine, body: bytes, **query: Any) -> Built:
    connection, answer = post(engine, body, **query)
    data = answer.read()
    connection.close()
    lines = data.split(b"\r\n") if answer.status == 200 else [data]
    return Built(answer.status, [json.loads(line) for line in lines if line.strip()])


def run(engine: Engine, image: str, *command: str) -> str:
    """What a command says in a container of the image."""
    made = engine.client().containers.run(image, list(command) or None, remove=True)
    return bytes(made).decode()


def config(engine: Engine, image: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.client().images.get(image).attrs["Config"]
    return found


def history(engine: Engine, image: str) -> list[str]:
    """From the newest step down, without what the base brings."""
    return [step["CreatedBy"] for step in engine.client().images.get(image).history() if step["CreatedBy"]]
