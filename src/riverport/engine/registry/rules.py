"""Which user may do what in which repository: a file of lines. Pure.

    # user       repositories   actions
    alice        **             *
    ci           team/**        pull,push
    *            public/*       pull
    anonymous    public/*       pull

`*` is any user who has logged in, `anonymous` one who has not. In a pattern `*` stands for a part of a name between
slashes and `**` for any number of parts. Rules add up; nothing takes away. Who may do everything everywhere
(`** *`) may also list the catalog, which shows all names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from riverport.engine.registry.access import Scope

ANONYMOUS = "anonymous"
_ANY = "*"
_ACTIONS = frozenset({"pull", "push", "delete", "*"})


class RulesInvalid(ValueError):
    """A line that is no rule; the text names it."""


@dataclass(frozen=True, slots=True)
class Rule:
    user: str
    pattern: str
    expression: re.Pattern[str]
    actions: frozenset[str]

    def gives(self, user: str, scope: Scope) -> bool:
        """`user` is "" for somebody who has not logged in."""
        if self.user != (user or ANONYMOUS) and not (user and self.user == _ANY):
            return False
        if scope.kind != "repository":
            return self.pattern == "**" and "*" in self.actions
        is_everywhere = scope.name == "*" and self.pattern == "**"
        named = is_everywhere or self.expression.fullmatch(scope.name) is not None
        return named and ("*" in self.actions or scope.action in self.actions)


@dataclass(frozen=True, slots=True)
class Rules:
    rules: tuple[Rule, ...]

    def allow(self, user: str, scope: Scope) -> bool:
        return any(rule.gives(user, scope) for rule in self.rules)


def parse_rules(lines: Iterable[str]) -> Rules:
    """Raises RulesInvalid."""
    found: list[Rule] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3:
            raise RulesInvalid(f"line {number}: a rule is USER REPOSITORIES ACTIONS")
        user, pattern, actions = words
        given = frozenset(actions.split(","))
        if unknown := sorted(given - _ACTIONS):
            raise RulesInvalid(
                f"line {number}: no such action: {', '.join(unknown)}; there are pull, push, delete and *"
            )
        found.append(Rule(user, pattern, _compiled(pattern), given))
    return Rules(tuple(found))


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part) for part in _split(pattern))
    return re.compile("".join(parts))


def _split(pattern: str) -> list[str]:
    return re.split(r"(\*\*|\*)", pattern)


EVERYTHING = parse_rules(["* ** *"])
"""What holds without a file: who has logged in may do everything."""
