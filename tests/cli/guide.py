"""The examples of docs/guides/cli.md: each command with the lines that the guide says it prints."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "cli.md"


def examples(text: str) -> Iterator[tuple[str, list[str]]]:
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = example.rstrip("\n").split("\n")
            yield command, lines


def printed(command: str, directory: Path, bootstrap: str) -> list[str]:
    """What a shell in `directory` prints of both streams; a failing command is no error here."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "RIVERPORT_BOOTSTRAP": bootstrap, "PATH": f"{scripts}:{os.environ['PATH']}"}
    words = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(
        words, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    return done.stdout.decode().rstrip("\n").split("\n") if done.stdout else []
