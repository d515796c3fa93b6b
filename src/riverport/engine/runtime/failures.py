"""What crun and runc say when a command cannot be run, in the words that the docker CLI takes its exit code from.

The CLI exits with 127 after "executable file not found" or "no such file or directory", with 126 after "permission
denied" or "is a directory", else with 125. crun 1.8 says these things differently; runc says them itself.
"""

import json
import re

from riverport.engine.errors import EngineError, InvalidParameter, SystemFailure

_CHDIR = re.compile(r"chdir `(.*)`: (.+)")

_WRONG_KIND = (
    "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is "
    "the expected type"
)

NOT_FOUND = 127
NOT_RUNNABLE = 126


class CommandFailure(InvalidParameter):
    """The command of a container or an exec cannot be run; `exit_code` goes into the container's state."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def failure_of(log: str, arguments: list[str], *, is_exec: bool) -> EngineError:
    """`log`: what the runtime has written to its --log file: JSON lines, or plain text."""
    reason = _reason(log)
    command = arguments[0] if arguments else ""
    said, exit_code = _command_failure(reason, command)
    if is_exec:
        prefix = "OCI runtime exec failed: exec failed: unable to start container process: "
    else:
        prefix = (
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
            "unable to start container process: "
        )
    if not is_exec and "not a directory" in reason.lower():
        said = f"{reason}: unknown: {_WRONG_KIND}"
        return CommandFailure(prefix + said, NOT_FOUND)
    if exit_code:
        return CommandFailure(f"{prefix}{said}: unknown", exit_code)
    return SystemFailure(f"{prefix}{reason}: unknown")


def _command_failure(reason: str, command: str) -> tuple[str, int]:
    quoted = json.dumps(command, ensure_ascii=False)
    if reason.startswith("executable file ") and "not found" in reason:
        if "/" in command:
            return f"exec: {quoted}: stat {command}: no such file or directory", NOT_FOUND
        return f"exec: {quoted}: executable file not found in $PATH", NOT_FOUND
    if reason.startswith("open executable: Operation not permitted"):  # crun's word for a directory
        return f"exec: {quoted}: is a directory", NOT_RUNNABLE
    if reason.startswith("open executable: Too many levels"):
        return f"exec: {quoted}: stat {command}: too many levels of symbolic links", NOT_RUNNABLE
    if reason.startswith(("open executable: ", "exec container process")) and "Permission denied" in reason:
        return f"exec: {quoted}: permission denied", NOT_RUNNABLE
    if found := _CHDIR.match(reason):
        why = found[2][0].lower() + found[2][1:]
        path = json.dumps(found[1], ensure_ascii=False)
        return f"chdir to cwd ({path}) set in config.json failed: {why}", NOT_RUNNABLE
    if "exec: " in reason:  # runc
        said = reason[reason.index("exec: ") :]
        if "executable file not found" in said or "no such file or directory" in said:
            return said, NOT_FOUND
        if "permission denied" in said or "is a directory" in said:
            return said, NOT_RUNNABLE
    return reason, 0


def _reason(log: str) -> str:
    """The last error of the log; crun and runc both write it last."""
    last = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = line
        if isinstance(entry, dict):
            if entry.get("level") in ("error", "fatal"):
                last = str(entry.get("msg", ""))
        elif line.strip():
            last = line.strip()
    return last or "the runtime gave no reason"
