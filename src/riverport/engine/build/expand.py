"""Words of a Dockerfile: quotes, escapes and `${variable}` forms, as the Dockerfile reference describes them.

`$v ${v} ${v-w} ${v:-w} ${v+w} ${v:+w} ${v?e} ${v:?e} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`. Source: the
Dockerfile reference, "Environment replacement"; POSIX shell, 2.6.2. A scanner cuts the text into pieces and says of
each whether spaces in it separate words; `expand` joins the pieces, `split` breaks them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from riverport.engine.build.golang import join_chunks, quote

# What Go's unicode.IsSpace takes; Python's str.isspace takes four control characters more.
SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
# Each `${` inside a `${` is one more call of the scanner; nobody writes this many by hand.
_DEEPEST = 100


class ExpansionError(ValueError):
    """The text cannot be expanded; str() is Docker's message."""


@dataclass(frozen=True, slots=True)
class Style:
    """What of the source text stays in the result; all are off where values are computed."""

    keep_quotes: bool = False
    keep_escapes: bool = False
    plain_quotes: bool = False  # quotes mean nothing: the contents of a here-document
    keep_unset: bool = False  # `$name` of an unknown variable stays as it is


PLAIN = Style()


def expand(text: str, variables: Mapping[str, str], escape: str = "\\", style: Style = PLAIN) -> str:
    """`text` as one word: variables replaced, quotes and escapes removed, spaces kept."""
    return "".join(piece for piece, _ in _pieces(text, variables, escape, style))


def split(text: str, variables: Mapping[str, str], escape: str = "\\", style: Style = PLAIN) -> list[str]:
    """`text` as words; spaces in a variable's value separate words too, unless quoted. Empty words are dropped."""
    words: list[str] = []
    current: list[str] = []
    for piece, splits in _pieces(text, variables, escape, style):
        if not splits:
            current.append(piece)
            continue
        for character in piece:
            if character not in SPACES:
                current.append(character)
            elif word := "".join(current):
                words.append(word)
                current.clear()
    if word := "".join(current):
        words.append(word)
    return words


def _pieces(text: str, variables: Mapping[str, str], escape: str, style: Style) -> list[tuple[str, bool]]:
    scanner = _Scanner(text, variables, escape, style)
    try:
        return list(scanner.until(None, style.keep_escapes))
    except ExpansionError as error:
        raise ExpansionError(f"failed to process {quote(text)}: {error}") from None


class _Scanner:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str, style: Style) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._style = style
        self._depth = 0

    def until(self, stop: str | None, keep_escapes: bool) -> Iterator[tuple[str, bool]]:
        """Pieces up to an unquoted `stop` (consumed), or to the end of the text if None."""
        while (character := self._peek()) != "":
            if character == stop:
                self._at += 1
                return
            if character == "$":
                yield self._variable(), True
            elif character == "<":
                yield self._possible_heredoc(), False
            elif character == "'" and not self._style.plain_quotes:
                yield self._single_quoted(), False
            elif character == '"' and not self._style.plain_quotes:
                yield self._double_quoted(keep_escapes), False
            elif character == self._escape:
                self._at += 1
                escaped = self._next()
                yield (character if keep_escapes else "") + escaped, False
            else:
                self._at += 1
                yield character, True
        if stop is not None:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _possible_heredoc(self) -> str:
        """`<<` keeps the blanks before its word, so that `<< EOF` stays one word."""
        found = re.compile(r"<(?:<[\t\r ]*)?").match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return found[0]

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._at = len(self._text)
            raise ExpansionError("unexpected end of statement while looking for matching single-quote")
        body = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{body}'" if self._style.keep_quotes else body

    def _double_quoted(self, keep_escapes: bool) -> str:
        self._at += 1
        mark = '"' if self._style.keep_quotes else ""
        out = [mark]
        while (character := self._peek()) != '"':
            if character == "":
                raise ExpansionError("unexpected end of statement while looking for matching double-quote")
            if character == "$":
                out.append(self._variable())
                continue
            self._at += 1
            if character == self._escape:
                if keep_escapes:
                    out.append(character)
                following = self._peek()
                if following == "":
                    continue
                if following in ('"', "$", self._escape):
                    character = self._next()
            out.append(character)
        self._at += 1
        out.append(mark)
        return "".join(out)

    def _variable(self) -> str:
        self._at += 1
        if self._peek() == "{":
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ExpansionError("syntax error: bad substitution")
            value = self._braced()
            self._depth -= 1
            return value
        name = self._name()
        if not name:
            return "$"
        if name not in self._variables and self._style.keep_unset:
            return "$" + name
        return self._variables.get(name, "")

    def _name(self) -> str:
        if self._peek().isdecimal():
            return self._take(str.isdecimal)
        if self._peek() in _SPECIAL_PARAMETERS and self._peek():
            return self._next()
        return self._take(lambda character: character.isalpha() or character.isdecimal() or character == "_")

    def _take(self, wanted: Callable[[str], bool]) -> str:
        start = self._at
        while (character := self._peek()) and wanted(character):
            self._at += 1
        return self._text[start : self._at]

    def _braced(self) -> str:
        self._at += 1
        following = self._peek()
        if following == "":
            raise ExpansionError("syntax error: missing '}'")
        if following in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        name = self._name()
        operator = self._next()
        if operator == "}":
            if name not in self._variables and self._style.keep_unset:
                return f"${{{name}}}"
            return self._variables.get(name, "")
        if operator == "/":
            return self._replaced(name)
        if operator == ":":
            operator += self._next()
        if operator.lstrip(":") not in ("+", "-", "?", "#", "%") or operator in (":#", ":%"):
            raise ExpansionError(f"unsupported modifier ({operator}) in substitution")
        word = self._argument("}", operator in ("#", "%"), "syntax error: missing '}'")
        if name not in self._variables and self._style.keep_unset:
            return f"${{{name}{operator}{word}}}"
        return _modified(name, self._variables.get(name), operator, word)

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._argument("/", True, "syntax error: missing '/' in ${}")
        replacement = self._argument("}", True, "syntax error: missing '}'")
        if name not in self._variables and self._style.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        wanted = _pattern(pattern, greedy=True)
        return wanted.sub(lambda _: replacement, self._variables.get(name, ""), count=0 if everywhere else 1)

    def _argument(self, stop: str, keep_escapes: bool, fault_at_end: str) -> str:
        try:
            return "".join(piece for piece, _ in self.until(stop, keep_escapes))
        except ExpansionError:
            if self._peek() == "":
                raise ExpansionError(fault_at_end) from None
            raise


def _modified(name: str, value: str | None, operator: str, word: str) -> str:
    """The value of `${name<operator>word}`; None is an unset variable, and a colon treats an empty one so too."""
    usable = value if not operator.startswith(":") or value else None
    match operator[-1]:
        case "-":
            return word if usable is None else usable
        case "+":
            return "" if usable is None else word
        case "?":
            if usable is None:
                fault = "is not allowed to be unset" if value is None else "is not allowed to be empty"
                raise ExpansionError(f"{name}: {word or fault}")
            return usable
        case "#":
            return _without_prefix(value or "", word)
        case _:
            return _without_suffix(value or "", word)


def _without_prefix(value: str, word: str) -> str:
    greedy = word.startswith("#")
    found = _pattern(word[greedy:], greedy).match(value)
    return value[found.end() :] if found else value


def _without_suffix(value: str, word: str) -> str:
    greedy = word.startswith("%")
    pattern = _pattern(word[greedy:], greedy=True)
    # The shortest suffix starts last: try the starts from the end, or from the front for the longest.
    starts: Iterable[int] = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    for start in starts:
        if pattern.fullmatch(value, start):
            return value[:start]
    return value


def _pattern(text: str, greedy: bool) -> re.Pattern[str]:
    """A shell pattern of `*` and `?` (no classes); a backslash takes either, or itself, literally."""
    chunks: list[list[str]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == "*":
            chunks.append([])
        elif character == "?":
            chunks[-1].append(".")
        elif character == "\\":
            escaped = next(characters, "")
            # `}` and `/` are escaped for the sake of the surrounding braces only.
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ExpansionError(f"invalid pattern ({text}) in substitution: invalid escape '\\{escaped}'")
            chunks[-1].append(re.escape(escaped))
        else:
            chunks[-1].append(re.escape(character))
    return re.compile(join_chunks(["".join(chunk) for chunk in chunks], ".", shortest=not greedy))
