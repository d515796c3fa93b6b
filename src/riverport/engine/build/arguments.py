"""What follows an instruction's keyword, cut into flags and words as the instruction wants it.

JSON form is tried first where it is allowed; text that only looks like JSON is shell form (`CMD [a, b]` runs the
command "[a,"), unless it is an array of something other than strings, which is an error.
"""

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from riverport.engine.build.expand import SPACES
from riverport.engine.build.golang import quote

_BLANKS = re.compile(r"[\t\v\f\r ]+")


@dataclass(frozen=True, slots=True)
class Arguments:
    """`words` of ENV and LABEL come in threes: name, value, "=" or "" (the old form without "=")."""

    words: tuple[str, ...]
    is_json: bool = False


def split_keyword(line: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    """A statement's keyword, its `--flags`, and the rest without surrounding space."""
    keyword, *more = _BLANKS.split(line.strip(SPACES), maxsplit=1)
    if not more:
        return keyword, (), ""
    flags, rest = _flags(more[0], escape)
    return keyword, flags, rest.strip(SPACES)


def parse_arguments(keyword: str, rest: str, escape: str) -> Arguments:
    """`keyword` in lower case; unknown ones get no words. Raises ValueError with Docker's text."""
    match keyword:
        case "env" | "label":
            return Arguments(_pairs(keyword.upper(), rest, escape))
        case "arg":
            return Arguments(tuple(cut_words(rest, escape)))
        case "cmd" | "entrypoint" | "run" | "shell":
            return _maybe_json(rest)
        case "add" | "copy" | "volume":
            return _json(rest) or Arguments(_by_blanks(rest))
        case "healthcheck":
            return _health(rest)
        case "expose" | "from":
            return Arguments(_by_blanks(rest))
        case "maintainer" | "stopsignal" | "user" | "workdir":
            return Arguments((rest,) if rest else ())
    return Arguments(())


def cut_words(text: str, escape: str) -> list[str]:
    """Words between spaces; quotes hold a word together and stay in it, as do escapes (the expansion removes both)."""
    words: list[str] = []
    current: list[str] = []
    begun = False
    mark = ""
    characters = iter(text)
    for character in characters:
        if not mark and character in SPACES:
            if begun:
                words.append("".join(current))
                current, begun = [], False
            continue
        if character == escape and mark != "'":
            following = next(characters, None)
            if following is None:
                break
            current.append(character + following)
            begun = True
            continue
        if mark:
            if character == mark:
                mark = ""
        elif character in "'\"":
            mark = character
        current.append(character)
        begun = True
    if begun:
        words.append("".join(current))
    return words


def _by_blanks(text: str) -> tuple[str, ...]:
    return tuple(_BLANKS.split(text)) if text else ()


def _pairs(keyword: str, rest: str, escape: str) -> tuple[str, ...]:
    words = cut_words(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        name, *value = _BLANKS.split(rest, maxsplit=1)
        if not value:
            raise ValueError(f"{keyword} must have two arguments")
        return (name, value[0], "")
    out: list[str] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
        out += (name, text, "=")
    return tuple(out)


def _maybe_json(rest: str) -> Arguments:
    return _json(rest) or Arguments((rest,) if rest else ())


def _json(rest: str) -> Arguments | None:
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(words, list):
        return None
    if not all(isinstance(word, str) for word in words):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return Arguments(tuple(words), is_json=True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _health(rest: str) -> Arguments:
    kind, *command = re.split(f"[{SPACES}]+", rest, maxsplit=1)
    if not kind:
        return Arguments(())
    parsed = _maybe_json(command[0] if command else "")
    return Arguments((kind, *parsed.words), parsed.is_json)


def _flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Leading words that begin with `--`, unquoted; a bare `--` ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), text[at:]
        word, at = _flag(text, at, escape)
        if word == "--":
            return tuple(flags), text[at:]
        flags.append(word)


def _flag(text: str, at: int, escape: str) -> tuple[str, int]:
    out: list[str] = []
    mark = ""
    while at < len(text) and (mark or text[at] not in SPACES):
        character = text[at]
        at += 1
        if character == escape:
            # One at the very end of the line escapes nothing.
            out.append(text[at : at + 1])
            at += 1
        elif character == mark:
            mark = ""
        elif not mark and character in "'\"":
            mark = character
        else:
            out.append(character)
    return "".join(out), at
