"""Configs of images that are made here: by commit, build and import."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from riverport.engine.images.image import Image
from riverport.engine.images.platform import Platform


def composed(
    parent: Image | None,
    config: Mapping[str, Any],
    *,
    created_ns: int,
    diff_id: str | None,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    platform: Platform | None = None,
) -> bytes:
    """The bytes of a config: `parent`'s history and layers, and one step more.

    `diff_id` is the step's layer; a step without one is marked `empty_layer`. The platform is `platform`, or the
    parent's, or this machine's.
    """
    created = _time(created_ns)
    inherited: Mapping[str, Any] = parent.document if parent is not None else {}
    step: dict[str, Any] = {"created": created}
    for key, value in (("created_by", created_by), ("author", author), ("comment", comment)):
        if value:
            step[key] = value
    if diff_id is None:
        step["empty_layer"] = True
    layers = parent.source.diff_ids if parent is not None else []
    own = platform or (Platform.from_document(dict(inherited)) if parent is not None else Platform.here())
    document: dict[str, Any] = {
        **own.document(),
        "config": {key: value for key, value in config.items() if value not in (None, "", [], {})},
        "created": created,
        "history": [*(inherited.get("history") or ()), step],
        "rootfs": {"type": "layers", "diff_ids": [*layers, *([diff_id] if diff_id is not None else [])]},
    }
    if author or inherited.get("author"):
        document["author"] = author or inherited["author"]
    if comment:
        document["comment"] = comment
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _time(time_ns: int) -> str:
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"
