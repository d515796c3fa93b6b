"""Which stages a build needs, and what each of them waits for. Pure.

A stage waits for the stages that its FROM, its `COPY --from` and its `RUN --mount=from=` name. Stages that the target
does not need are not run; those that do not wait for each other run at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from riverport.engine.build.dockerfile import Stage
from riverport.engine.build.instructions import Copy, Run
from riverport.engine.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Plan:
    """`order` has every needed stage after those it waits for, in the Dockerfile's order; the target is the last."""

    order: tuple[int, ...]
    waits_for: Mapping[int, frozenset[int]]


def plan_stages(stages: Sequence[Stage], target: str, bases: Sequence[str]) -> Plan:
    """`bases` are the FROM names after expansion. Raises InvalidParameter with Docker's text."""
    _check_names(stages)
    last = find_target(stages, target)
    waits_for: dict[int, frozenset[int]] = {}
    open_stages = [last]
    while open_stages:
        number = open_stages.pop()
        if number in waits_for:
            continue
        waits_for[number] = _dependencies(stages, stages[number], bases[number])
        open_stages += waits_for[number]
    return Plan(tuple(sorted(waits_for)), waits_for)


def find_target(stages: Sequence[Stage], target: str) -> int:
    """A stage by name, by number, or the last if none is asked for."""
    if not stages:
        raise InvalidParameter("No image was generated. Is your Dockerfile empty?")
    if not target:
        return len(stages) - 1
    for stage in stages:
        if stage.name and stage.name == target.lower():
            return stage.number
    if target.isascii() and target.isdigit() and int(target) < len(stages):
        return int(target)
    raise InvalidParameter(f'target stage "{target}" could not be found')


def find_stage(stages: Sequence[Stage], name: str, before: int) -> int | None:
    """The stage that `--from=name` in stage `before` means; None if it means an image.

    Raises InvalidParameter for a number that is no earlier stage.
    """
    for stage in stages[:before]:
        if stage.name and stage.name == name.lower():
            return stage.number
    if not (name.isascii() and name.isdigit()):
        return None
    if int(name) == before:
        raise InvalidParameter(f"invalid from flag value {name}: refers to current build stage")
    if int(name) > before:
        raise InvalidParameter(f"invalid from flag value {name}: index out of bounds")
    return int(name)


def find_base(stages: Sequence[Stage], name: str, before: int) -> int | None:
    """The stage that `FROM name` means. A number is the name of an image here."""
    return next((stage.number for stage in stages[:before] if stage.name and stage.name == name.lower()), None)


def _check_names(stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages if stage.name]
    for name in names:
        if names.count(name) > 1:
            raise InvalidParameter(f"{name} stage name already used")


def _dependencies(stages: Sequence[Stage], stage: Stage, base: str) -> frozenset[int]:
    found = {find_base(stages, base, stage.number)}
    for instruction in stage.instructions:
        match instruction:
            case Copy() if instruction.from_:
                found.add(find_stage(stages, instruction.from_, stage.number))
            case Run():
                for origin in map(mount_origin, instruction.mounts):
                    found.add(find_stage(stages, origin, stage.number) if origin else None)
    return frozenset(number for number in found if number is not None)


def mount_origin(mount: str) -> str:
    """The `from` of a RUN's mount option, which no variable can be part of."""
    for part in mount.split(","):
        key, _, value = part.strip('"').partition("=")
        if key.lower() == "from":
            return value
    return ""
