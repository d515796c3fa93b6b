"""One thing that a file says: a kind and fields, in the order in which they are shown."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from riverport.cli.terminal import printable


@dataclass(slots=True)
class Item:
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    depth: int = 0  # 1 for what belongs to the item above it

    @property
    def is_damage(self) -> bool:
        return self.kind == "damage"


Items = Iterator[Item]


def damage(what: str, **fields: Any) -> Item:
    return Item("damage", {**fields, "what": what})


def item_json(file: str, item: Item) -> dict[str, Any]:
    return {"file": file, "kind": item.kind, **item.fields}


def item_text(item: Item) -> str:
    """`batch  base_offset=0 last_offset=4 ...`; a damage says so in capitals."""
    indent = "  " * (item.depth + 1)
    if item.is_damage:
        where = "".join(f" {key}={value}" for key, value in item.fields.items() if key != "what")
        return f"{indent}DAMAGED{where}: {printable(str(item.fields['what']))}"
    fields = " ".join(f"{key}={_shown(value)}" for key, value in item.fields.items() if value is not None)
    return f"{indent}{item.kind}  {fields}".rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        import json

        return printable(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    text = printable(str(value))
    return repr(text) if not text or " " in text else text
