"""`riverport completion SHELL`: a script that asks `riverport completion --words ...` what may come next.

The answer is computed from the commands' own parsers, so that it cannot go out of date; names of topics and groups come
from the cluster, if that answers at once. One candidate a line, behind a tab what it is; `:files` asks the shell for
names of files.
"""

import argparse
import os
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from riverport.cli.command import BOOTSTRAP_VARIABLE, DEFAULT_BOOTSTRAP, make_parser
from riverport.cli.main import COMMANDS

if TYPE_CHECKING:
    from riverport.kafka.client.client import Client

FILES = ":files"
FILE_NAMES = ("FILE", "PATH", "DIR")
ANSWER_MS = 1_000
"""A cluster that takes longer has nothing to say: completion must not hang."""

BASH = """\
_riverport() {
    local word text
    COMPREPLY=()
    while IFS=$'\\t' read -r word text; do
        if [[ $word == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
        else
            COMPREPLY+=("$word")
        fi
    done < <(riverport completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _riverport riverport
"""
ZSH = """\
#compdef riverport
_riverport() {
    local word text
    local -a found
    while IFS=$'\\t' read -r word text; do
        if [[ $word == :files ]]; then
            _files
        else
            found+=("${word//:/\\\\:}:$text")
        fi
    done < <(riverport completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe riverport found
}
compdef _riverport riverport
"""
FISH = """\
function __riverport_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (riverport completion --words $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c riverport -f -a '(__riverport_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "completion",
        "Print a completion script.",
        [
            "source <(riverport completion bash)        # in ~/.bashrc",
            "source <(riverport completion zsh)         # in ~/.zshrc, behind compinit",
            "riverport completion fish | source         # in ~/.config/fish/config.fish",
        ],
    )
    made.add_argument("shell", choices=SCRIPTS, metavar="SHELL", help=", ".join(SCRIPTS))
    return made


def run(words: list[str]) -> int:
    if words[:1] == ["--words"]:
        for candidate in candidates(words[1:]):
            print(candidate)
        return 0
    print(SCRIPTS[parser().parse_args(words).shell], end="")
    return 0


def candidates(words: list[str]) -> list[str]:
    """What may stand for the last word, as `word<tab>what it is`."""
    *before, current = _joined(words) or [""]
    if not before:
        found = [(name, text) for name, (_, text) in COMMANDS.items()]
    elif before[0] in COMMANDS:
        made: argparse.ArgumentParser = import_module(f"riverport.cli.{COMMANDS[before[0]][0]}").parser()
        found = list(_Position(made, before[1:]).candidates(current))
    else:
        return []
    return [f"{word}\t{text}".rstrip() for word, text in found if word == FILES or word.startswith(current)]


def _joined(words: list[str]) -> list[str]:
    """Words as they were typed: bash splits at the colons of `127.0.0.1:9092` and at `=`."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] and (word in (":", "=") or joined[-1][-1] in ":="):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


class _Position:
    """Where in a command line the cursor is: which parser reads there, and what it expects."""

    def __init__(self, parser: argparse.ArgumentParser, before: list[str]) -> None:
        self.parser = parser
        self.expecting: argparse.Action | None = None  # an option that wants its value
        self.given: list[str] = []  # the positional arguments so far
        self.bootstrap = os.environ.get(BOOTSTRAP_VARIABLE) or DEFAULT_BOOTSTRAP
        for word in before:
            self._pass(word)

    def _pass(self, word: str) -> None:
        if self.expecting is not None:
            if self.expecting.dest == "bootstrap_server":
                self.bootstrap = word
            self.expecting = None
        elif word.startswith("-") and word != "-":
            option = self.parser._option_string_actions.get(word)
            self.expecting = option if option is not None and option.nargs is None else None
        elif (verbs := self._verbs()) is not None and word in verbs.choices:
            self.parser, self.given = verbs.choices[word], []
        else:
            self.given.append(word)

    def _verbs(self) -> "argparse._SubParsersAction[argparse.ArgumentParser] | None":
        found = (action for action in self.parser._actions if isinstance(action, argparse._SubParsersAction))
        return next(found, None)

    def candidates(self, current: str) -> Iterator[tuple[str, str]]:
        if self.expecting is not None:
            yield from self._values(self.expecting)
            return
        if current.startswith("-"):
            for action in self.parser._actions:
                for option in action.option_strings:
                    if option.startswith("--") or len(current) == 1:
                        yield option, action.help or ""
            return
        verbs = self._verbs()
        if verbs is not None:
            for choice in verbs._choices_actions:
                yield choice.dest, choice.help or ""
            return
        place = self._positional()
        if place is not None:
            yield from self._values(place)

    def _positional(self) -> argparse.Action | None:
        """The positional argument that the next word belongs to."""
        places = [action for action in self.parser._actions if not action.option_strings]
        for number, action in enumerate(places):
            if action.nargs in ("+", "*") or number == len(self.given):
                return action
        return None

    def _values(self, action: argparse.Action) -> Iterator[tuple[str, str]]:
        if action.choices is not None:
            yield from ((str(choice), "") for choice in action.choices)
        elif action.metavar in FILE_NAMES:
            yield FILES, ""
        elif isinstance(action.metavar, str) and (kind := action.metavar.partition("[")[0]) in ("TOPIC", "GROUP"):
            yield from ((name, kind.lower()) for name in names_of(kind, self.bootstrap))


def names_of(kind: str, bootstrap: str) -> list[str]:
    """The topics or groups of a cluster; none where it does not answer."""
    import asyncio

    from riverport.kafka.client.errors import ClientError

    async def ask() -> list[str]:
        from riverport.kafka.client.client import Client

        async with asyncio.timeout(ANSWER_MS / 1000), Client(bootstrap, connect_timeout_ms=ANSWER_MS) as client:
            return await _names(client, kind)

    try:
        return asyncio.run(ask())
    except (ClientError, TimeoutError):
        return []


async def _names(client: "Client", kind: str) -> list[str]:
    from riverport.kafka.client.admin import Admin

    if kind == "TOPIC":
        return [name for name, view in (await Admin(client).topics()).items() if not view.internal]
    return [group.id for group in await Admin(client).groups()]
