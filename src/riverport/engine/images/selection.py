"""Which images a list or a prune is about."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from riverport.engine.api.filters import Filters
from riverport.engine.build import golang
from riverport.engine.containers.times import SECOND_NS, parse_time
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.image import Image
from riverport.engine.images.reference import Reference

LIST_FILTERS: Final = ("dangling", "label", "label!", "before", "since", "reference", "until")
PRUNE_FILTERS: Final = ("dangling", "label", "label!", "until", "all")


def listed(
    images: Iterable[Image],
    names: Mapping[str, Sequence[Reference]],
    filters: Filters,
    show_all: bool,
    resolve: Callable[[str], Image],
    now_ns: int,
) -> list[tuple[Image, list[Reference]]]:
    """The newest first; with the names that the list shows (a `reference` filter keeps those that match).

    Without `show_all` images that others were built on and that have no name are left out.
    """
    dangling = filters.flag("dangling", False) if "dangling" in filters else None
    after = max((resolve(text).created_at_s for text in filters.get("since")), default=None)
    before = min((resolve(text).created_at_s for text in filters.get("before")), default=None)
    until = _until(filters, now_ns)
    images = list(images)
    parents = {image.parent for image in images}
    found = []
    for image in images:
        created = image.created_at_s
        if (after is not None and created <= after) or (before is not None and created >= before):
            continue
        if (until is not None and created > until) or not filters.labels(image.labels):
            continue
        own = [name for name in names.get(image.id, ()) if _named(name, filters.get("reference"))]
        if not own and ("reference" in filters or not (show_all or image.id not in parents)):
            continue
        is_dangling = not any(name.tag for name in own)
        if dangling is not None and dangling != is_dangling:
            continue
        found.append((image, own))
    return sorted(found, key=lambda pair: pair[0].created_at_s, reverse=True)


def prunable(
    images: Iterable[Image],
    names: Mapping[str, Sequence[Reference]],
    filters: Filters,
    used: frozenset[str],
    now_ns: int,
) -> list[Image]:
    """Images that no container uses and no other was built on: those without a tag, or all with `dangling=false`."""
    only_dangling = filters.flag("dangling", True)
    until = _until(filters, now_ns)
    images = list(images)
    parents = {image.parent for image in images}
    return [
        image
        for image in images
        if image.id not in used
        and image.id not in parents
        and (not only_dangling or not any(name.tag for name in names.get(image.id, ())))
        and (until is None or image.created_at_s <= until)
        and filters.labels(image.labels)
    ]


def _named(name: Reference, patterns: Sequence[str]) -> bool:
    """A pattern is matched with the whole familiar name, and with the repository alone."""
    try:
        return not patterns or any(
            golang.match(pattern, name.familiar) or golang.match(pattern, name.familiar_name) for pattern in patterns
        )
    except golang.BadPattern as error:
        raise InvalidParameter(str(error)) from error


def _until(filters: Filters, now_ns: int) -> float | None:
    values = filters.get("until")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    return parse_time(values[0], now_ns) / SECOND_NS
