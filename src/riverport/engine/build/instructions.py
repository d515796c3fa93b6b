"""The instructions of a Dockerfile, typed; `grammar.py` makes them.

`code` is the source text without surrounding space: what `Step 1/6 : …` shows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from riverport.engine.build.lexer import Heredoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    code: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Base):
    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Base):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Base):
    """`literal`: from the query of the build, so nothing in it is expanded."""

    pairs: tuple[tuple[str, str], ...]
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Base):
    """None is an argument without a default."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Base):
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Base):
    """COPY and ADD; `contents` are here-documents as (file name, text, whether variables are replaced)."""

    keyword: str
    sources: tuple[str, ...]
    target: str
    contents: tuple[tuple[str, str, bool], ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None
    keep_git_dir: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Base):
    words: tuple[str, ...]
    is_json: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Base):
    words: tuple[str, ...]
    is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Base):
    words: tuple[str, ...]
    is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Base):
    """Times in nanoseconds; `test` as in the image's configuration."""

    test: tuple[str, ...]
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Base):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Base):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Base):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Base):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Base):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Base):
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Base):
    trigger: str


Instruction: TypeAlias = (
    From | Env | Label | Arg | Maintainer | Copy | Run | Cmd | Entrypoint | Healthcheck | Expose | User | Volume
    | Workdir | StopSignal | Shell | Onbuild
)  # fmt: skip


def expanded(instruction: Instruction, expand: Callable[[str], str], in_text: Callable[[str], str]) -> Instruction:
    """The instruction with variables replaced in the fields where they count; `in_text` is for here-documents.

    EXPOSE is not among them: a variable of it may be several ports (`config.py`), and mounts are read when RUN is.
    """
    match instruction:
        case Env() | Label(literal=False):
            return replace(instruction, pairs=tuple((expand(name), expand(text)) for name, text in instruction.pairs))
        case Arg():
            pairs = tuple((expand(name), text if text is None else expand(text)) for name, text in instruction.pairs)
            return replace(instruction, pairs=pairs)
        case Copy():
            return replace(
                instruction,
                sources=tuple(expand(source) for source in instruction.sources),
                target=expand(instruction.target),
                chown=expand(instruction.chown),
                chmod=expand(instruction.chmod),
                checksum=expand(instruction.checksum),
                contents=tuple((n, in_text(t) if expands else t, expands) for n, t, expands in instruction.contents),
            )
        case User():
            return replace(instruction, user=expand(instruction.user))
        case Volume():
            return replace(instruction, paths=tuple(expand(path) for path in instruction.paths))
        case Workdir():
            return replace(instruction, path=expand(instruction.path))
        case StopSignal():
            return replace(instruction, signal=expand(instruction.signal))
    return instruction
