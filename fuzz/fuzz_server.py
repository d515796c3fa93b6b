"""Throws senseless and damaged requests at a whole node: `python fuzz/fuzz_server.py --seconds 60 [--seed N]`.

Requests are made from the protocol table, with random values in every field, and some of them are damaged. A case
passes if the broker answers it or closes its connection, nothing fails inside, and the broker goes on serving others.
The first that does not is printed in full and ends the run with exit code 1.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz.fuzz_wire import damage
from tests.kafka.server.driven import answers
from tests.kafka.server.senseless import senseless_request
from tests.kafka.server.wire import frame

from riverport.kafka.wire import messages as m
from riverport.testing import Broker, BrokerError

REQUESTS_OF_A_CONNECTION = 4
PATIENCE = 5
"""Turns of the event loop that a request may take: what waits for longer is given up with its connection."""


def run(seconds: float, seed: int) -> int:
    rng = random.Random(seed)
    start = last_shown = time.monotonic()
    cases = 0
    with Broker() as broker:
        for topic in ("t", "u"):
            broker.create_topic(topic)
        while time.monotonic() - start < seconds:
            kind = rng.choice(("broker", "broker", "controller"))
            chosen = [senseless_request(rng, kind) for _ in range(rng.randint(1, REQUESTS_OF_A_CONNECTION))]
            payloads = [damage(rng, payload) if rng.random() < 0.3 else payload for _, payload in chosen]
            cases += len(payloads)
            try:
                answers(broker, [len(p).to_bytes(4, "big") + p for p in payloads], patience=PATIENCE, kind=kind)
                broker.check()
                if not answers(broker, [frame(m.DescribeClusterRequest(), 1)]):
                    raise BrokerError("the broker does not answer any more")
            except Exception as problem:
                print(f"fuzz_server: {problem!r} (seed {seed}, case {cases})", file=sys.stderr)
                for (name, _), payload in zip(chosen, payloads, strict=True):
                    print(f"{kind}: {name} {payload.hex()}", file=sys.stderr)
                return 1
            if sys.stderr.isatty() and time.monotonic() - last_shown > 1:
                last_shown = time.monotonic()
                print(f"\r{last_shown - start:.0f} of {seconds:.0f} s, {cases:,} cases", end="", file=sys.stderr)
    print(f"fuzz_server: {cases:,} requests, none wrong (seed {seed})")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return run(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
