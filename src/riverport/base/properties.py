r"""Java .properties files: what Kafka's own settings, meta.properties and tool options are written in.

A line is a key, then `=`, `:` or blanks, then a value. Lines that begin with `#` or `!` are comments. A backslash at
the end of a line joins it with the next; elsewhere it escapes (`\t`, `\n`, `\u00e9`, `\=`). The last of several equal
keys counts. Files are ISO 8859-1, as Java reads them; other characters are escapes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping


class PropertiesError(ValueError):
    """A text that is no properties file; the message names the line."""


def loads(text: str) -> dict[str, str]:
    """Keys and values of a properties text. Raises PropertiesError."""
    found: dict[str, str] = {}
    for number, line in _logical_lines(text):
        split = _KEY.match(line)
        assert split is not None  # the pattern matches the empty text
        try:
            found[_unescaped(split[1])] = _unescaped(line[split.end() :])
        except ValueError as wrong:
            raise PropertiesError(f"line {number}: {wrong}") from wrong
    return found


def load_bytes(data: bytes) -> dict[str, str]:
    """As `loads`, of a file's bytes."""
    return loads(data.decode("iso-8859-1"))


def dumps(pairs: Mapping[str, str], comments: Iterable[str] = ()) -> str:
    """A properties text with `comments` first; `loads` gives back `pairs`, and so does Java."""
    lines = [f"#{line}" for comment in comments for line in comment.split("\n")]
    lines += [f"{_escaped(key, _KEY_SPECIALS)}={_escaped_value(value)}" for key, value in pairs.items()]
    return "".join(f"{line}\n" for line in lines)


_BLANKS = " \t\f"
_KEY_SPECIALS = " :=#!"
# A key ends at the first blank or separator that is not escaped; one separator with the blanks around it is dropped.
_KEY = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{0,4}|.|$)", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_NAMES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f", "\\": "\\\\"}


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and leading blanks, continued ones joined, each with the number of its first line."""
    joined, first = "", 0
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = raw.lstrip(_BLANKS)
        if not first and (not line or line[0] in "#!"):
            continue
        first = first or number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            joined += line[:-1]
            continue
        if joined or line:
            yield first, joined + line
        joined, first = "", 0
    if joined:
        yield first, joined


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    # Java escapes a character beyond U+FFFF as two halves.
    return plain.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[:1] != "u":
        return _LETTERS.get(code, code)
    if len(code) != 5:
        raise ValueError(f"\\{code} is not a character; write \\u and four hexadecimal digits")
    return chr(int(code[1:], 16))


def _escaped_value(value: str) -> str:
    """Only leading blanks of a value need an escape: they would be taken for the separator's."""
    text = _escaped(value, "=:#!")
    return "\\" + text if text.startswith(" ") else text


def _escaped(text: str, specials: str) -> str:
    return "".join(_escaped_character(character, specials) for character in text)


def _escaped_character(character: str, specials: str) -> str:
    if character in _NAMES:
        return _NAMES[character]
    if character in specials:
        return "\\" + character
    if " " <= character <= "~":
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))
