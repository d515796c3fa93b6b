"""Images as the API shows them: rows of a list, one in detail, a history."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from riverport.engine.images.image import Image, seconds_of
from riverport.engine.images.reference import Reference
from riverport.engine.storage.layers import ChainId, Layer, next_chain

NONE_TAG: Final = "<none>:<none>"
NONE_DIGEST: Final = "<none>@<none>"
MISSING: Final = "<missing>"
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"
_IMAGE_FIELDS: Final = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "ArgsEscaped", "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
_CONTAINER_FIELDS: Final = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "", "Volumes": None,
    "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": None,
}  # fmt: skip
"""What a config had before 1.50, filled in where an image has nothing of the kind."""

Json = dict[str, Any]


def row(image: Image, references: Sequence[Reference], version: tuple[int, int]) -> Json:
    """`SharedSize` and `Containers` are -1 where nobody has counted."""
    tags, digests = _names(references)
    if version < (1, 43) and not tags and not digests:
        tags, digests = [NONE_TAG], [NONE_DIGEST]
    found: Json = {
        "Containers": -1,
        "Created": image.created_at_s,
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": image.parent or "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        "Size": image.size,
    }
    if version < (1, 44):
        found["VirtualSize"] = image.size
    return found


def detail(image: Image, references: Sequence[Reference], stack: Sequence[Layer], version: tuple[int, int]) -> Json:
    """`stack` are the image's layers, topmost first."""
    tags, digests = _names(references)
    document = image.document
    found: Json = {
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": image.parent or "",
        "Comment": _comment(document),
        "Created": document.get("created") or ("" if version < (1, 44) else _ZERO_TIME),
        "DockerVersion": document.get("docker_version") or "",
        "Author": document.get("author") or "",
        "Config": _config(image.config, version),
        "Architecture": document.get("architecture") or "",
        "Os": document.get("os") or "linux",
        "Size": image.size,
        "GraphDriver": {"Data": _driver_data(stack), "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": image.source.diff_ids},
        "Metadata": {"LastTagTime": _time(image.tagged_at_ns)},
    }
    for key, field in (("Variant", "variant"), ("OsVersion", "os.version")):
        if document.get(field):
            found[key] = document[field]
    if version < (1, 44):
        found["VirtualSize"] = image.size
    if version < (1, 45):
        found["Container"] = document.get("container") or ""
        found["ContainerConfig"] = {**_CONTAINER_FIELDS, **(document.get("container_config") or {})}
    return found


def history(
    image: Image, ancestors: Sequence[Image], layers: Mapping[ChainId, Layer], names: Mapping[str, Sequence[Reference]]
) -> list[Json]:
    """The newest step first. `ancestors` are the parents that are here, nearest first; other steps are `<missing>`."""
    rows: list[Json] = []
    chain: ChainId | None = None
    diff_ids = iter(image.source.diff_ids)
    for step in document_history(image):
        size = 0
        if not step.get("empty_layer"):
            diff_id = next(diff_ids, None)
            if diff_id is not None:
                chain = next_chain(chain, diff_id)
                size = layers[chain].size if chain in layers else 0
        rows.append(
            {
                "Comment": step.get("comment") or "",
                "Created": seconds_of(str(step.get("created") or "")),
                "CreatedBy": step.get("created_by") or "",
                "Id": MISSING,
                "Size": size,
                "Tags": None,
            }
        )
    rows.reverse()
    for one, made in zip([image, *ancestors], rows, strict=False):
        made["Id"] = one.id
        made["Tags"] = [name.familiar for name in names.get(one.id, ()) if name.tag] or None
    return rows


def document_history(image: Image) -> list[Json]:
    """The steps from the first on; an image without a history has as many as layers."""
    steps = list(image.document.get("history") or ())
    return steps or [{} for _ in image.source.diff_ids]


def _names(references: Sequence[Reference]) -> tuple[list[str], list[str]]:
    tags = [one.familiar for one in references if one.tag]
    digests = [one.familiar for one in references if one.digest]
    return tags, digests


def _config(config: Mapping[str, Any], version: tuple[int, int]) -> Json:
    known = {key: config[key] for key in _IMAGE_FIELDS if config.get(key)}
    return known if version >= (1, 50) else {**_CONTAINER_FIELDS, **known}


def _comment(document: Mapping[str, Any]) -> str:
    steps = document.get("history") or ()
    return str(document.get("comment") or (steps[-1].get("comment") if steps else "") or "")


def _driver_data(stack: Sequence[Layer]) -> dict[str, str] | None:
    if not stack:
        return None
    directory = stack[0].directory
    data = {
        "MergedDir": str(directory / "merged"),
        "UpperDir": str(stack[0].diff),
        "WorkDir": str(directory / "work"),
    }
    if len(stack) > 1:
        data["LowerDir"] = ":".join(str(layer.diff) for layer in stack[1:])
    return data


def _time(time_ns: int) -> str:
    if not time_ns:
        return _ZERO_TIME
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
