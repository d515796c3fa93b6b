"""The configuration file of an image that a step makes, and what identifies the step for the cache. Pure.

Sources: the OCI image specification, "Image Configuration"; Moby's image.NewChildImage for the fields that Docker adds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from riverport.engine.build.config import Draft
from riverport.engine.images.platform import Platform

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step leaves: its command in the history, and what else it stands for (`identity`: mounts, contents)."""

    draft: Draft
    command: tuple[str, ...]
    identity: tuple[str, ...] = ()

    @property
    def created_by(self) -> str:
        return " ".join(self.command)


def child_document(
    parent: Mapping[str, Any], step: Step, diff_id: str | None, created: str, platform: Platform, release: str
) -> Json:
    """`parent` is the document of the image below, {} for scratch; `diff_id` None where the step changed no file."""
    entry: Json = {"created": created, "created_by": step.created_by}
    if step.draft.author:
        entry["author"] = step.draft.author
    if diff_id is None:
        entry["empty_layer"] = True
    diff_ids = list((parent.get("rootfs") or {}).get("diff_ids") or ())
    document: Json = {
        "architecture": parent.get("architecture") or platform.architecture,
        "config": step.draft.config,
        "container_config": {**step.draft.config, "Cmd": list(step.command)},
        "created": created,
        "docker_version": release,
        "history": [*(parent.get("history") or ()), entry],
        "os": parent.get("os") or platform.os,
        "rootfs": {"type": "layers", "diff_ids": diff_ids if diff_id is None else [*diff_ids, diff_id]},
    }
    if step.draft.author:
        document["author"] = step.draft.author
    variant = parent.get("variant") if parent else platform.variant
    for key, value in (("variant", variant), ("os.version", parent.get("os.version")),
                       ("os.features", parent.get("os.features"))):  # fmt: skip
        if value:
            document[key] = value
    return document


def encoded(document: Json) -> bytes:
    """The bytes whose digest is the image's id."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")


def step_key(parent_id: str, step: Step, platform: Platform) -> str:
    """The step's identity: two steps of one key on one image make the same."""
    config = {key: value for key, value in step.draft.config.items() if key != "Image"}
    parts = [parent_id, str(platform), list(step.command), list(step.identity), step.draft.author, config]
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def continues(document: Mapping[str, Any], parent: Mapping[str, Any], step: Step) -> bool:
    """Whether the step after `parent` is what `document` (of an image given as a cache) has at that place.

    That image's history may come from elsewhere: only commands and layers are compared, as Docker does.
    """
    history: Sequence[Mapping[str, Any]] = document.get("history") or ()
    above: Sequence[Mapping[str, Any]] = parent.get("history") or ()
    if len(history) <= len(above) or not above:
        return False
    if any(not _same_entry(mine, theirs) for mine, theirs in zip(above, history)):
        return False
    diff_ids = (document.get("rootfs") or {}).get("diff_ids") or ()
    below = (parent.get("rootfs") or {}).get("diff_ids") or ()
    return list(diff_ids[: len(below)]) == list(below) and history[len(above)].get("created_by") == step.created_by


def cut(document: Mapping[str, Any], parent: Mapping[str, Any], step: Step) -> Json:
    """An image given as a cache as it was after `step`, which `continues` says is its next one."""
    length = len(parent.get("history") or ()) + 1
    history = list(document["history"][:length])
    layers = sum(1 for entry in history if not entry.get("empty_layer"))
    kept = {
        key: document[key]
        for key in ("architecture", "os", "variant", "os.version", "os.features", "author", "docker_version")
        if document.get(key)
    }
    return {
        **kept,
        "config": step.draft.config,
        "container_config": {**step.draft.config, "Cmd": list(step.command)},
        "created": history[-1].get("created") or document.get("created"),
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": list(document["rootfs"]["diff_ids"][:layers])},
    }


def _same_entry(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return all(mine.get(key) == theirs.get(key) for key in ("created_by", "empty_layer"))
