"""`riverport log dump`: what the files of a log directory say, and what is wrong with them."""

import argparse
import os
from collections import Counter

from riverport.cli.command import Problem, guarded, make_parser
from riverport.cli.terminal import Progress, counted, print_json, printable, size_text


def parser() -> argparse.ArgumentParser:
    made = make_parser("log", "What log files hold.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    dump = verbs.add_parser(
        "dump",
        help="show segments, indexes, snapshots, checkpoints as text",
        description=(
            "Show what files hold: segments, indexes, producer snapshots, checkpoints, the metadata log. A directory\n"
            "is shown whole. Checksums are verified and every record is opened; exit code 1 if anything is damaged."
        ),
        epilog=(
            "examples:\n  riverport log dump data/orders-0\n"
            "  riverport log dump --records data/orders-0/00000000000000000000.log\n"
            "  riverport log dump --check data"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    dump.add_argument("path", nargs="+", metavar="PATH", help="files or directories")
    dump.add_argument("--records", action="store_true", help="with keys, values and headers of the records")
    dump.add_argument("--check", action="store_true", help="show only what is damaged")
    dump.add_argument("--json", action="store_true", help="print one JSON object a line")
    return made


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    return guarded(lambda: _dump(given))


def _dump(given: argparse.Namespace) -> None:
    from riverport.cli.dump.kinds import files_under, is_known

    paths = []
    for path in given.path:
        if not os.path.exists(path):
            raise Problem(f"{path}: there is no such file or directory")
        if os.path.isdir(path):
            paths += [found for found in files_under(path) if is_known(found)]
        elif is_known(path):
            paths.append(path)
        else:
            raise Problem(f"{path}: no file of a log directory by its name", "its name says how to read it")
    counts: Counter[str] = Counter()
    with Progress("reading", sum(map(os.path.getsize, paths)), size_text) as progress:
        for path in paths:
            _dump_file(given, path, counts, progress)
    damaged = counts["damaged"]
    if not given.json:
        print(f"{counted(len(paths), 'file')}, {damaged or 'nothing'} damaged")
    if damaged:
        raise Problem(f"{counted(damaged, 'file')} of {len(paths)} damaged")


def _dump_file(given: argparse.Namespace, path: str, counts: "Counter[str]", progress: Progress) -> None:
    """Print a file's items. A file that a running broker removes meanwhile is no damage."""
    from riverport.cli.dump.items import item_json, item_text
    from riverport.cli.dump.kinds import Reading, items_of

    size = os.path.getsize(path)
    reading = Reading(with_records=given.records)
    shown = f"{printable(path)}  {size_text(size)}"
    if not given.json and not given.check:
        print(shown)
    damages = 0
    for item in items_of(path, reading) or ():
        damages += item.is_damage
        if given.check and not item.is_damage:
            continue
        if given.json:
            print_json(item_json(path, item))
            continue
        if given.check and damages == 1:
            print(shown)
        print(item_text(item))
    counts["damaged"] += damages > 0
    progress.add(size)
