"""Dockerfiles to instructions: lines, directives, continuation, here-documents, forms, and errors with their texts."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.build.dockerfile import Dockerfile, parse, parse_trigger
from riverport.engine.build.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Onbuild,
    Run,
    Shell,
    Volume,
)
from riverport.engine.build.lexer import DockerfileError


def dockerfile(text: str) -> Dockerfile:
    return parse(text.encode())


def single(line: str) -> Instruction:
    (instruction,) = dockerfile(f"FROM scratch\n{line}\n").stages[0].instructions
    return instruction


def fault(text: str) -> str:
    with pytest.raises(DockerfileError) as raised:
        parse(text.encode())
    return str(raised.value)


def test_stages_and_global_arguments() -> None:
    parsed = dockerfile(
        "ARG v=1\n# note\nFROM a:$v AS One\nRUN x\n\nFROM --platform=linux/arm64 b\nCOPY --from=one / /\n"
    )
    assert [argument.pairs for argument in parsed.arguments] == [(("v", "1"),)]
    first, second = parsed.stages
    assert (first.number, first.name, first.origin.image, first.origin.code) == (0, "one", "a:$v", "FROM a:$v AS One")
    assert (second.number, second.name, second.origin.platform) == (1, "", "linux/arm64")
    assert second.instructions[0].line == 7


def test_continuation_skips_comments_and_warns_of_empty_lines() -> None:
    parsed = dockerfile("FROM a\nRUN one \\\n  # comment\n  two \\\n\n  three\n")
    (run,) = parsed.stages[0].instructions
    assert isinstance(run, Run)
    assert run.words == ("one   two   three",)
    assert parsed.warnings == ["Empty continuation line found in: RUN one   two   three"]


def test_an_escaped_escape_does_not_continue_the_line() -> None:
    parsed = dockerfile("FROM a\nRUN x \\\\\nRUN y\n")
    assert [run.code for run in parsed.stages[0].instructions] == ["RUN x \\\\", "RUN y"]


def test_the_escape_directive_changes_the_continuation() -> None:
    parsed = dockerfile("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir `\n c:\\\nRUN y\n")
    assert [run.code for run in parsed.stages[0].instructions] == ["RUN dir  c:\\", "RUN y"]
    assert parsed.escape == "`"


def test_a_directive_after_anything_else_is_a_comment() -> None:
    assert dockerfile("# hello\n# escape=`\nFROM a\n").escape == "\\"
    assert dockerfile("\n# escape=`\nFROM a\n").escape == "\\"


def test_byte_order_mark_and_carriage_returns_are_no_part_of_the_text() -> None:
    parsed = parse(b"\xef\xbb\xbfFROM a\r\nRUN x \\\r\n y\r\n")
    assert parsed.stages[0].instructions[0].code == "RUN x  y"


def test_heredocs_of_run() -> None:
    run = single("RUN <<EOF\necho $a\n\techo b\nEOF")
    assert isinstance(run, Run)
    assert run.words == ("<<EOF",)
    (heredoc,) = run.heredocs
    assert (heredoc.word, heredoc.content, heredoc.expand) == ("EOF", "echo $a\n\techo b\n", True)


def test_heredocs_of_copy_are_files_and_quoting_makes_them_literal() -> None:
    copy = single("COPY <<a.txt <<-'b.txt' plain /dir/\none $x\na.txt\n\ttwo\n\tb.txt")
    assert isinstance(copy, Copy)
    assert copy.sources == ("plain",)
    assert copy.contents == (("a.txt", "one $x\n", True), ("b.txt", "two\n", False))


def test_a_shift_is_no_heredoc() -> None:
    run = single("RUN echo $((1<<2))")
    assert isinstance(run, Run)
    assert run.heredocs == ()


def test_json_and_shell_form() -> None:
    assert single('CMD ["a", "b"]') == Cmd(code='CMD ["a", "b"]', line=2, words=("a", "b"), is_json=True)
    assert single("CMD [a, b]") == Cmd(code="CMD [a, b]", line=2, words=("[a, b]",))
    assert single("CMD ['a']") == Cmd(code="CMD ['a']", line=2, words=("['a']",))
    assert single("CMD []") == Cmd(code="CMD []", line=2, words=(), is_json=True)
    assert single("ENTRYPOINT top -b") == Entrypoint(code="ENTRYPOINT top -b", line=2, words=("top -b",))
    assert single('SHELL ["sh","-ec"]') == Shell(code='SHELL ["sh","-ec"]', line=2, words=("sh", "-ec"))
    assert single('VOLUME ["/a b", "/c"]') == Volume(code='VOLUME ["/a b", "/c"]', line=2, paths=("/a b", "/c"))
    assert single('COPY ["a b", "/c d/"]') == Copy(
        code='COPY ["a b", "/c d/"]', line=2, keyword="COPY", sources=("a b",), target="/c d/"
    )


def test_pairs_in_both_forms() -> None:
    def pairs(line: str) -> object:
        instruction = single(line)
        assert isinstance(instruction, Env | Label | Arg)
        return instruction.pairs

    assert pairs("ENV a=1 b=\"two words\" c=three\\ words d='x y'z") == (
        ("a", "1"), ("b", '"two words"'), ("c", "three\\ words"), ("d", "'x y'z"),
    )  # fmt: skip
    assert pairs("ENV name some value = here") == (("name", "some value = here"),)
    assert pairs('LABEL "com.example"="x" y=') == (('"com.example"', '"x"'), ("y", ""))
    assert pairs("ARG a b=2 c=") == (("a", None), ("b", "2"), ("c", ""))


def test_flags_of_copy_and_run() -> None:
    copy = single("COPY --from=0 --chown=1:2 --chmod=755 --link --parents --exclude=*.a --exclude=b src dst")
    assert isinstance(copy, Copy)
    assert (copy.from_, copy.chown, copy.chmod, copy.link, copy.parents) == ("0", "1:2", "755", True, True)
    assert copy.exclude == ("*.a", "b")
    run = single("RUN --mount=type=cache,target=/c --network=none --mount=type=tmpfs,target=/t echo --x")
    assert isinstance(run, Run)
    assert (run.mounts, run.network) == (("type=cache,target=/c", "type=tmpfs,target=/t"), "none")
    assert run.words == ("echo --x",)


def test_healthchecks() -> None:
    check = single("HEALTHCHECK --interval=5m --timeout=3s --retries=4 CMD curl -f http://x/ || exit 1")
    assert isinstance(check, Healthcheck)
    assert check.test == ("CMD-SHELL", "curl -f http://x/ || exit 1")
    assert (check.interval_ns, check.timeout_ns, check.retries) == (300 * 10**9, 3 * 10**9, 4)
    exact = single('HEALTHCHECK CMD ["true", "x"]')
    assert isinstance(exact, Healthcheck)
    assert exact.test == ("CMD", "true", "x")
    off = single("HEALTHCHECK none")
    assert isinstance(off, Healthcheck)
    assert off.test == ("NONE",)


def test_ports_are_sorted_and_triggers_kept_as_written() -> None:
    ports = single("EXPOSE 90 80/udp 100")
    assert isinstance(ports, Expose)
    assert ports.ports == ("100", "80/udp", "90")
    trigger = single("ONBUILD RUN <<E\necho hi\nE")
    assert isinstance(trigger, Onbuild)
    assert trigger.trigger == "RUN <<E\necho hi\nE"
    again = parse_trigger(trigger.trigger)
    assert isinstance(again, Run)
    assert again.heredocs[0].content == "echo hi\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("FOO x", "unknown instruction: FOO (did you mean FROM?)"),
        ("EXPLAIN x", "unknown instruction: EXPLAIN"),
        ("RUNN x", "unknown instruction: RUNN (did you mean RUN?)"),
        ("copyy a b", "unknown instruction: copyy (did you mean copy?)"),
        ("COPY a", "COPY requires at least two arguments, but only one was provided. "
                   "Destination could not be determined"),
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --chown=a --chown=b c d", "duplicate flag specified: --chown"),
        ("COPY <<a <<b\na\nb", "COPY cannot accept a heredoc as a destination"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("ARG =x", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form. Found: SHELL sh -c"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK TCP x", 'Unknown type "TCP" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --interval=1 CMD x", 'time: missing unit in duration "1"'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a as 1x", "invalid name for build stage: \"1x\", name can't start with a number or contain symbols"),
        ("RUN --network=some x", 'invalid network mode "some"'),
        ("RUN --mount=type=cache,from=$x,target=/y z",
         "'from' doesn't support variable expansion, define alias stage instead"),
    ],
)  # fmt: skip
def test_a_faulty_instruction_is_told_with_its_line(line: str, text: str) -> None:
    assert fault(f"FROM scratch\n\n{line}\n") == f"dockerfile parse error on line 3: {text}"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ("\n# only comments\n", "failed to parse Dockerfile: file with no instructions"),
        ("FROM a\nENV x\n", "failed to parse Dockerfile: ENV must have two arguments"),
        ("FROM a\nENV a=b c\n", 'failed to parse Dockerfile: Syntax error - can\'t find = in "c". '
                                "Must be of the form: name=value"),
        ("FROM a\nRUN [1]\n", "failed to parse Dockerfile: when using JSON array syntax, "
                              "arrays must be comprised of strings only"),
        ("FROM a\nRUN <<E\nx\n", "failed to parse Dockerfile: unterminated heredoc"),
        ("# escape=x\nFROM a\n", "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a\n", "failed to parse Dockerfile: "
                                         "only one escape parser directive can be used"),
        ("RUN x\n", "no build stage in current context"),
        ("RUN " + "x" * 70_000, "failed to parse Dockerfile: dockerfile line greater than max allowed size of 65535"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_told(source: str, text: str) -> None:
    assert fault(source) == text


def test_nesting_without_end_is_an_error_like_any_other() -> None:
    assert "ONBUILD" in fault("FROM a\n" + "ONBUILD " * 7000 + "RUN x\n")
    assert single("CMD " + "[" * 50_000) is not None


@given(st.text(alphabet="FROMRUN Ca\n\\#=<-E'\"[],$`\t", max_size=60))
def test_any_text_is_a_dockerfile_or_an_error(text: str) -> None:
    for source in (text, "FROM a\nRUN " + text, "FROM a\nCOPY " + text, "FROM a\nENV " + text):
        with contextlib.suppress(DockerfileError):
            assert parse(source.encode()).stages


WORD = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\\\"'`<\xa0\x85"), min_size=1
)


@given(st.lists(WORD, min_size=2, max_size=5))
def test_words_of_a_copy_come_out_as_they_went_in(words: list[str]) -> None:
    if words[0].startswith(("-", "[")):
        return
    copy = single("COPY " + " ".join(words))
    assert isinstance(copy, Copy)
    assert [*copy.sources, copy.target] == words
