"""The entry point of the `riverport` command."""

import sys
from collections.abc import Sequence

import riverport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"riverport {riverport.__version__}")
        return 0
    print("usage: riverport --version", file=sys.stderr)
    return 2
