"""The words of crun become those of runc, because the docker command takes its exit code from them."""

import json

import pytest

from riverport.engine.runtime.failures import CommandFailure, failure_of

ABSENT = "No such file or directory"
CRUN = {
    f"executable file `x` not found in $PATH: {ABSENT}": ("x", 127, 'exec: "x": executable file not found in $PATH'),
    f"executable file `/x` not found: {ABSENT}": ("/x", 127, 'exec: "/x": stat /x: no such file or directory'),
    "open executable: Operation not permitted": ("/etc", 126, 'exec: "/etc": is a directory'),
    "open executable: Permission denied": ("/f", 126, 'exec: "/f": permission denied'),
    f"chdir `/w`: {ABSENT}": ("x", 126, 'chdir to cwd ("/w") set in config.json failed: no such file or directory'),
    'exec: "y": executable file not found in $PATH': ("y", 127, 'exec: "y": executable file not found in $PATH'),
}


@pytest.mark.parametrize("reason", CRUN)
def test_a_command_that_cannot_run_says_so_in_runcs_words(reason: str) -> None:
    command, code, said = CRUN[reason]
    log = (
        json.dumps({"level": "warning", "msg": "before"}) + "\n" + json.dumps({"level": "error", "msg": reason}) + "\n"
    )
    failure = failure_of(log, [command], is_exec=True)
    assert isinstance(failure, CommandFailure)
    assert failure.exit_code == code
    assert str(failure) == f"OCI runtime exec failed: exec failed: unable to start container process: {said}: unknown"


def test_what_is_no_fault_of_the_command_is_a_failure_of_the_system() -> None:
    failure = failure_of('{"level":"error","msg":"mount `proc`: Operation not permitted"}', ["true"], is_exec=False)
    assert failure.status == 500
    assert "mount `proc`" in str(failure)


@pytest.mark.parametrize("log", ["", "\n", "{", "[]", '"x"', '{"level":"info","msg":"fine"}'])
def test_a_log_without_a_reason_is_no_trouble(log: str) -> None:
    assert str(failure_of(log, [], is_exec=False))
