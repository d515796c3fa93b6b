"""`riverport engine start`: the daemon that speaks the Docker Engine API."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riverport.cli.command import Problem, guarded, make_parser

if TYPE_CHECKING:
    from riverport.base.settings import Setting

EXAMPLES = (
    "riverport engine start",
    "riverport engine start --host unix:///var/run/docker.sock --host tcp://127.0.0.1:2375",
    "riverport engine start --data-root ~/engine --config-file daemon.json",
    "docker -H unix:///run/riverport/docker.sock run --rm busybox echo hi",
)


def parser() -> argparse.ArgumentParser:
    made = make_parser("engine", "A container engine for the docker command, docker-py, Compose.", EXAMPLES)
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    start = verbs.add_parser("start", help="run the engine in the foreground", allow_abbrev=False)
    start.add_argument("--config-file", type=Path, metavar="FILE", help="a daemon.json; SIGHUP reads it anew")
    start.add_argument("--json", action="store_true", help="say that the engine is ready in one JSON line")
    _add_settings(start)
    return made


def _add_settings(parser: argparse.ArgumentParser) -> None:
    from riverport.base.settings import BOOLEAN, LIST
    from riverport.engine.settings_table import FLAGS, TABLE

    for key, row in TABLE.items():
        flags = {"hosts": ["-H"], "debug": ["-D"]}.get(key, [])
        flags.append("--" + FLAGS.get(key, key))
        text = _help(row)
        if row.kind is BOOLEAN:
            parser.add_argument(*flags, dest=key, nargs="?", const="true", metavar="true|false", help=text)
        elif row.kind is LIST:
            parser.add_argument(*flags, dest=key, action="append", metavar="VALUE", help=text)
        else:
            parser.add_argument(*flags, dest=key, metavar="VALUE", help=text)
    parser.add_argument("--runtime", dest="default-runtime", metavar="VALUE", help="as --default-runtime")


def _help(row: "Setting") -> str:
    default = row.default_text()
    return (row.doc[0].lower() + row.doc[1:].rstrip(".") + (f" ({default})" if default else "")).replace("%", "%%")


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    return guarded(lambda: _start(given))


def _start(given: argparse.Namespace) -> int:
    from riverport.engine.serving import run as serve
    from riverport.engine.settings_sources import Sources
    from riverport.engine.settings_table import TABLE

    told = {key: value for key in TABLE if (value := getattr(given, key)) is not None}
    try:
        return serve(Sources(told, given.config_file), lambda hosts: _ready(hosts, given.json))
    except PermissionError as error:
        raise Problem(f"{error.filename or ''}: {error.strerror}", "the engine needs root") from error


def _ready(hosts: Sequence[str], as_json: bool) -> None:
    import os

    if as_json:
        print(json.dumps({"ready": True, "hosts": list(hosts), "pid": os.getpid()}), flush=True)
    else:
        print(f"riverport engine is ready: export DOCKER_HOST={hosts[0]}", flush=True)
    sys.stdout.flush()
