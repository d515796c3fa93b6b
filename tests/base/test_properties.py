import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.base.properties import PropertiesError, dumps, load_bytes, loads


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=1\nb: 2\nc 3\nd", {"a": "1", "b": "2", "c": "3", "d": ""}),
        ("  a  =  1  ", {"a": "1  "}),
        ("a = = 1", {"a": "= 1"}),
        ("# no\n! neither\n\n \t\na=#b", {"a": "#b"}),
        ("a=1\ra=2\r\na=3", {"a": "3"}),
        ("a=one,\\\n   two,\\\r\n\tthree", {"a": "one,two,three"}),
        ("a=one\\\n# two", {"a": "one# two"}),
        ("a=one\\\n\nb=2", {"a": "one", "b": "2"}),
        ("a=one\\\\\nb=2", {"a": "one\\", "b": "2"}),
        ("a=end\\", {"a": "end"}),
        ("\\\n\na=1", {"a": "1"}),
        (r"a\=b\ c=\t\n\x\u00e9", {"a=b c": "\t\nx\u00e9"}),
        (r"a=\uD83D\uDE00", {"a": "\U0001f600"}),
        ("=x", {"": "x"}),
        ("listeners=PLAINTEXT://:9092,CONTROLLER://:9093", {"listeners": "PLAINTEXT://:9092,CONTROLLER://:9093"}),
        (r"path=C:\\data", {"path": r"C:\data"}),
        ("", {}),
    ],
)
def test_reads_as_java_does(text: str, pairs: dict[str, str]) -> None:
    assert loads(text) == pairs


def test_bytes_are_latin_1() -> None:
    assert load_bytes(b"a=\xe9") == {"a": "\u00e9"}


@pytest.mark.parametrize("text", [r"a=\u12", "a=1\nb=\\u12g4"])
def test_a_malformed_escape_names_its_line(text: str) -> None:
    with pytest.raises(PropertiesError, match=f"line {text.count(chr(10)) + 1}: "):
        loads(text)


def test_writes_what_java_writes() -> None:
    text = dumps({"a b": " x=y", "c": "\u00e9\n"}, ["made by hand", "twice"])
    assert text == "#made by hand\n#twice\na\\ b=\\ x\\=y\nc=\\u00E9\\n\n"


@given(st.dictionaries(st.text(), st.text()))
def test_what_was_written_is_read_back(pairs: dict[str, str]) -> None:
    text = dumps(pairs)
    assert text.isascii()
    assert loads(text) == pairs
