"""Transcripts: what the docker command printed, as files that are both documentation and test.

    # a comment
    $ docker run --rm busybox sh -c 'exit 3'
    [exit 3]
    $ docker ps
    CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES

A line with `$ ` is given to sh, lines after it with `> ` continue it; what follows is standard output and error
together, then the exit code if it is not 0. What differs from run to run is masked (`<id>`, `<time>`, ...), and columns
are two spaces apart. A script was recorded from dockerd 20.10 unless a comment says what newer releases say instead:

    python -m tests.engine.cli.record dockerd|riverport [NAME...]
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
SECONDS = 30

_MASKS = (
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} \w+", "<time>"),
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
    (r"\b(\d+|a|an|about an?|less than a) (second|minute|hour)s?( ago)?", "<ago>"),
    (r"/tmp/\S*?/(data|exec)\b", r"<\1>"),
    (r"\S*/docker-config/", "<config>/"),
    (r"\b[1-9]\d*(\.\d+)?[kMG]?B\b", "<size>"),
    (r"(failed to create \S.*?: )?(OCI \S+ exec failed: exec failed: )?unable to start container process: ", "<oci>: "),
    (r"  +", "  "),
)
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), mask) for pattern, mask in _MASKS]


@dataclass(slots=True)
class Step:
    """A command, and what is expected of it."""

    command: str
    printed: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)  # before it

    def text(self) -> str:
        command = "$ " + self.command.replace("\n", "\n> ")
        return "\n".join([*self.comments, command, *self.printed]) + "\n"


def parse(text: str) -> tuple[list[Step], list[str]]:
    """The steps, and comments after the last of them."""
    steps: list[Step] = []
    comments: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], comments=comments))
            comments = []
        elif line.startswith("> ") and steps and not steps[-1].printed:
            steps[-1].command += "\n" + line[2:]
        elif line.startswith("#") or (not line and not steps):
            comments.append(line)
        else:
            steps[-1].printed.append(line)
    return steps, comments


def run(steps: list[Step], environment: Mapping[str, str], directory: Path) -> list[Step]:
    """The same commands with what they print now."""
    return [Step(step.command, _run(step.command, environment, directory), step.comments) for step in steps]


def _run(command: str, environment: Mapping[str, str], directory: Path) -> list[str]:
    try:
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        return [*masked(late.output or b""), f"[no end in {SECONDS} s]"]
    return [*masked(done.stdout), *([f"[exit {done.returncode}]"] if done.returncode else [])]


def masked(output: bytes) -> list[str]:
    text = output.decode(errors="backslashreplace").replace("\r", "")
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    # An empty line of output ends with a mark, so that the file has none that is only white space.
    return [line.rstrip() or "." for line in text.splitlines()]
