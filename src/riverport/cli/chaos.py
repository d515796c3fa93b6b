"""`riverport chaos`: break nodes of a cluster that `riverport up --brokers N` runs on this machine, and heal them."""

import argparse
import time
from typing import Any

from riverport.cli.command import UsageProblem, add_address, guarded, make_parser
from riverport.cli.control import ask_supervisor
from riverport.cli.terminal import print_json, print_table

VERBS = {
    "status": "the nodes, their processes, and what is wrong with them",
    "kill": "kill -9; it is started again, with --for after that time",
    "stop": "a clean stop; it stays stopped",
    "start": "start what was stopped, or given up",
    "pause": "SIGSTOP: it lives and does nothing",
    "resume": "SIGCONT",
    "cut": "cut off from the network: nothing reaches it any more",
    "slow": "serve each request that much later",
    "heal": "resume, reconnect, and be as fast as ever; all nodes where none is named",
}
UNDONE_BY = {"kill": "start", "stop": "start", "pause": "resume", "cut": "heal", "slow": "heal"}
POLL_S = 0.05
SETTLE_S = 30.0


def parser() -> argparse.ArgumentParser:
    made = make_parser(
        "chaos",
        "Break nodes of a cluster that `riverport up --brokers N` runs on this machine, and heal them.",
        ["riverport chaos kill 1", "riverport chaos cut 2 --for 10", "riverport chaos slow 3 --ms 200"],
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    for name, help_ in VERBS.items():
        verb = verbs.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".", allow_abbrev=False)
        if name != "status":
            verb.add_argument("nodes", nargs="*" if name == "heal" else "+", type=int, metavar="NODE", help="its id")
        if name == "slow":
            verb.add_argument("--ms", type=float, default=100.0, metavar="MS", help="how much later (default 100)")
        if name in UNDONE_BY:
            verb.add_argument("--for", type=float, dest="seconds", metavar="S", help=f"{UNDONE_BY[name]} after that")
        add_address(verb)
    return made


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    return guarded(lambda: _act(given))


def _act(given: argparse.Namespace) -> None:
    request: dict[str, Any] = {"do": given.verb, "nodes": getattr(given, "nodes", [])}
    if given.verb == "slow":
        request["ms"] = given.ms
    seconds: float | None = getattr(given, "seconds", None)
    if seconds is not None and seconds <= 0:
        raise UsageProblem(f"--for {seconds:g}: a number of seconds above 0")
    if given.verb == "kill":
        request["stay"] = seconds is not None
    answer = ask_supervisor(given.bootstrap_server, request)
    if seconds is not None:
        _show(given, answer)
        try:
            time.sleep(seconds)
        finally:  # also at Ctrl-C: nobody else would undo it
            undo = {"do": UNDONE_BY[given.verb], "nodes": given.nodes}
            answer = ask_supervisor(given.bootstrap_server, undo)
    if given.verb in ("kill", "stop", "start") or seconds is not None:
        answer = _settled(given, answer)
    _show(given, answer)


def _settled(given: argparse.Namespace, answer: Any) -> Any:
    """The nodes once none of them is on its way from one state to another."""
    deadline = time.monotonic() + SETTLE_S
    while any(node["state"] in ("starting", "stopping", "killed", "waiting") for node in answer["nodes"]):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
        answer = ask_supervisor(given.bootstrap_server, {"do": "status"})
    return answer


def _show(given: argparse.Namespace, answer: Any) -> None:
    if given.json:
        print_json(answer)
        return
    rows = [
        (node["id"], node["state"], ", ".join(node["faults"]) or None, node["pid"], node["port"], node["restarts"])
        for node in answer["nodes"]
    ]
    print_table(["NODE", "STATE", "FAULTS", "PID", "PORT", "RESTARTS"], rows)
