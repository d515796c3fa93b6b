"""What `docker rmi` takes away, and what speaks against it: decided from the facts, before anything is done.

    a name       goes; its image follows when that was the last one, and then the parents that nobody has named
    an id        goes with its names, if they are of one repository and at most one tag; else only by force

Hard conflicts (a running container, images built on it) stand against force as well, soft ones don't.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from riverport.engine.errors import Conflict
from riverport.engine.images.image import Image, short
from riverport.engine.images.reference import Reference


@dataclass(frozen=True, slots=True)
class User:
    """A container that was made from an image."""

    container_id: str
    image_id: str
    is_running: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one image."""

    image: Image
    references: Sequence[Reference]
    children: int
    users: Sequence[User]


@dataclass(slots=True)
class Removal:
    untag: list[Reference] = field(default_factory=list)
    delete: bool = False


def plan_by_name(facts: Facts, reference: Reference, typed: str, force: bool) -> Removal:
    """Raises Conflict where the last name of an image that a container uses would go."""
    if not force and is_single(facts.references) and facts.users:
        raise Conflict(
            f'conflict: unable to remove repository reference "{typed}" (must force) - container '
            f"{short(facts.users[0].container_id)} is using its referenced image {facts.image.short_id}"
        )
    plan = Removal([reference])
    left = [one for one in facts.references if one != reference]
    if reference.digest is None and not any(one.tag and one.name == reference.name for one in left):
        # Digests of a repository without tags would keep an image that nobody can name in a natural way.
        plan.untag += [one for one in left if one.name == reference.name]
        left = [one for one in left if one.name != reference.name]
    if left:
        return plan
    # The name is gone in any case; what speaks against the image's going only keeps it, dangling.
    plan.delete = conflict(facts, left, force) is None
    return plan


def plan_by_id(facts: Facts, force: bool) -> Removal:
    """Raises Conflict."""
    left = [] if is_single(facts.references) else list(facts.references)
    reason = conflict(facts, left, force)
    if reason is not None:
        raise Conflict(reason)
    return Removal(list(facts.references), delete=True)


def conflict(facts: Facts, references: Sequence[Reference], force: bool) -> str | None:
    """Why the image cannot go, or None; `references` are the names that it would still have."""
    running = next((user for user in facts.users if user.is_running), None)
    stopped = next((user for user in facts.users if not user.is_running), None)
    hard = f"conflict: unable to delete {facts.image.short_id} (cannot be forced) - "
    soft = f"conflict: unable to delete {facts.image.short_id} (must be forced) - "
    if facts.children:
        return hard + "image has dependent child images"
    if running is not None:
        return hard + f"image is being used by running container {short(running.container_id)}"
    if force:
        return None
    if references:
        return soft + "image is referenced in multiple repositories"
    if stopped is not None:
        return soft + f"image is being used by stopped container {short(stopped.container_id)}"
    return None


def goes_with_its_child(facts: Facts) -> bool:
    """Whether a parent is removed after the last image that was built on it."""
    return not facts.references and conflict(facts, (), force=False) is None


def is_single(references: Sequence[Reference]) -> bool:
    """At most one tag, and every name in one repository."""
    tags = [one for one in references if one.tag is not None]
    return len(tags) <= 1 and len({one.name for one in references}) <= 1
