"""`docker top`: the host's `ps`, cut down to a container's processes."""

import asyncio

from riverport.engine.errors import InvalidParameter, SystemFailure

_SECONDS = 10.0


async def processes(ps_args: str, pids: list[int]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows). Raises InvalidParameter where the output has no PID column to go by."""
    arguments = ps_args.split() or ["-ef"]
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("ps", *arguments, stdin=null, stdout=pipe, stderr=pipe)
    try:
        out, error = await asyncio.wait_for(process.communicate(), _SECONDS)
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise SystemFailure(f"Error running ps: {error.decode(errors='replace').strip()}")
    return parse(out.decode(errors="replace"), frozenset(pids))


def parse(text: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """Rows of `pids`, and the lines that `ps` prints below a process without an id (threads, with -L: "-")."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidParameter("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows: list[list[str]] = []
    last_was_ours = False
    for line in lines[1:]:
        # The command is the last column and may hold spaces.
        words = line.split(None, len(titles) - 1)
        if len(words) <= column:
            continue
        if words[column] == "-":
            if last_was_ours:
                rows.append(words)
            continue
        if not words[column].isdecimal():
            raise InvalidParameter(f'Unexpected pid "{words[column]}"')
        last_was_ours = int(words[column]) in pids
        if last_was_ours:
            rows.append(words)
    return titles, rows
