""".dockerignore: order, exceptions, `**`, directories."""

import pytest

from riverport.engine.build.dockerignore import Ignore, read_patterns


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["a"], "a", True),
        (["a"], "a/b/c", True),
        (["a"], "b/a", False),
        (["*.py"], "x.py", True),
        (["*.py"], "d/x.py", False),
        (["**/*.py"], "d/e/x.py", True),
        (["**/*.py"], "x.py", True),
        (["**/x"], "x", True),
        (["**/x"], "ax", False),
        (["**x"], "ax", True),
        (["a/**"], "a/b/c", True),
        (["a/**"], "a", False),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/b"], "a/xb", False),
        (["**"], "anything/at/all", True),
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "other", True),
        (["*", "!keep", "keep/x"], "keep/x", True),
        (["d", "!d/keep"], "d/keep", False),
        (["d", "!d/keep"], "d/other", True),
        (["!a", "a"], "a", True),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["[a-c]x"], "bx", True),
        (["[^a]x"], "ax", False),
        (["a.b"], "axb", False),
        (["a\\*b"], "a*b", True),
        (["./a/../b"], "b", True),
        (["a/"], "a/x", True),
        (["[[]x"], "[x", True),
        (["[é-c]x"], "dx", False),
        (["[a-é]x"], "bx", True),
        (["[\\]]x"], "]x", True),
        (["a/*/**/c"], "a/b/x/c", True),
    ],
)
def test_patterns(patterns: list[str], path: str, ignored: bool) -> None:
    assert Ignore(patterns).matches(path) is ignored


def test_the_file_is_cleaned_before_it_is_used() -> None:
    text = "\ufeff# comment\n\n /abs/x/ \n! /keep \n#not\n./a//b\n"
    assert read_patterns(text) == ["abs/x", "!keep", "a/b"]


@pytest.mark.parametrize("pattern", ["[", "!", "a[b", "x**y**z**w**v"])
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        Ignore([pattern])


def test_many_runs_end_soon() -> None:
    assert not Ignore(["**/a/" * 30 + "b"]).matches("a/" * 1000 + "c")
