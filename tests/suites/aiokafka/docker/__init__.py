"""Stands in for the `docker` package, so that aiokafka's own tests start Riverport as a process instead of a container.

RIVERPORT_SUITE_COMMAND is the command line, with `{port}` where the port belongs. Only what aiokafka's fixtures call is
here; a command "in the container" (ACLs, configurations through shell scripts) does nothing and says that it went well.
"""

import os
import shlex
import signal
import socket
import subprocess
import time
from typing import Any

from . import models  # noqa: F401  aiokafka imports docker.models.containers

START_SECONDS = 30


class Container:
    def __init__(self, process: "subprocess.Popen[bytes] | None") -> None:
        self._process = process

    def exec_run(self, command: Any, **_: Any) -> tuple[int, bytes]:
        return 0, b""

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_SECONDS)


class Containers:
    def run(self, environment: dict[str, Any] | None = None, **_: Any) -> Container:
        if environment is None:  # the container that makes certificates
            return Container(None)
        port = int(environment["ADVERTISED_PORT"])
        command = shlex.split(os.environ["RIVERPORT_SUITE_COMMAND"].format(port=port))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        return Container(process)


class Images:
    def pull(self, *_: Any, **__: Any) -> None:
        """There is no image to be had."""


class Client:
    containers, images = Containers(), Images()

    def close(self) -> None:
        """Nothing is open."""


def from_env() -> Client:
    return Client()
