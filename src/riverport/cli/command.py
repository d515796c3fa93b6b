"""What commands share: their parsers, the connection to a cluster, and failures worded so that one can act on them.

A command is a parser whose verbs each name an action: `async def action(client, given)`. An action prints its result
and returns, or raises `Problem` or what the client raises; `run_command` turns those into one line and an exit code.
"""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.cluster import TopicView
    from riverport.kafka.client.errors import ClientError

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
BOOTSTRAP_VARIABLE = "RIVERPORT_BOOTSTRAP"
CLIENT_ID = "riverport-cli"
CONNECT_TIMEOUT_MS = 5_000

Action = Callable[["Client", argparse.Namespace], Awaitable[None]]


class Problem(Exception):
    """What went wrong, in a line; the hint says what to do about it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class UsageProblem(Problem):
    """The command line itself makes no sense: exit code 2."""


# --- parsers


def make_parser(name: str, description: str, examples: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of `riverport NAME`, with its examples under the help."""
    return argparse.ArgumentParser(
        prog=f"riverport {name}",
        description=description,
        epilog=_epilog(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


class Verbs:
    """The verbs of a command: `riverport topics list`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._made = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")

    def add(
        self, name: str, action: Action, help: str, examples: Sequence[str] = (), *, json: bool = True
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = self._made.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=_epilog(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        connect(made, action, json=json)
        return made


def connect(parser: argparse.ArgumentParser, action: Action, *, json: bool = True) -> None:
    """Make a parser one whose action talks to a cluster."""
    parser.set_defaults(action=action)
    add_address(parser, json=json)


def add_address(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """The options that name a cluster, and the form of what is printed."""
    parser.add_argument(
        "-b",
        "--bootstrap-server",
        metavar="HOST:PORT",
        default=os.environ.get(BOOTSTRAP_VARIABLE) or DEFAULT_BOOTSTRAP,
        help=f"brokers to ask first, comma-separated (${BOOTSTRAP_VARIABLE}, else {DEFAULT_BOOTSTRAP})",
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON document")


def _epilog(examples: Sequence[str]) -> str | None:
    return "\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None


def key_values(entries: Iterable[str], option: str) -> dict[str, str]:
    """`key=value` entries of an option. Raises UsageProblem."""
    found = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise UsageProblem(f"{option} {entry}: write KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number that is not below `least`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    number.__name__ = "whole number"  # argparse names it: "invalid whole number value: 'x'"
    return number


# --- running


def run_command(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Parse, connect, act; returns the exit code."""
    given = parser.parse_args(words)
    return guarded(lambda: _act(given))


def _act(given: argparse.Namespace) -> None:
    import asyncio

    asyncio.run(_with_client(given))


def guarded(act: Callable[[], int | None]) -> int:
    """Run `act`; what it raises becomes a line on standard error and an exit code. None from it is 0."""
    from riverport.base.files import StorageError
    from riverport.base.settings import ConfigError

    for stream in (sys.stdout, sys.stderr):
        # Names and values may hold what this terminal's encoding does not.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = act()
        sys.stdout.flush()
    except Problem as problem:
        return complain(problem, 2 if isinstance(problem, UsageProblem) else 1)
    except ConfigError as error:
        return max(complain(Problem(problem)) for problem in error.problems)
    except BrokenPipeError:
        raise
    except StorageError as error:
        return complain(Problem(str(error)))
    except OSError as error:
        hint = "another program uses it: --port takes another, 0 any free one" if error.errno == EADDRINUSE else ""
        path = f"{error.filename}: " if error.filename else ""
        return complain(Problem(path + (error.strerror or str(error)), hint))
    return code or 0


def complain(problem: Problem, code: int = 1) -> int:
    from riverport.cli.terminal import printable

    print(f"riverport: {printable(str(problem))}", file=sys.stderr)
    if problem.hint:
        print(f"  {printable(problem.hint)}", file=sys.stderr)
    return code


async def _with_client(given: argparse.Namespace) -> None:
    from riverport.kafka.client.client import Client
    from riverport.kafka.client.errors import ClientError

    try:
        async with Client(given.bootstrap_server, client_id=CLIENT_ID, connect_timeout_ms=CONNECT_TIMEOUT_MS) as client:
            await given.action(client, given)
    except ClientError as error:
        raise explained(error) from error


def explained(error: "ClientError") -> Problem:
    """What a client's error means to the person at the terminal."""
    from riverport.kafka.client.errors import Unreachable

    if isinstance(error, Unreachable):
        return Problem(
            str(error), f"start one with `riverport up`, or name another: -b HOST:PORT or {BOOTSTRAP_VARIABLE}"
        )
    return Problem(str(error))


# --- what is asked of a cluster everywhere


async def existing_topics(client: "Client", names: Iterable[str]) -> dict[str, "TopicView"]:
    """The topics of these names. Raises Problem for one that does not exist, with the nearest names."""
    from riverport.kafka.client.errors import Refused
    from riverport.kafka.wire.errors import ErrorCode

    found = {}
    for name in names:
        try:
            found[name] = await client.topic(name)
        except Refused as error:
            if error.code not in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_TOPIC_EXCEPTION):
                raise
            known = (await client.refresh(None)).topics
            hint = nearest(name, known) or f"make it with `riverport topics create {name}`"
            raise Problem(f"there is no topic {name!r}", hint) from error
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 3, 0.6)
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def topic_partitions(entries: Iterable[str], option: str) -> dict[str, list[int]]:
    """`TOPIC` or `TOPIC:0,1` entries; no partitions are all of them. Raises UsageProblem."""
    found: dict[str, list[int]] = {}
    for entry in entries:
        topic, colon, numbers = entry.partition(":")
        parts = numbers.split(",") if colon else []
        if not topic or not all(part.strip().isdecimal() for part in parts):
            raise UsageProblem(f"{option} {entry}: write TOPIC or TOPIC:PARTITION,PARTITION")
        found.setdefault(topic, []).extend(int(part) for part in parts)
    return found


def json_error(error: Any) -> str | None:
    """The name of an error code in JSON; none is null."""
    return error.name if error else None
