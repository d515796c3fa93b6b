"""Lines of a Dockerfile to statements: directives, continuation, comments, here-documents.

Nothing here knows what an instruction means; `arguments.py` cuts what follows the keyword. A fault found here or there
concerns the file ("failed to parse Dockerfile: …"); what an instruction then objects to names its line
(`instructions.py`).
"""

import re
from dataclasses import dataclass, field

from riverport.engine.build.arguments import Arguments, parse_arguments, split_keyword
from riverport.engine.build.expand import SPACES, ExpansionError, Style, split

_DIRECTIVE = re.compile(r"#[\s]*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$", re.ASCII)
_KNOWN_DIRECTIVES = frozenset(("syntax", "escape", "check"))
_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.ASCII)
_TAKES_HEREDOCS = frozenset(("add", "copy", "run"))
# What Docker's scanner accepts in one line.
LONGEST_LINE = 65_535
_RAW = Style(keep_quotes=True, keep_escapes=True, keep_unset=True)
_WORD = Style(keep_unset=True)
_QUOTED_WORD = Style(keep_quotes=True, keep_unset=True)


class DockerfileError(ValueError):
    """The text is no Dockerfile; str() is Docker's message."""


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`expand`: its word was not quoted, so variables in it are replaced. `chomp`: `<<-`, leading tabs go."""

    word: str
    content: str
    expand: bool
    chomp: bool

    @property
    def text(self) -> str:
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction as written. `original` is the joined line; `inner` the statement after ONBUILD."""

    keyword: str
    flags: tuple[str, ...]
    arguments: Arguments
    original: str
    first_line: int
    last_line: int
    heredocs: tuple[Heredoc, ...] = ()
    inner: "Statement | None" = None


@dataclass(slots=True)
class Lexed:
    statements: list[Statement] = field(default_factory=list)
    escape: str = "\\"
    warnings: list[str] = field(default_factory=list)


def lex(source: bytes) -> Lexed:
    """Raises DockerfileError."""
    return _Lexer(source.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")).run()


def parse_heredoc_word(word: str) -> Heredoc | None:
    """The here-document that a word like `<<-"EOF"` announces, still without content; None if it is another word."""
    found = _HEREDOC.fullmatch(word)
    if found is None or not found[3]:
        return None
    plain = split(found[3], {}, style=_WORD)
    quoted = split(found[3], {}, style=_QUOTED_WORD)
    if len(plain) != 1 or len(quoted) != 1:
        return None
    return Heredoc(plain[0], "", expand=_quotes(plain[0]) == _quotes(quoted[0]), chomp=found[2] == "-")


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


class _Lexer:
    def __init__(self, text: str) -> None:
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        self._at = 0  # lines read so far, so also the number of the line read last
        self._directives: set[str] | None = set()
        self._out = Lexed()
        self._set_escape("\\")

    def run(self) -> Lexed:
        while self._at < len(self._lines):
            line = self._read().lstrip(SPACES)
            if line.startswith("#"):
                self._directive(line)
                continue
            self._directives = None
            first = self._at
            line, ended = self._without_continuation(line)
            if ended and not line:
                continue
            self._out.statements.append(self._statement(self._joined(line, ended), first))
        if not self._out.statements:
            raise DockerfileError("file with no instructions")
        return self._out

    def _read(self) -> str:
        line: str = self._lines[self._at]
        self._at += 1
        if len(line) > LONGEST_LINE:
            raise DockerfileError(f"dockerfile line greater than max allowed size of {LONGEST_LINE}")
        return line.rstrip("\r\n")

    def _directive(self, line: str) -> None:
        """Directives stand before everything else, comments included, each once."""
        if self._directives is None:
            return
        found = _DIRECTIVE.match(line)
        name = found[1].lower() if found else ""
        if found is None or name not in _KNOWN_DIRECTIVES:
            self._directives = None
            return
        if name in self._directives:
            raise DockerfileError(f"only one {name} parser directive can be used")
        self._directives.add(name)
        if name == "escape":
            self._set_escape(found[2])

    def _set_escape(self, token: str) -> None:
        if token not in ("\\", "`"):
            raise DockerfileError(f"invalid escape token '{token}' does not match ` or \\")
        self._out.escape = token
        escaped = re.escape(token)
        # An escaped escape token does not continue the line.
        self._continuation = re.compile(rf"(^|[^{escaped}]){escaped}[ \t]*$")

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        found = self._continuation.search(line)
        return (line, True) if found is None else (line[: found.end(1)], False)

    def _joined(self, line: str, ended: bool) -> str:
        parts = [line]
        empty_seen = False
        while not ended and self._at < len(self._lines):
            following = self._read()
            bare = following.lstrip(SPACES)
            if not bare:
                empty_seen = True
            elif not bare.startswith("#"):
                following, ended = self._without_continuation(following)
                parts.append(following)
        joined = "".join(parts)
        if empty_seen:
            self._out.warnings.append(f"Empty continuation line found in: {joined}")
        return joined

    def _statement(self, line: str, first: int, inner: bool = False) -> Statement:
        keyword, flags, rest = split_keyword(line, self._out.escape)
        name = keyword.lower()
        if name == "onbuild" and rest and not inner:
            trigger = self._statement(rest, first, inner=True)
            arguments = Arguments((trigger.keyword, *trigger.arguments.words), trigger.arguments.is_json)
            return Statement(keyword, flags, arguments, line, first, self._at, trigger.heredocs, trigger)
        try:
            arguments = parse_arguments(name, rest, self._out.escape)
        except ValueError as error:
            raise DockerfileError(str(error)) from None
        heredocs: tuple[Heredoc, ...] = ()
        if name in _TAKES_HEREDOCS and "<<" in line and not arguments.is_json:
            heredocs = tuple(self._contents(heredoc) for heredoc in _announced(line))
        return Statement(keyword, flags, arguments, line, first, self._at, heredocs)

    def _contents(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            end = line.rstrip("\r\n")
            if (end.lstrip("\t") if heredoc.chomp else end) == heredoc.word:
                return Heredoc(heredoc.word, "".join(content), heredoc.expand, heredoc.chomp)
            content.append(line)
        raise DockerfileError("unterminated heredoc")


def _announced(line: str) -> list[Heredoc]:
    try:
        words = split(line, {}, style=_RAW)
    except ExpansionError:
        return []
    try:
        found = [parse_heredoc_word(word) for word in words]
    except ExpansionError as error:
        raise DockerfileError(str(error)) from None
    return [heredoc for heredoc in found if heredoc is not None]
