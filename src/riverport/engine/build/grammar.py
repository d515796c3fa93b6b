"""From the statements of a Dockerfile to its instructions: which words and flags each takes.

Faults are ValueErrors with Docker's text; `dockerfile.py` adds the line.
"""

import re
from collections.abc import Callable, Mapping

from riverport.engine.build.expand import SPACES
from riverport.engine.build.flags import parse_flags
from riverport.engine.build.golang import parse_duration, quote
from riverport.engine.build.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from riverport.engine.build.lexer import Statement, parse_heredoc_word
from riverport.engine.build.mounts import check_mount
from riverport.engine.build.suggest import suggestion

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*", re.ASCII)
_SHORTEST_INTERVAL_NS = 1_000_000


def parse_instruction(statement: Statement) -> Instruction:
    """Raises ValueError with Docker's text."""
    make = _MAKERS.get(statement.keyword.lower())
    if make is None:
        near = suggestion(statement.keyword, _MAKERS, fold_case=True)
        raise ValueError(f"unknown instruction: {statement.keyword}{near}")
    return make(statement, statement.original.strip(SPACES), statement.first_line)


def _pairs(statement: Statement) -> tuple[tuple[str, str], ...]:
    name = statement.keyword.upper()
    parse_flags(statement.flags)
    words = statement.arguments.words
    if not words:
        raise ValueError(f"{name} requires at least one argument")
    pairs = tuple(zip(words[::3], words[1::3], strict=True))
    if any(not key for key, _ in pairs):
        raise ValueError(f"{name} names can not be blank")
    return pairs


def _env(statement: Statement, code: str, line: int) -> Env:
    return Env(code=code, line=line, pairs=_pairs(statement))


def _label(statement: Statement, code: str, line: int) -> Label:
    return Label(code=code, line=line, pairs=_pairs(statement))


def _single(statement: Statement) -> str:
    if len(statement.arguments.words) != 1:
        raise ValueError(f"{statement.keyword.upper()} requires exactly one argument")
    parse_flags(statement.flags)
    return statement.arguments.words[0]


def _maintainer(statement: Statement, code: str, line: int) -> Maintainer:
    return Maintainer(code=code, line=line, text=_single(statement))


def _user(statement: Statement, code: str, line: int) -> User:
    return User(code=code, line=line, user=_single(statement))


def _workdir(statement: Statement, code: str, line: int) -> Workdir:
    return Workdir(code=code, line=line, path=_single(statement))


def _stop_signal(statement: Statement, code: str, line: int) -> StopSignal:
    return StopSignal(code=code, line=line, signal=_single(statement))


def _copy(statement: Statement, code: str, line: int) -> Copy:
    keyword = statement.keyword.upper()
    words = statement.arguments.words
    if len(words) < 2:
        raise ValueError(
            f"{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    if keyword == "COPY":
        flags = parse_flags(statement.flags, ("chown", "from", "chmod"), ("link", "parents"), ("exclude",))
    else:
        booleans = ("link", "keep-git-dir", "unpack")
        flags = parse_flags(statement.flags, ("chown", "chmod", "checksum"), booleans, ("exclude",))
    if _heredoc_word(words[-1]):
        raise ValueError(f"{keyword} cannot accept a heredoc as a destination")
    by_word = {heredoc.word: heredoc for heredoc in statement.heredocs}
    sources: list[str] = []
    contents: list[tuple[str, str, bool]] = []
    for word in words[:-1]:
        heredoc = by_word.get(_heredoc_word(word))
        if heredoc is None:
            sources.append(word)
        else:
            contents.append((heredoc.word, heredoc.text, heredoc.expand))
    return Copy(
        code=code, line=line, keyword=keyword, sources=tuple(sources), target=words[-1], contents=tuple(contents),
        from_=flags.get("from"), chown=flags.get("chown"), chmod=flags.get("chmod"), link=flags.true("link"),
        parents=flags.true("parents"), exclude=flags.all("exclude"), checksum=flags.get("checksum"),
        unpack=flags.true("unpack") if flags.get("unpack") else None, keep_git_dir=flags.true("keep-git-dir"),
    )  # fmt: skip


def _heredoc_word(word: str) -> str:
    try:
        found = parse_heredoc_word(word)
    except ValueError:
        return ""
    return found.word if found else ""


def _from(statement: Statement, code: str, line: int) -> From:
    words = statement.arguments.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(
                f"invalid name for build stage: {quote(words[2])}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise ValueError("FROM requires either one or three arguments")
    flags = parse_flags(statement.flags, ("platform",))
    return From(code=code, line=line, image=words[0], name=name, platform=flags.get("platform"))


def _run(statement: Statement, code: str, line: int) -> Run:
    flags = parse_flags(statement.flags, ("network", "security"), (), ("mount",))
    for mount in flags.all("mount"):
        check_mount(mount)
    network = flags.values.get("network", "default")
    if network not in ("default", "none", "host"):
        raise ValueError(f"invalid network mode {quote(network)}")
    if flags.values.get("security", "sandbox") != "sandbox":
        raise ValueError(f"security {quote(flags.get('security'))} is not allowed")
    return Run(
        code=code, line=line, words=statement.arguments.words, is_json=statement.arguments.is_json,
        heredocs=statement.heredocs, mounts=flags.all("mount"), network=network,
    )  # fmt: skip


def _cmd(statement: Statement, code: str, line: int) -> Cmd:
    parse_flags(statement.flags)
    return Cmd(code=code, line=line, words=statement.arguments.words, is_json=statement.arguments.is_json)


def _entrypoint(statement: Statement, code: str, line: int) -> Entrypoint:
    parse_flags(statement.flags)
    return Entrypoint(code=code, line=line, words=statement.arguments.words, is_json=statement.arguments.is_json)


def _healthcheck(statement: Statement, code: str, line: int) -> Healthcheck:
    if not statement.arguments.words:
        raise ValueError("HEALTHCHECK requires at least one argument")
    kind, *command = statement.arguments.words
    kind = kind.upper()
    if kind == "NONE":
        if command:
            raise ValueError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(code=code, line=line, test=("NONE",))
    names = ("interval", "timeout", "start-period", "start-interval", "retries")
    flags = parse_flags(statement.flags, names)
    if kind != "CMD":
        raise ValueError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if not command:
        raise ValueError("Missing command after HEALTHCHECK CMD")
    kind = "CMD" if statement.arguments.is_json else "CMD-SHELL"
    times = {f"{name.replace('-', '_')}_ns": _interval(name, flags.get(name)) for name in names[:4]}
    return Healthcheck(code=code, line=line, test=(kind, *command), retries=_retries(flags.get("retries")), **times)


def _interval(name: str, text: str) -> int:
    duration = parse_duration(text) if text else 0
    if duration and duration < _SHORTEST_INTERVAL_NS:
        raise ValueError(f"Interval {quote(name)} cannot be less than 1ms")
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    retries = int(text)
    if not -(1 << 31) <= retries < 1 << 31:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    if retries < 0:
        raise ValueError(f"--retries cannot be negative ({retries})")
    return retries


def _expose(statement: Statement, code: str, line: int) -> Expose:
    if not statement.arguments.words:
        raise ValueError("EXPOSE requires at least one argument")
    parse_flags(statement.flags)
    return Expose(code=code, line=line, ports=tuple(sorted(statement.arguments.words)))


def _volume(statement: Statement, code: str, line: int) -> Volume:
    if not statement.arguments.words:
        raise ValueError("VOLUME requires at least one argument")
    parse_flags(statement.flags)
    paths = tuple(path.strip(SPACES) for path in statement.arguments.words)
    if not all(paths):
        raise ValueError("VOLUME specified can not be an empty string")
    return Volume(code=code, line=line, paths=paths)


def _arg(statement: Statement, code: str, line: int) -> Arg:
    if not statement.arguments.words:
        raise ValueError("ARG requires at least one argument")
    pairs: list[tuple[str, str | None]] = []
    for word in statement.arguments.words:
        name, equals, text = word.partition("=")
        if not name:
            raise ValueError("ARG names can not be blank")
        pairs.append((name, text if equals else None))
    return Arg(code=code, line=line, pairs=tuple(pairs))


def _shell(statement: Statement, code: str, line: int) -> Shell:
    parse_flags(statement.flags)
    if not statement.arguments.words:
        raise ValueError("SHELL requires at least one argument")
    if not statement.arguments.is_json:
        raise ValueError(f"SHELL requires the arguments to be in JSON form. Found: {statement.original}")
    return Shell(code=code, line=line, words=statement.arguments.words)


def _onbuild(statement: Statement, code: str, line: int) -> Onbuild:
    if not statement.arguments.words:
        raise ValueError("ONBUILD requires at least one argument")
    parse_flags(statement.flags)
    trigger = statement.arguments.words[0].upper()
    if trigger == "ONBUILD":
        raise ValueError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise ValueError(f"{trigger} isn't allowed as an ONBUILD trigger")
    text = re.sub(r"(?i)^\s*ONBUILD\s*", "", statement.original)
    for heredoc in statement.heredocs:
        text += f"\n{heredoc.content}{heredoc.word}"
    return Onbuild(code=code, line=line, trigger=text)


_MAKERS: Mapping[str, Callable[[Statement, str, int], Instruction]] = {
    "add": _copy, "arg": _arg, "cmd": _cmd, "copy": _copy, "entrypoint": _entrypoint, "env": _env, "expose": _expose,
    "from": _from, "healthcheck": _healthcheck, "label": _label, "maintainer": _maintainer, "onbuild": _onbuild,
    "run": _run, "shell": _shell, "stopsignal": _stop_signal, "user": _user, "volume": _volume, "workdir": _workdir,
}  # fmt: skip
