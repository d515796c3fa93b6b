"""Commands as processes, as a user runs them."""

import json
import os
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "riverport"]


class Cli:
    """`cli("topics", "list")` runs a command; `cli.json(...)` one that is to succeed, and reads what it prints."""

    def __init__(self, bootstrap: str = "127.0.0.1:1") -> None:
        self.env = {**os.environ, "RIVERPORT_BOOTSTRAP": bootstrap}

    def __call__(
        self, *words: str, input: bytes | None = None, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*COMMAND, *words], input=input or b"", capture_output=True, timeout=60, env={**self.env, **(env or {})}
        )
        out, err = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def ok(self, *words: str, input: bytes | None = None) -> str:
        done = self(*words, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str, input: bytes | None = None) -> Any:
        return json.loads(self.ok(*words, "--json", input=input))

    def start(self, *words: str, **more: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, **more
        )
