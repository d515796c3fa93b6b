"""The native load client: compiled when it is first needed, run as a process of its own for each measurement."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SOURCES = sorted((Path(__file__).parent / "client").glob("*.[ch]"))
RUN_SECONDS = 300
"""The longest that one run of the client may take."""

Client = subprocess.Popen[str]


class LoadFailed(Exception):
    """The client said that the broker failed it, or did not come to an end."""


class NoClient(Exception):
    """The client cannot be built here."""


def compile_client(folder: Path) -> Path:
    """The compiled client; compiled once per state of its source. Raises NoClient."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    pkg_config = shutil.which("pkg-config")
    if compiler is None or pkg_config is None:
        raise NoClient("a C compiler and pkg-config are needed: scripts/setup-debian installs them")
    found = subprocess.run([pkg_config, "--cflags", "--libs", "rdkafka"], capture_output=True, text=True)
    if found.returncode:
        raise NoClient("librdkafka's development files are needed: scripts/setup-debian installs them")
    sources = b"".join(source.read_bytes() for source in SOURCES)
    digest = hashlib.sha256(sources + sysconfig.get_platform().encode()).hexdigest()[:16]
    target = folder / f"load-{digest}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work, "load")
            units = [str(source) for source in SOURCES if source.suffix == ".c"]
            command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(made), *units, *shlex.split(found.stdout)]
            built = subprocess.run(command, capture_output=True, text=True)
            if built.returncode:
                raise NoClient(f"the load client does not compile:\n{built.stderr}")
            made.replace(target)  # whole or not at all: another run may be doing the same
    return target


def command_line(
    program: Path, mode: str, bootstrap: str, options: dict[str, object], properties: dict[str, object]
) -> list[str]:
    words = [str(program), mode, f"bootstrap={bootstrap}"]
    words += [f"{name}={value}" for name, value in options.items()]
    for key, value in properties.items():
        words += ["-X", f"{key}={value}"]
    return words


def begin(command: list[str]) -> Client:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(client: Client, check_broker: Callable[[], None]) -> dict[str, float]:
    """What the client measured. Raises LoadFailed, and whatever `check_broker` raises while the client waits."""
    end = time.monotonic() + RUN_SECONDS
    try:
        while True:
            try:
                out, error = client.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                check_broker()
                if time.monotonic() > end:
                    raise LoadFailed(f"no result within {RUN_SECONDS} s") from None
    except BaseException:
        client.kill()
        client.communicate()
        raise
    if client.returncode:
        check_broker()
        raise LoadFailed(error.strip() or f"exit status {client.returncode}")
    result: dict[str, float] = json.loads(out)
    return result
