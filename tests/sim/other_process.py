"""Runs that have to come out alike in every process: with other addresses, and another order of what is hashed."""

import os
import subprocess
import sys


def printed(code: str, hash_seed: str) -> int:
    """The number that some Python prints in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(run.stdout)
