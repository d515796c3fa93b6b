"""A Dockerfile as a whole: global arguments, then stages."""

from dataclasses import dataclass, field

from riverport.engine.build.grammar import parse_instruction
from riverport.engine.build.instructions import Arg, From, Instruction
from riverport.engine.build.lexer import DockerfileError, Lexed, Statement, lex


@dataclass(slots=True)
class Stage:
    """`origin` is its FROM; `number` counts from 0, as `COPY --from=0` does."""

    number: int
    origin: From
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.origin.name


@dataclass(slots=True)
class Dockerfile:
    """`arguments` stand before the first FROM and serve FROM lines, or an ARG of the same name in a stage."""

    arguments: list[Arg]
    stages: list[Stage]
    escape: str
    warnings: list[str]


def parse(source: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Raises DockerfileError with the text of the API's answer."""
    if not source:
        raise DockerfileError(f"the Dockerfile ({name}) cannot be empty")
    try:
        lexed = lex(source)
    except DockerfileError as error:
        raise DockerfileError(f"failed to parse {name}: {error}") from None
    return _arranged(lexed)


def parse_trigger(text: str) -> Instruction:
    """An image's ONBUILD trigger as the instruction that it is. Raises DockerfileError."""
    lexed = lex(text.encode("utf-8", "surrogateescape"))
    if len(lexed.statements) != 1:
        raise DockerfileError("onbuild trigger should be a single expression")
    try:
        return parse_instruction(lexed.statements[0])
    except ValueError as error:
        raise DockerfileError(str(error)) from None


def _arranged(lexed: Lexed) -> Dockerfile:
    dockerfile = Dockerfile([], [], lexed.escape, lexed.warnings)
    for statement in lexed.statements:
        instruction = _instruction(statement)
        if isinstance(instruction, From):
            dockerfile.stages.append(Stage(len(dockerfile.stages), instruction))
        elif dockerfile.stages:
            dockerfile.stages[-1].instructions.append(instruction)
        elif isinstance(instruction, Arg):
            dockerfile.arguments.append(instruction)
        else:
            raise DockerfileError("no build stage in current context")
    return dockerfile


def _instruction(statement: Statement) -> Instruction:
    try:
        return parse_instruction(statement)
    except ValueError as error:
        raise DockerfileError(f"dockerfile parse error on line {statement.first_line}: {error}") from None
