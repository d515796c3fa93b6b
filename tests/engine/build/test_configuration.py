"""Instructions on configurations: Docker's fields and the history's words."""

from typing import Any

import pytest

from riverport.engine.build.config import (
    Configured,
    Draft,
    apply_changes,
    begin,
    configured,
    expand_instruction,
    ports_of,
    variables_of,
)
from riverport.engine.build.dockerfile import parse
from riverport.engine.errors import InvalidParameter

BASE = {"Env": ["PATH=/bin", "HOME=/root"], "Cmd": ["sh"], "WorkingDir": "/srv", "Labels": {"a": "1"}}


def after(*lines: str, base: dict[str, Any] | None = None) -> Configured:
    """The last step's effect."""
    dockerfile = parse(("FROM x\n" + "\n".join(lines)).encode())
    effect: Configured | None = None
    draft = begin(BASE if base is None else base)
    for instruction in dockerfile.stages[0].instructions:
        variables = variables_of(draft.environment, {})
        effect = configured(expand_instruction(instruction, variables, "\\"), draft, variables)
        assert effect is not None
        draft = effect.draft
    assert effect is not None
    return effect


@pytest.mark.parametrize(
    ("line", "field", "value", "comment"),
    [
        ("ENV A=$HOME B='x y'", "Env", ["PATH=/bin", "HOME=/root", "A=/root", "B=x y"], "ENV A=/root B=x y"),
        ("ENV HOME=/h", "Env", ["PATH=/bin", "HOME=/h"], "ENV HOME=/h"),
        ("LABEL b=2 a=3", "Labels", {"a": "3", "b": "2"}, "LABEL b=2 a=3"),
        ("CMD echo hi", "Cmd", ["/bin/sh", "-c", "echo hi"], 'CMD ["/bin/sh" "-c" "echo hi"]'),
        ('CMD ["a"]', "Cmd", ["a"], 'CMD ["a"]'),
        ("CMD []", "Cmd", [], "CMD []"),
        ('ENTRYPOINT ["a","b"]', "Entrypoint", ["a", "b"], 'ENTRYPOINT ["a" "b"]'),
        ("ENTRYPOINT", "Entrypoint", None, "ENTRYPOINT []"),
        ("EXPOSE 80 90/udp", "ExposedPorts", {"80/tcp": {}, "90/udp": {}}, "EXPOSE 80 90/udp"),
        ("USER 1:2", "User", "1:2", "USER 1:2"),
        ('VOLUME ["/a","/b"]', "Volumes", {"/a": {}, "/b": {}}, "VOLUME [/a /b]"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT", "STOPSIGNAL SIGINT"),
        ('SHELL ["/bin/ash","-ec"]', "Shell", ["/bin/ash", "-ec"], "SHELL [/bin/ash -ec]"),
        ("ONBUILD RUN x $HOME", "OnBuild", ["RUN x $HOME"], "ONBUILD RUN x $HOME"),
        ("ARG a b=2", "Cmd", ["sh"], "ARG a b=2"),
        (
            "HEALTHCHECK --interval=5m --retries=3 CMD curl x",
            "Healthcheck",
            {"Test": ["CMD-SHELL", "curl x"], "Interval": 300_000_000_000, "Retries": 3},
            'HEALTHCHECK &{["CMD-SHELL" "curl x"] "5m0s" "0s" "0s" "0s" \'\\x03\'}',
        ),
    ],
)
def test_a_step_sets_its_field_and_tells_the_history(line: str, field: str, value: object, comment: str) -> None:
    effect = after(line)
    assert effect.draft.config[field] == value
    shell = effect.draft.config.get("Shell") or ["/bin/sh", "-c"]
    assert effect.command == [*shell, "#(nop) ", comment]


def test_workdir_adds_up_and_its_comment_is_one_word() -> None:
    effect = after("WORKDIR a/../b", "WORKDIR c")
    assert effect.draft.config["WorkingDir"] == "/srv/b/c"
    assert effect.command == ["/bin/sh", "-c", "#(nop) WORKDIR /srv/b/c"]
    assert after("WORKDIR //x//y/.").draft.config["WorkingDir"] == "/x/y"


def test_an_entrypoint_resets_an_inherited_command_but_not_an_own_one() -> None:
    assert after('ENTRYPOINT ["a"]').draft.config["Cmd"] is None
    assert after("CMD b", 'ENTRYPOINT ["a"]').draft.config["Cmd"] == ["/bin/sh", "-c", "b"]


def test_a_shell_serves_what_follows() -> None:
    effect = after('SHELL ["/bin/ash", "-ec"]', "CMD x")
    assert effect.draft.config["Cmd"] == ["/bin/ash", "-ec", "x"]
    assert effect.command[:2] == ["/bin/ash", "-ec"]


def test_a_variable_may_hold_several_ports() -> None:
    effect = after('ENV P="80 8000-8002/udp"', "EXPOSE $P")
    assert set(effect.draft.config["ExposedPorts"]) == {"80/tcp", "8000/udp", "8001/udp", "8002/udp"}
    assert effect.command[-1] == "EXPOSE 80 8000-8002/udp"


def test_a_second_healthcheck_is_noted() -> None:
    assert after("HEALTHCHECK CMD a", "HEALTHCHECK NONE").notes == (
        "Note: overriding previous HEALTHCHECK: [CMD-SHELL a]\n",
    )
    assert after("HEALTHCHECK NONE", "HEALTHCHECK CMD a").notes == ()


def test_env_sees_values_from_before_its_line() -> None:
    assert "B=old" in after("ENV A=old", "ENV A=new B=$A").draft.config["Env"]


def test_a_stage_begins_with_a_path_and_leaves_its_base_alone() -> None:
    base: dict[str, Any] = {"Env": ["A=1"], "OpenStdin": True}
    draft = begin(base)
    assert draft.config["Env"][0] == "A=1"
    assert draft.config["Env"][1].startswith("PATH=")
    assert draft.config["OpenStdin"] is False
    after("ENV A=2", base=base)
    assert base == {"Env": ["A=1"], "OpenStdin": True}


def test_maintainer_is_the_author() -> None:
    assert after("MAINTAINER me <m@x>").draft == Draft(after("MAINTAINER me <m@x>").draft.config, "me <m@x>")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("EXPOSE 80/foo", "invalid proto: foo"),
        ("EXPOSE abc", "invalid containerPort: abc"),
        ("EXPOSE 9-8", "invalid containerPort: 9-8"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("WORKDIR $none", "cannot normalize nothing"),
        ("VOLUME $none", "VOLUME specified can not be an empty string"),
    ],
)
def test_faults_of_steps(line: str, fault: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        after(line)
    assert str(raised.value) == fault


def test_a_host_port_counts_for_nothing() -> None:
    assert ports_of("127.0.0.1:8080:80") == ["80/tcp"]


def test_changes_of_commit() -> None:
    config = apply_changes(BASE, ['CMD ["x"]', "ENV A=1", "EXPOSE 80", "LABEL z=9", "WORKDIR sub"])
    assert (config["Cmd"], config["Env"][-1], config["ExposedPorts"]) == (["x"], "A=1", {"80/tcp": {}})
    assert (config["Labels"], config["WorkingDir"]) == ({"a": "1", "z": "9"}, "/srv/sub")
    assert apply_changes(BASE, []) == BASE


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ("ENV x", "ENV must have two arguments"),
        ("CMD ${x", None),
        ("USER ${x", 'failed to process "${x": unsupported modifier () in substitution'),
    ],
)
def test_faulty_changes(change: str, fault: str | None) -> None:
    if fault is None:
        assert apply_changes(BASE, [change])["Cmd"] == ["/bin/sh", "-c", change[4:]]
        return
    with pytest.raises(InvalidParameter) as raised:
        apply_changes(BASE, [change])
    assert str(raised.value) == fault
