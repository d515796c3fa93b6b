"""Hostile and broken HTTP at the server of `base/http`: `python fuzz/fuzz_http.py --seconds 60 [--seed N]`.

Sequences of good requests are damaged and cut as a network may cut them. A case passes if the server answers with HTTP
or closes the connection, in bounded time, logs no failure, leaves no task, and goes on serving others. The first that
does not is printed in full and ends the run with exit code 1.
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.base.http.hostile import Wrong, cases


def run(seconds: float, seed: int) -> int:
    start = time.monotonic()
    rng = random.Random(seed)
    sent = 0
    while time.monotonic() - start < seconds:
        try:
            sent += asyncio.run(cases(rng, 50))
        except Wrong as wrong:
            print(f"fuzz_http: {wrong} (seed {seed}, after {sent} requests)", file=sys.stderr)
            return 1
    print(f"fuzz_http: {sent:,} requests, none wrong (seed {seed})")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return run(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
