"""The processes of `riverport up --brokers N`: what they write, and what the supervisor has imported for them."""

import io
import subprocess
import sys

from riverport.cli.node_process import PRELOADED, PrefixedLines


def test_every_line_says_which_node_wrote_it() -> None:
    out = io.StringIO()
    lines = PrefixedLines("[2] ", out)
    assert lines.write("one\ntwo\nthr") == 11
    assert out.getvalue() == "[2] one\n[2] two\n"
    lines.write("ee\n")
    assert out.getvalue() == "[2] one\n[2] two\n[2] three\n"


def test_a_line_that_is_not_ended_is_shown_when_the_process_ends() -> None:
    out = io.StringIO()
    lines = PrefixedLines("[2] ", out)
    lines.write("last words")
    lines.flush()
    assert out.getvalue() == ""
    lines.finish()
    assert out.getvalue() == "[2] last words\n"
    lines.finish()
    assert out.getvalue() == "[2] last words\n"


def test_what_is_imported_before_a_fork_starts_no_thread() -> None:
    code = (
        "import threading; from riverport.cli.node_process import preload; preload()\n"
        "import sys; print(threading.active_count(), all(name in sys.modules for name in sys.argv[1:]))"
    )
    names = [name for name in PRELOADED if name.startswith("riverport")]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 True\n", done.stderr
