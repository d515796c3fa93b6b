"""Runs scripts against a daemon and shows, or writes (--write), what it prints: `python -m tests.engine.cli.record`."""

import argparse
import difflib
import sys
import tempfile
from pathlib import Path

from tests.engine import harness
from tests.engine.cli.transcript import SCRIPTS, parse, run

from riverport.testing.engines import EngineProcess, dockerd, riverport


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["dockerd", "riverport"])
    parser.add_argument("names", nargs="*", help="scripts without .txt; all of them if none is named")
    parser.add_argument("--write", action="store_true", help="put what is printed into the scripts")
    given = parser.parse_intermixed_args()
    kinds = {"dockerd": dockerd, "riverport": riverport}
    harness.kind_under_test = kinds[given.engine]  # type: ignore[assignment]
    engine = harness.Engine()
    differing = 0
    try:
        for path in sorted(SCRIPTS.glob("*.txt")):
            if not given.names or path.stem in given.names:
                differing += _one(engine, path, given.write)
                engine.sweep()
    finally:
        try:
            engine.close()
        except AssertionError as left:
            print(left, file=sys.stderr)
    return 1 if differing else 0


def _one(engine: EngineProcess, path: Path, write: bool) -> bool:
    before = path.read_text()
    steps, rest = parse(before)
    with tempfile.TemporaryDirectory() as directory:
        found = run(steps, engine.environment, Path(directory))
    after = "".join(step.text() for step in found) + "".join(line + "\n" for line in rest)
    if write:
        path.write_text(after)
    shown = difflib.unified_diff(before.splitlines(), after.splitlines(), path.stem, engine.kind.key, lineterm="", n=1)
    print("\n".join(shown))
    return before != after


if __name__ == "__main__":
    sys.exit(main())
