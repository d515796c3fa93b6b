"""`riverport kafka format` and `start`: a node from a `server.properties`, as Kafka's own scripts do."""

import argparse
import time

from riverport.base.settings import ConfigError
from riverport.cli.command import Problem, guarded, make_parser

SCRAM_HELP = "a user of the new cluster, such as 'SCRAM-SHA-256=[name=alice,password=secret]'"


def parser() -> argparse.ArgumentParser:
    made = make_parser("kafka", "A Kafka node from a server.properties.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="format|start|random-uuid")
    form = verbs.add_parser("format", help="make the directories of a node")
    form.add_argument("-t", "--cluster-id", required=True, metavar="CLUSTER_ID")
    form.add_argument("-c", "--config", required=True, metavar="FILE", help="the node's server.properties")
    form.add_argument("-r", "--release-version", metavar="V", help="the release to format for, such as 4.3 or 4.3-IV0")
    form.add_argument("-f", "--feature", action="append", default=[], metavar="NAME=LEVEL", help="another level of one")
    form.add_argument("-S", "--add-scram", action="append", default=[], metavar="CREDENTIAL", help=SCRAM_HELP)
    form.add_argument("-g", "--ignore-formatted", action="store_true", help="leave formatted directories alone")
    voters = form.add_mutually_exclusive_group()
    voters.add_argument("-s", "--standalone", action="store_true", help="a dynamic quorum of this controller alone")
    voters.add_argument("-N", "--no-initial-controllers", action="store_true", help="a dynamic quorum made elsewhere")
    voters.add_argument("-I", "--initial-controllers", metavar="ID@HOST:PORT:DIRECTORY,...")
    start = verbs.add_parser("start", help="run a node in the foreground")
    start.add_argument("config", metavar="FILE", help="the node's server.properties")
    start.add_argument("--override", action="append", default=[], metavar="KEY=VALUE")
    verbs.add_parser("random-uuid", help="print a new cluster id")
    return made


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    if given.verb == "random-uuid":
        from riverport.base.ids import SystemIds, uuid_text

        print(uuid_text(SystemIds().uuid()))
        return 0
    act = _format if given.verb == "format" else _start
    return guarded(lambda: act(given, read_properties(given.config)))


def read_properties(path: str) -> dict[str, str]:
    """Raises ConfigError, or OSError for a file that cannot be read."""
    from riverport.base import properties

    with open(path, encoding="utf-8") as file:
        try:
            return dict(properties.loads(file.read()))
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error


def overrides(entries: list[str]) -> dict[str, str]:
    """`key=value` entries. Raises ConfigError."""
    found = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise ConfigError(f"--override {entry}: write key=value")
        found[key.strip()] = value.strip()
    return found


def _start(given: argparse.Namespace, properties: dict[str, str]) -> int:
    from riverport.base.logging import configure
    from riverport.kafka.server.main import run as run_node

    configure()
    return run_node({**properties, **overrides(given.override)})


def _format(given: argparse.Namespace, properties: dict[str, str]) -> int:
    from riverport.base.files import OsFiles
    from riverport.base.ids import SystemIds
    from riverport.kafka.server.settings import load
    from riverport.kafka.server.storage_format import FormatError, Quorum, format_storage

    config = load(properties)
    try:
        quorum = Quorum(
            standalone=given.standalone,
            no_initial_controllers=given.no_initial_controllers,
            initial_controllers=given.initial_controllers,
        )
        lines = format_storage(
            OsFiles(),
            SystemIds(),
            config,
            given.cluster_id,
            now_ms=time.time_ns() // 1_000_000,
            release_version=given.release_version,
            feature_levels=_levels(given.feature),
            scram=given.add_scram,
            ignore_formatted=given.ignore_formatted,
            quorum=quorum,
        )
    except FormatError as error:
        raise Problem(str(error)) from error
    print("\n".join(lines))
    return 0


def _levels(entries: list[str]) -> dict[str, int]:
    from riverport.kafka.server.storage_format import FormatError

    levels = {}
    for entry in entries:
        name, equals, level = entry.partition("=")
        if not equals:
            raise FormatError(f"Can't parse feature=level string {entry}: equals sign not found.")
        if not level.strip().isdecimal():
            raise FormatError(f"Can't parse feature=level string {entry}: unable to parse {level} as a short.")
        levels[name.strip()] = int(level)
    return levels
