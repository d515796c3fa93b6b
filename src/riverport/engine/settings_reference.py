"""docs/guides/engine-settings.md, made from the table of settings.

    python -m riverport.engine.settings_reference [PATH]

A test fails when the page is not what the table says.
"""

import sys
from pathlib import Path
from typing import Final

from riverport.base.settings import BOOLEAN, LIST, Setting
from riverport.engine.settings_reload import RELOADED
from riverport.engine.settings_table import FLAGS, TABLE

PAGE: Final = Path("docs/guides/engine-settings.md")

_INTRODUCTION: Final = """\
# Settings of the engine

This page is made from the table of settings by `python -m riverport.engine.settings_reference`.

Each is a flag of `riverport engine start` and a key of the file that `--config-file` names, which is a `daemon.json` as
dockerd reads it. Flags of lists may be repeated. A key that is set both by a flag and in the file is refused, and so is
one that is not known. SIGHUP makes the daemon read the file anew; at once change {reloaded}.

| flag | key in the file | type | default | allowed | meaning |
|---|---|---|---|---|---|
"""


def page() -> str:
    reloaded = ", ".join(f"`{key}`" for key in TABLE if key in RELOADED)
    introduction = _INTRODUCTION.format(reloaded=reloaded)
    return introduction + "".join(_row(key, row) for key, row in TABLE.items())


def _row(key: str, row: Setting) -> str:
    kind = {LIST: "list", BOOLEAN: "true or false"}.get(row.kind, row.kind.name.lower())
    default = row.default_text()
    cells = (f"`--{FLAGS.get(key, key)}`", f"`{key}`", kind, f"`{default}`" if default else "", row.allowed, row.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
