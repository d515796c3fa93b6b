"""What an instruction makes of an image's configuration, and the words it leaves in the history. Pure.

Configurations are Docker's JSON objects. They are replaced, never changed: a stage's base may serve other stages.
"""

import copy
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from riverport.engine.build import instructions
from riverport.engine.build.expand import Style, expand, split
from riverport.engine.build.golang import format_duration, quote, quote_all, quote_rune
from riverport.engine.build.grammar import parse_instruction
from riverport.engine.build.instructions import Instruction, expanded
from riverport.engine.build.lexer import DockerfileError, lex
from riverport.engine.containers.signals import parse_signal
from riverport.engine.errors import InvalidParameter

Json = dict[str, Any]

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
CHANGES_ALLOWED = frozenset(
    ("cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir")
)
_HEREDOC_STYLE = Style(plain_quotes=True)
_PROTOCOLS = ("tcp", "udp", "sctp")
_EMPTY: Json = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "", "Volumes": None,
    "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """An image being made. `cmd_set`: a CMD of this stage stands, so that ENTRYPOINT leaves it alone."""

    config: Json = field(default_factory=lambda: dict(_EMPTY))
    author: str = ""
    cmd_set: bool = False

    def with_config(self, **fields: Any) -> "Draft":
        return replace(self, config={**self.config, **fields})

    @property
    def environment(self) -> list[str]:
        return list(self.config.get("Env") or ())

    @property
    def shell(self) -> list[str]:
        return list(self.config.get("Shell") or DEFAULT_SHELL)


@dataclass(frozen=True, slots=True)
class Configured:
    """`command` is the step's command in the history: `/bin/sh -c #(nop)  ENV a=b`; `notes` are for the client."""

    draft: Draft
    command: list[str]
    notes: tuple[str, ...] = ()


def begin(image_config: Mapping[str, Any] | None) -> Draft:
    """The configuration with which a stage begins; triggers are the caller's to run."""
    config = {**_EMPTY, **copy.deepcopy(dict(image_config or {})), "OpenStdin": False, "StdinOnce": False}
    environment = list(config["Env"] or ())
    if not any(entry.startswith("PATH=") for entry in environment):
        config["Env"] = [*environment, DEFAULT_PATH]
    return Draft(config)


def expand_instruction(instruction: Instruction, variables: Mapping[str, str], escape: str) -> Instruction:
    """Raises ExpansionError."""
    return expanded(
        instruction,
        lambda text: expand(text, variables, escape),
        lambda text: expand(text, variables, "\\", _HEREDOC_STYLE),
    )


def variables_of(environment: Sequence[str], arguments: Mapping[str, str]) -> dict[str, str]:
    """What `$name` may mean in a step: ENV before ARG."""
    found = dict(arguments)
    for entry in environment:
        name, _, value = entry.partition("=")
        found[name] = value
    return found


def configured(
    instruction: Instruction, draft: Draft, variables: Mapping[str, str], escape: str = "\\"
) -> Configured | None:
    """The effect of an (expanded) instruction that runs nothing and copies nothing; None for those that do.

    Raises InvalidParameter with Docker's text.
    """
    if isinstance(instruction, instructions.Workdir):
        draft = draft.with_config(WorkingDir=_workdir(draft.config["WorkingDir"], instruction.path))
        # WORKDIR's comment is one word with its prefix, as COPY's is; all others are two.
        return Configured(draft, [*draft.shell, f"#(nop) WORKDIR {draft.config['WorkingDir']}"])
    notes = _overridden(draft, instruction)
    if isinstance(instruction, instructions.Expose):
        draft, comment = _expose(instruction, draft, variables, escape)
    elif (process := _process(instruction, draft)) is not None:
        draft, comment = process
    elif (setting := _setting(instruction, draft)) is not None:
        draft, comment = setting
    else:
        return None
    return Configured(draft, [*draft.shell, "#(nop) ", comment], notes)


def _process(instruction: Instruction, draft: Draft) -> tuple[Draft, str] | None:
    """What a container runs, and how it is asked and ended."""
    match instruction:
        case instructions.Cmd():
            command = command_line(instruction.words, instruction.is_json, draft)
            draft = replace(draft.with_config(Cmd=command), cmd_set=draft.cmd_set or bool(instruction.words))
            return draft, f"CMD {quote_all(command)}"
        case instructions.Entrypoint():
            entrypoint = command_line(instruction.words, instruction.is_json, draft) if instruction.words else None
            draft = draft.with_config(Entrypoint=entrypoint, Cmd=draft.config["Cmd"] if draft.cmd_set else None)
            return draft, f"ENTRYPOINT {quote_all(entrypoint or ())}"
        case instructions.Healthcheck():
            return draft.with_config(Healthcheck=_healthcheck(instruction)), _printed_healthcheck(instruction)
        case instructions.StopSignal():
            parse_signal(instruction.signal)
            return draft.with_config(StopSignal=instruction.signal), f"STOPSIGNAL {instruction.signal}"
        case instructions.Shell():
            return draft.with_config(Shell=list(instruction.words)), f"SHELL [{' '.join(instruction.words)}]"
    return None


def _setting(instruction: Instruction, draft: Draft) -> tuple[Draft, str] | None:
    match instruction:
        case instructions.Env():
            environment = _with_variables(draft.environment, instruction.pairs)
            return draft.with_config(Env=environment), f"ENV {_joined(instruction.pairs)}"
        case instructions.Label():
            labels = {**(draft.config["Labels"] or {}), **dict(instruction.pairs)}
            return draft.with_config(Labels=labels), f"LABEL {_joined(instruction.pairs)}"
        case instructions.Arg():
            return draft, "ARG " + " ".join(n if v is None else f"{n}={v}" for n, v in instruction.pairs)
        case instructions.Maintainer():
            return replace(draft, author=instruction.text), f"MAINTAINER {instruction.text}"
        case instructions.User():
            return draft.with_config(User=instruction.user), f"USER {instruction.user}"
        case instructions.Volume():
            if not all(instruction.paths):
                raise InvalidParameter("VOLUME specified can not be an empty string")
            volumes = {**(draft.config["Volumes"] or {}), **{path: {} for path in instruction.paths}}
            return draft.with_config(Volumes=volumes), f"VOLUME [{' '.join(instruction.paths)}]"
        case instructions.Onbuild():
            triggers = [*(draft.config["OnBuild"] or ()), instruction.trigger]
            return draft.with_config(OnBuild=triggers), f"ONBUILD {instruction.trigger}"
    return None


def _expose(
    instruction: instructions.Expose, draft: Draft, variables: Mapping[str, str], escape: str
) -> tuple[Draft, str]:
    """A variable here may hold several ports."""
    words = [word for port in instruction.ports for word in split(port, variables, escape)]
    exposed: Json = {port: {} for word in words for port in ports_of(word)}
    draft = draft.with_config(ExposedPorts={**(draft.config.get("ExposedPorts") or {}), **exposed})
    return draft, f"EXPOSE {' '.join(words)}"


def command_line(words: Sequence[str], is_json: bool, draft: Draft) -> list[str]:
    """The shell form gets the shell in front, even without a word of its own."""
    return list(words) if is_json else [*draft.shell, *words]


def apply_changes(config: Mapping[str, Any], changes: Sequence[str]) -> Json:
    """`docker commit --change`, `docker import --change`: a configuration after some instructions.

    Raises InvalidParameter with Docker's text.
    """
    if not changes:
        return dict(config)
    draft = Draft({**_EMPTY, **copy.deepcopy(dict(config))})
    try:
        lexed = lex("\n".join(changes).encode("utf-8", "surrogateescape"))
        for statement in lexed.statements:
            if statement.keyword.lower() not in CHANGES_ALLOWED:
                raise InvalidParameter(f"{statement.keyword} is not a valid change command")
        for instruction in [parse_instruction(statement) for statement in lexed.statements]:
            variables = variables_of(draft.environment, {})
            effect = configured(expand_instruction(instruction, variables, lexed.escape), draft, variables)
            assert effect is not None, instruction
            draft = effect.draft
    except (DockerfileError, ValueError) as error:
        raise InvalidParameter(str(error)) from error
    return draft.config


def ports_of(text: str) -> list[str]:
    """ "8000-8001/udp" → ["8000/udp", "8001/udp"]; a host part before ":" counts for nothing.

    Raises InvalidParameter with Docker's text.
    """
    *_, port = text.split(":")
    port, _, protocol = port.partition("/")
    protocol = protocol.lower() or "tcp"
    if not port:
        raise InvalidParameter(f"no port specified: {text}<empty>")
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", port, re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if found is None or last < first or last > 65535:
        raise InvalidParameter(f"invalid containerPort: {port}")
    if protocol not in _PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def _workdir(current: str, requested: str) -> str:
    if not requested:
        raise InvalidParameter("cannot normalize nothing")
    return clean_path(posixpath.join("/", current, requested))


def clean_path(path: str) -> str:
    """Like Go's filepath.Clean: Python's normpath keeps two slashes at the front."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _joined(pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{name}={value}" for name, value in pairs)


def _with_variables(environment: list[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A variable that is there is replaced where it stands."""
    out = list(environment)
    for name, value in pairs:
        entry = f"{name}={value}"
        at = next((at for at, old in enumerate(out) if old.partition("=")[0] == name), None)
        if at is None:
            out.append(entry)
        else:
            out[at] = entry
    return out


def _overridden(draft: Draft, instruction: Instruction) -> tuple[str, ...]:
    test = (draft.config.get("Healthcheck") or {}).get("Test") or []
    if not isinstance(instruction, instructions.Healthcheck) or not test or test[0] == "NONE":
        return ()
    return (f"Note: overriding previous HEALTHCHECK: [{' '.join(test)}]\n",)


def _healthcheck(check: instructions.Healthcheck) -> Json:
    """As Go writes it: what is zero is left out."""
    times = {
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {"Test": list(check.test), **{name: value for name, value in times.items() if value}}


def _printed_healthcheck(check: instructions.Healthcheck) -> str:
    times = (check.interval_ns, check.timeout_ns, check.start_period_ns, check.start_interval_ns)
    printed = " ".join(quote(format_duration(time)) for time in times)
    return f"HEALTHCHECK &{{{quote_all(check.test)} {printed} {quote_rune(check.retries)}}}"
