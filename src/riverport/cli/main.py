"""The entry point of the `riverport` command: finds the command by its first word and imports nothing else.

Exit codes: 0 done, 1 failed, 2 wrong usage. A broker starts from here, so its start pays for no other command.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "start a Kafka broker, or a cluster, with embedded defaults"),
    "demo": ("demo", "start a broker, produce a file's lines, consume them with a group"),
    "kafka": ("kafka", "format storage, start a node from server.properties"),
    "topics": ("topics", "list, create, describe, alter, delete topics"),
    "produce": ("produce", "send lines of a file or of standard input"),
    "consume": ("consume", "read records, alone or as a member of a group"),
    "groups": ("groups", "list, describe, delete consumer groups, set their offsets"),
    "configs": ("configs", "describe and change configurations"),
    "cluster": ("cluster", "brokers, partitions, quorum, log directories; --watch shows them live"),
    "chaos": ("chaos", "stop, kill, pause, cut off or slow nodes of a cluster that `up` runs"),
    "simulate": ("simulate", "run clusters in simulated time, break them, and check every promise"),
    "log": ("log", "show what log files hold"),
    "engine": ("engine", "run containers for the docker command, docker-py, Compose"),
    "registry": ("registry", "keep container images and other OCI artifacts, or a cache of another registry"),
    "image": ("image", "make base images out of what the machine has, without a registry"),
    "completion": ("completion", "print a completion script for bash, zsh or fish"),
}
"""First word -> (module of riverport.cli, one line for the help)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        import riverport

        print(f"riverport {riverport.__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"riverport: there is no command {words[0]!r}{_nearest(words[0])}", file=sys.stderr)
        return 2
    run: Callable[[list[str]], int] = import_module(f"riverport.cli.{COMMANDS[words[0]][0]}").run
    return _guarded(run, words[1:])


def usage() -> str:
    lines = ["usage: riverport COMMAND ...", "", "commands:"]
    lines += [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "riverport COMMAND --help tells more; riverport --version names the release."])


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, COMMANDS, 1)
    return f"; did you mean {found[0]!r}?" if found else "; riverport --help lists them"


def _guarded(run: Callable[[list[str]], int], words: list[str]) -> int:
    """Ctrl-C and a reader that has gone are no errors to explain."""
    try:
        return run(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
