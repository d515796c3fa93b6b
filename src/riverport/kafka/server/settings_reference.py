"""docs/guides/configuration.md, made from the tables of settings.

    python -m riverport.kafka.server.settings_reference [PATH]

A test fails when the page is not what the tables say.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from riverport.base.settings import DOUBLE_MAX, INT_MAX, LONG_MAX, READ_ONLY, REQUIRED, Setting
from riverport.kafka.admin import client_metrics_settings, group_settings, topic_settings
from riverport.kafka.server import (
    settings,
    settings_groups,
    settings_log,
    settings_network,
    settings_node,
    settings_quorum,
    settings_quota,
    settings_remote,
    settings_replication,
    settings_security,
    settings_share,
    settings_transactions,
)

PAGE = Path("docs/guides/configuration.md")

INTRODUCTION = """\
# Configuration

This page is made from the tables of settings by `python -m riverport.kafka.server.settings_reference`.

A node is configured by a Java properties file with the keys, types, defaults and rules of Apache Kafka 4.3, usually
called `server.properties`:

```properties
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
log.dirs=/var/lib/riverport
```

* **A wrong value stops the node** before it touches anything. The message names the key, the value and what is allowed;
  all wrong values are told at once. Rules between keys are checked too (listeners, quorum, limits).
* **An unknown key is only warned about**, with the known keys nearest to it, since plug-ins have keys of their own.
* **A known key without effect in Riverport** is marked "no" below, and said at the start if it is given.
* `listener.name.<name>.<key>` gives a key for one listener, `listener.name.<name>.<mechanism>.<key>` for one SASL
  mechanism of it.
* Where several keys mean the same, the first of these counts: `log.retention.ms`, `.minutes`, `.hours`; `log.roll.ms`,
  `.hours`; `log.roll.jitter.ms`, `.hours`; `log.flush.interval.ms`, `log.flush.scheduler.interval.ms`.

**Change** says whether a value may be changed while the node runs, by `riverport configs` or any Kafka admin client:
for one broker (*per-broker*), also for the whole cluster (*cluster-wide*), or only by a restart (*restart*). What
counts, in this order: the broker's dynamic value, the cluster's dynamic value, `server.properties`, the default.

*required* is a key that must be given; *not set* means that it has no value unless given; "" is the empty text or list.
Internal keys, for tests, are left out.
"""


def page() -> str:
    parts = [INTRODUCTION]
    for title, module in _SECTIONS:
        parts.append(f"\n## {title}\n\n{_table(module, change=True)}")
    parts.append(f"\n## Dynamic only\n\nThese are never in a file.\n\n{_table(settings.DYNAMIC_ONLY, change=True)}")
    parts.append(
        "\n## Topics\n\nA topic that has no value of its own takes that of the broker setting in the second column.\n\n"
        + _topics()
    )
    parts.append(
        "\n## Groups\n\nA group that has no value of its own takes that of the broker setting `group.<key>`, if there "
        f"is one. The broker's `min` and `max` settings limit the values.\n\n{_table(group_settings.ROWS)}"
    )
    parts.append(
        "\n## Client metrics subscriptions\n\n" + _table(client_metrics_settings.TABLE.values())
    )
    return "".join(parts)


_SECTIONS = (
    ("Node", settings_node.ROWS),
    ("Network", settings_network.ROWS),
    ("Logs", settings_log.ROWS),
    ("Replication", settings_replication.ROWS),
    ("Metadata quorum", settings_quorum.ROWS),
    ("Groups and offsets", settings_groups.ROWS),
    ("Share groups", settings_share.ROWS),
    ("Transactions and idempotent producers", settings_transactions.ROWS),
    ("Security", settings_security.ROWS),
    ("Authorizer", settings_security.AUTHORIZER_ROWS),
    ("Quotas and metrics", settings_quota.ROWS),
    ("Remote log storage", settings_remote.ROWS),
)


def _table(rows: Iterable[Setting], *, change: bool = False) -> str:
    head = ["Key", "Type", "Default", "Allowed", *(["Change"] if change else []), "Effect", "Meaning"]
    lines = []
    for row in rows:
        if not row.internal:
            update = "restart" if row.update is READ_ONLY else row.update.value
            lines.append([*_common(row), *([update] if change else []), _effect(row), _meaning(row)])
    return _markdown(head, lines)


def _topics() -> str:
    lines = []
    for row in topic_settings.ROWS:
        if not row.internal:
            names = topic_settings.SYNONYMS.get(row.key)
            key, *rest = _common(row)
            lines.append([key, f"`{names[0][0]}`" if names else "", *rest, _effect(row), _meaning(row)])
    return _markdown(["Key", "Broker setting", "Type", "Default", "Allowed", "Effect", "Meaning"], lines)


def _common(row: Setting) -> list[str]:
    return [f"`{row.key}`", row.kind.name.lower(), _default(row), row.allowed.replace("|", "\\|")]


def _default(row: Setting) -> str:
    if row.default is REQUIRED:
        return "*required*"
    text = row.default_text()
    if text is None:
        return "*not set*"
    if not text:
        return '""'
    return _WIDEST.get(row.default if type(row.default) in (int, float) else None, f"`{text}`")


_WIDEST: dict[float | None, str] = {INT_MAX: "2³¹-1", LONG_MAX: "2⁶³-1", DOUBLE_MAX: "unlimited"}


def _effect(row: Setting) -> str:
    return "yes" if row.effect else "no"


def _meaning(row: Setting) -> str:
    return f"{row.doc} ({row.source})" if row.source else row.doc


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
